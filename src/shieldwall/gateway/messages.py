"""What waits for a device: actions, cancellations, its isolation, and changes of the indicator list."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from cachetools import TTLCache
from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.devices.models import Device
from shieldwall.gateway.authentication import Caller
from shieldwall.response.actions import cancelled_for, pending_for
from shieldwall.response.kinds import ISOLATE, KINDS, OPEN, UNISOLATE
from shieldwall.response.models import MachineAction
from shieldwall.services import Services
from shieldwall.times import now

CONTACT_SECONDS = 60
AGAIN_SECONDS = 5.0
"""A message is said again until the device has acted on it, but not more often than this."""
DEVICES = 100_000

Message = tuple[str, str, dict[str, Any]]
"""Id, type and body, as the agent protocol names them."""


@dataclass(frozen=True)
class Poll:
    """What the agent said in its poll: the list's revision it has, and whether it is isolated."""

    revision: int
    isolated: bool | None


class Told:
    """What each device was told within the last seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: TTLCache[tuple[str, ...], bool] = TTLCache(DEVICES, AGAIN_SECONDS)

    def first(self, key: tuple[str, ...]) -> bool:
        """Whether this was not just said; from now on it was."""
        with self._lock:
            if key in self._told:
                return False
            self._told[key] = True
            return True


def waiting(services: Services, told: Told, caller: Caller, poll: Poll) -> list[dict[str, str]]:
    """The signed messages for a device, none when there is nothing to say."""
    with services.database.read(caller.tenant_id) as session:
        device = session.get(Device, caller.device_id)
        if device is None:
            return []
        found = [*_actions(session, device), *_isolation(session, device, poll)]
        delta = services.indicators.changes_since(
            session, caller.tenant_id, poll.revision, caller.device_group
        )
        if delta is not None:
            found.append((str(uuid4()), "indicators", delta.body()))
        silent = (now() - device.last_contact).total_seconds() > CONTACT_SECONDS
    if silent:
        _in_contact(services, caller)
    return [
        services.signer.message(caller.device_id, *message)
        for message in found
        if told.first((caller.device_id, *_mark(message)))
    ]


def _mark(message: Message) -> tuple[str, ...]:
    """What makes a message the same as one before: its action, or what it puts right."""
    identifier, kind, body = message
    if kind == "indicators":
        return (kind, str(body["from"]), str(body["to"]))
    return (kind,) if kind in ("isolate", "unisolate") else (kind, identifier)


def _actions(session: Session, device: Device) -> list[Message]:
    return [
        (action.id, KINDS[action.type].message, dict(action.parameters))
        for action in pending_for(session, device.id)
    ] + [
        # A cancellation's id follows from the action's, so that an agent carries it out once.
        (str(uuid5(NAMESPACE_URL, f"cancel:{identifier}")), "cancel", {"action_id": identifier})
        for identifier in cancelled_for(session, device.id)
    ]


def _isolation(session: Session, device: Device, poll: Poll) -> list[Message]:
    """Put right a device whose isolation is not what was last asked of it, unless an action is under way."""
    if poll.isolated is None or poll.isolated == device.isolated:
        return []
    under_way = session.scalar(
        select(MachineAction.id).where(
            MachineAction.machine_id == device.id,
            MachineAction.type.in_((ISOLATE, UNISOLATE)),
            MachineAction.status.in_(OPEN),
        )
    )
    if under_way:
        return []
    if device.isolated:
        return [(_correction_id(), "isolate", {"scope": "Full"})]
    return [(_correction_id(), "unisolate", {})]


def _correction_id() -> str:
    """New each time, as an agent carries out an id once; told from an action's, which is version 4."""
    return str(uuid5(NAMESPACE_URL, f"correction:{uuid4()}"))


def is_correction(identifier: str) -> bool:
    """Whether a message's id is one of the server's own corrections, behind which there is no action."""
    return UUID(identifier).version == 5


def _in_contact(services: Services, caller: Caller) -> None:
    with services.database.session(caller.tenant_id) as session:
        device = session.get(Device, caller.device_id)
        if device is not None:
            device.last_contact = now()
            if device.health_status in ("ImpairedCommunication", "Inactive"):
                device.health_status = "Active"
