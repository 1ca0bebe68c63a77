"""Calls as data: what is asked, and the type of what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from shieldwall.client.entities import (
    Alert,
    ExternalAlertResult,
    HuntingResult,
    ImportResult,
    Incident,
    Indicator,
    IndicatorOffer,
    Link,
    Machine,
    MachineAction,
)

T = TypeVar("T")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request; ``T`` is the type of its answer's body, None where the answer has none."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None


@dataclass(frozen=True)
class Listing(Call[T]):
    """A list of ``T``: ``send`` answers its first page as it comes, ``each`` goes through all."""


class Options(TypedDict, total=False):
    """The options of a list, as OData has them."""

    filter: str
    orderby: str
    top: int
    skip: int
    select: str
    expand: str


def listing(path: str, **options: Unpack[Options]) -> Listing[Any]:
    """A list at any path."""
    return Listing("GET", path, {f"${name}": str(value) for name, value in options.items()})


def alerts(**options: Unpack[Options]) -> Listing[Alert]:
    return listing("/api/alerts", **options)


def alert(alert_id: str) -> Call[Alert]:
    return Call("GET", f"/api/alerts/{_id(alert_id)}")


def update_alert(alert_id: str, **changes: str) -> Call[Alert]:
    """``status``, ``assignedTo``, ``classification``, ``determination``, ``comment``."""
    return Call("PATCH", f"/api/alerts/{_id(alert_id)}", body=changes)


def update_alerts(alert_ids: Sequence[str], **changes: str) -> Call[None]:
    return Call("POST", "/api/alerts/batchUpdate", body={"alertIds": list(alert_ids), **changes})


def send_external_alerts(records: Sequence[Json | str], format: str = "") -> Listing[ExternalAlertResult]:
    """Alerts of another product, at most 500 at once: objects, or lines of text. Each has its own result.

    ``format`` such as ``suricata`` names the product's; without it the records tell.
    """
    body: dict[str, Any] = {"records": list(records)}
    return Listing("POST", "/api/alerts/external", body={"format": format, **body} if format else body)


def external_alert(alert_id: str) -> Call[dict[str, Any]]:
    """What another product said of an alert."""
    return Call("GET", f"/api/alerts/{_id(alert_id)}/external")


def alert_sources() -> Listing[dict[str, Any]]:
    return listing("/api/alertSources")


def machines(**options: Unpack[Options]) -> Listing[Machine]:
    return listing("/api/machines", **options)


def machine(machine_id: str) -> Call[Machine]:
    """By id or DNS name."""
    return Call("GET", f"/api/machines/{_id(machine_id)}")


def machine_alerts(machine_id: str, **options: Unpack[Options]) -> Listing[Alert]:
    return listing(f"/api/machines/{_id(machine_id)}/alerts", **options)


def tag(machine_id: str, value: str, *, remove: bool = False) -> Call[Machine]:
    body = {"Value": value, "Action": "Remove" if remove else "Add"}
    return Call("POST", f"/api/machines/{_id(machine_id)}/tags", body=body)


def isolate(machine_id: str, comment: str, isolation_type: str = "Full") -> Call[MachineAction]:
    return _action(machine_id, "isolate", comment, IsolationType=isolation_type)


def unisolate(machine_id: str, comment: str) -> Call[MachineAction]:
    return _action(machine_id, "unisolate", comment)


def collect_package(machine_id: str, comment: str) -> Call[MachineAction]:
    return _action(machine_id, "collectInvestigationPackage", comment)


def scan(machine_id: str, comment: str, scan_type: str = "Quick") -> Call[MachineAction]:
    return _action(machine_id, "runAntiVirusScan", comment, ScanType=scan_type)


def stop_and_quarantine(machine_id: str, sha1: str, comment: str) -> Call[MachineAction]:
    return _action(machine_id, "StopAndQuarantineFile", comment, Sha1=sha1)


def live_response(machine_id: str, commands: Sequence[Json], comment: str) -> Call[MachineAction]:
    """``commands`` such as ``{"type": "GetFile", "params": [{"key": "Path", "value": "/etc/hosts"}]}``."""
    return _action(machine_id, "runliveresponse", comment, Commands=list(commands))


def machine_actions(**options: Unpack[Options]) -> Listing[MachineAction]:
    return listing("/api/machineactions", **options)


def machine_action(action_id: str) -> Call[MachineAction]:
    return Call("GET", f"/api/machineactions/{_id(action_id)}")


def cancel_action(action_id: str, comment: str) -> Call[MachineAction]:
    return Call("POST", f"/api/machineactions/{_id(action_id)}/cancel", body={"Comment": comment})


def package_link(action_id: str) -> Call[Link]:
    """Where the package that an action collected can be fetched, without a token."""
    return Call("GET", f"/api/machineactions/{_id(action_id)}/getPackageUri")


def indicators(**options: Unpack[Options]) -> Listing[Indicator]:
    return listing("/api/indicators", **options)


def submit_indicator(
    value: str, indicator_type: str, action: str, title: str, description: str, **more: Any
) -> Call[Indicator]:
    """Make an indicator, or change the one of this value. ``more``: ``severity``, ``expirationTime`` ..."""
    return Call(
        "POST",
        "/api/indicators",
        body={
            "indicatorValue": value,
            "indicatorType": indicator_type,
            "action": action,
            "title": title,
            "description": description,
            **more,
        },
    )


def import_indicators(indicators: Sequence[Json]) -> Listing[ImportResult]:
    """At most 500 at once; each has its own result."""
    return Listing("POST", "/api/indicators/import", body={"Indicators": list(indicators)})


def delete_indicator(indicator_id: str) -> Call[None]:
    return Call("DELETE", f"/api/indicators/{_id(indicator_id)}")


def indicator_offers(**options: Unpack[Options]) -> Listing[IndicatorOffer]:
    """What alerts of other products call malicious."""
    return listing("/api/indicatorOffers", **options)


def approve_offer(offer_id: int, **changes: Any) -> Call[IndicatorOffer]:
    """Put it on the indicator list; ``action`` and ``days`` where not as offered."""
    return Call("POST", f"/api/indicatorOffers/{offer_id}/approve", body=changes)


def reject_offer(offer_id: int, reason: str = "") -> Call[IndicatorOffer]:
    return Call("POST", f"/api/indicatorOffers/{offer_id}/reject", body={"reason": reason})


def indicator_policy() -> Call[dict[str, Any]]:
    """What becomes of what alerts of other products call malicious."""
    return Call("GET", "/api/indicatorPolicy")


def change_indicator_policy(**changes: Any) -> Call[dict[str, Any]]:
    """``rules`` and ``allowed``; each replaces what there was."""
    return Call("PATCH", "/api/indicatorPolicy", body=changes)


def incidents(**options: Unpack[Options]) -> Listing[Incident]:
    return listing("/api/incidents", **options)


def incident(incident_id: int) -> Call[Incident]:
    return Call("GET", f"/api/incidents/{incident_id}")


def update_incident(incident_id: int, **changes: Any) -> Call[Incident]:
    """``status``, ``assignedTo``, ``classification``, ``determination``, ``tags``, ``comment``."""
    return Call("PATCH", f"/api/incidents/{incident_id}", body=changes)


def hunt(query: str) -> Call[HuntingResult]:
    """Run KQL over the tenant's telemetry."""
    return Call("POST", "/api/advancedqueries/run", body={"Query": query})


def _action(machine_id: str, name: str, comment: str, **more: Any) -> Call[MachineAction]:
    return Call("POST", f"/api/machines/{_id(machine_id)}/{name}", body={"Comment": comment, **more})


def _id(text: str) -> str:
    return quote(text, safe="")
