"""Alerts start investigations by themselves: a new alert joins one that is under way, or begins one.

Alerts of any part are picked up here after they were committed, by what they have not: an investigation's
state. So none is lost by a crash, and no part that raises alerts needs to know of investigations.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall import log
from shieldwall.alerts.models import Alert, Evidence
from shieldwall.devices.models import Device
from shieldwall.identity import audit
from shieldwall.investigations import standing
from shieldwall.investigations.judging import CLEAN
from shieldwall.investigations.levels import NONE, automation_level
from shieldwall.investigations.models import Investigation
from shieldwall.investigations.planning import GROWTH
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now

AUTOMATIC = "Automated investigation"
"""Who asks for what is done by itself."""
NOT_INVESTIGATED = "UnsupportedAlertType"
"""What an alert shows for which no investigation runs."""
NO_AGENT = "UnsupportedOs"
"""What an alert shows of a device that other sensors tell of, on which nothing can be done."""
SUPPRESSED = "SuppressedAlert"
"""What an alert shows that was resolved before it could start one."""
DEVICES_PER_RUN = 200
ALERTS_PER_DEVICE = 500

logger = log.get("investigations")


class Triggers:
    """Takes up new alerts. Safe to use from any thread, and from several servers at once."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def take_up(self) -> int:
        """Look at the alerts that have no investigation's state; how many were taken up or let be."""
        with self._database.system_read() as session:
            # One without a device waits until it is known which it is of.
            wanted = select(Alert.tenant_id, Alert.machine_id).where(
                Alert.investigation_state.is_(None), Alert.machine_id.is_not(None)
            )
            waiting = session.execute(wanted.distinct().limit(DEVICES_PER_RUN)).all()
        taken = 0
        for tenant_id, device_id in waiting:
            assert device_id is not None
            try:
                taken += self._device(tenant_id, device_id)
            except Exception:
                logger.exception("alerts could not be taken up", device=device_id)
        return taken

    def _device(self, tenant_id: str, device_id: str) -> int:
        with self._database.session(tenant_id) as session:
            # Locked before the device is, as ingestion does it, so that the two never wait for each other.
            alerts = session.scalars(
                select(Alert)
                .where(Alert.machine_id == device_id, Alert.investigation_state.is_(None))
                .order_by(Alert.alert_creation_time, Alert.id)
                .limit(ALERTS_PER_DEVICE)
                .with_for_update(of=Alert, skip_locked=True)
            ).all()
            if not alerts:
                return 0
            device = session.get(Device, device_id, with_for_update={"of": Device})
            starting = self._starting(session, device, alerts)
            if device is not None and starting:
                row = (
                    standing.running_on(session, device.id)
                    or _of_the_same_threat(session, starting)
                    or _begun(session, device, starting[0])
                )
                if row.state != "Queued":
                    row.wanted += 1
                standing.mark(row, starting)
        return len(alerts)

    def _starting(self, session: Session, device: Device | None, alerts: Sequence[Alert]) -> list[Alert]:
        """Those that an investigation looks at; the others are marked as let be."""
        level = automation_level(session, device, self._settings.automation_level) if device else NONE
        able = device is not None and device.public_key and not device.revoked and level != NONE
        files = set(
            session.scalars(
                select(Evidence.alert_id).where(
                    Evidence.alert_id.in_([alert.id for alert in alerts]),
                    Evidence.entity_type.in_(("File", "Process")),
                )
            )
        )
        starting = []
        for alert in alerts:
            if alert.status == "Resolved":
                alert.investigation_state = SUPPRESSED
            elif able and alert.id in files:
                starting.append(alert)
            elif device is not None and not device.public_key:
                alert.investigation_state = NO_AGENT
            else:
                alert.investigation_state = NOT_INVESTIGATED
        return starting


def _of_the_same_threat(session: Session, alerts: Sequence[Alert]) -> Investigation | None:
    """An open investigation that thinks badly of a file of these alerts and has room for a device."""
    hashes = {
        value
        for row in session.execute(
            select(Evidence.sha1, Evidence.sha256).where(
                Evidence.alert_id.in_([alert.id for alert in alerts])
            )
        )
        for value in row
        if value
    }
    if not hashes:
        return None
    # Only what shares evidence is loaded; a system's own files are evidence of many alerts, and no threat.
    alike = (
        select(Alert.investigation_id)
        .join(Evidence, Evidence.alert_id == Alert.id)
        .where(
            Alert.investigation_id.in_(
                select(Investigation.id).where(Investigation.state.in_(standing.OPEN))
            ),
            Evidence.sha1.in_(hashes) | Evidence.sha256.in_(hashes),
        )
    )
    wanted = select(Investigation.id).where(Investigation.id.in_(alike)).order_by(Investigation.id).limit(50)
    for number in session.scalars(wanted).all():
        row = standing.existing(session, number, lock=True)
        bad = {
            finding[name]
            for finding in row.findings
            if finding["verdict"] != CLEAN
            for name in ("sha1", "sha256")
        }
        if row.state in standing.OPEN and bad & hashes and _has_room(session, row):
            return row
    return None


def _has_room(session: Session, row: Investigation) -> bool:
    joined = select(Alert.machine_id).where(Alert.investigation_id == row.id).distinct().limit(GROWTH)
    return len(session.scalars(joined).all()) < GROWTH


def _begun(session: Session, device: Device, alert: Alert) -> Investigation:
    time = now()
    row = Investigation(
        tenant_id=device.tenant_id,
        state="Queued",
        start_time=time.replace(microsecond=0),
        last_update_time=time,
        machine_id=device.id,
        computer_dns_name=device.computer_dns_name,
        triggering_alert_id=alert.id,
        requestor=AUTOMATIC,
        wanted=1,
        judged=0,
        findings=[],
        actions=[],
    )
    session.add(row)
    session.flush()
    audit.record(session, "system", "investigation.start", str(row.id), detail={"machine": device.id})
    return row
