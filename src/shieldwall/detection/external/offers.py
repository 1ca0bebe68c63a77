"""What external alerts call malicious, offered as indicators, or put on the list as the policy says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall import log
from shieldwall.detection.external import policy
from shieldwall.detection.external.batches import parts
from shieldwall.detection.external.harmless import Harmless
from shieldwall.detection.external.models import (
    ACCEPTED,
    APPLIED,
    FAILED,
    OFFERED,
    REJECTED,
    IndicatorOffer,
)
from shieldwall.detection.external.schema import ExternalAlert
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.models import Indicator
from shieldwall.detection.ownership import ALL
from shieldwall.detection.values import match_value
from shieldwall.errors import ApiError, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.times import now, to_text

OPEN_LIMIT = 10_000
"""Most offers of a tenant that wait for somebody; more are not made until some are decided."""
APPLIED_PER_DAY = 1_000
"""Most indicators that a tenant's policy applies in a day; what is beyond waits for somebody."""
AT_ONCE = 500
BY_POLICY = "policy"

logger = log.get("external_alerts")


@dataclass(frozen=True)
class Value:
    """A value as an indicator would have it."""

    kind: policy.Kind
    type: str
    text: str


class _Name(NamedTuple):
    """What a value is known by."""

    type: str
    compared: str
    digest: str


def malicious(alert: ExternalAlert, other_end: Sequence[str]) -> Iterator[Value]:
    """What an alert accuses: its files by their strongest hash, the other end's addresses, and its names."""
    for file in alert.files:
        hashes = (("FileSha256", file.sha256), ("FileSha1", file.sha1), ("FileMd5", file.md5))
        strongest = next(((kind, value) for kind, value in hashes if value), None)
        if file.malicious and strongest:
            yield Value("File", *strongest)
    for address in other_end:
        yield Value("Address", "IpAddress", address)
    network = alert.network
    host = _host(network.url)
    if network.url:
        yield Value("Url", "Url", network.url)
    for name in dict.fromkeys((network.domain, network.sni)):
        # Of a host that many share only the one page is bad.
        if name and name.rstrip(".").lower() != host:
            yield Value("Domain", "DomainName", name)


class Offering:
    """Makes the offers of one transaction, all at its end: few statements look at all of their values."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._policy = policy.load(session)
        self._noted: list[tuple[policy.Rule, ExternalAlert, str, Value, _Name]] = []

    def note(self, alert: ExternalAlert, alert_id: str, other_end: Sequence[str]) -> None:
        """Offer or accept later what the tenant's policy says of this alert."""
        rule = self._policy.rule_for(alert)
        if rule is None or rule.mode == "off" or alert.status == "Resolved":
            return
        for value in malicious(alert, other_end):
            if value.kind in rule.types and (name := _name(value)):
                self._noted.append((rule, alert, alert_id, value, name))

    def make(self) -> None:
        """Make the offers of all noted values that are new, and that may be offered."""
        if not self._noted:
            return
        waiting = _count(self._session, IndicatorOffer.state == OFFERED)
        applied, beyond = _applied_today(self._session), 0
        names = {name for *_, name in self._noted}
        done = _known(self._session, names)
        harmless = Harmless(self._session, self._policy.allowed, [name[:2] for name in names - done])
        for rule, alert, alert_id, value, name in self._noted:
            if name in done:
                continue
            done.add(name)
            if harmless.why(name.type, name.compared):
                continue
            applies = rule.mode == "apply" and applied < APPLIED_PER_DAY
            if not applies and waiting >= OPEN_LIMIT:
                beyond += 1
                continue
            applied, waiting = applied + applies, waiting + (not applies)
            time = now()
            self._session.add(
                IndicatorOffer(
                    alert_id=alert_id,
                    indicator_type=value.type,
                    indicator_value=value.text,
                    digest=name.digest,
                    action=rule.action,
                    severity=alert.severity,
                    title=alert.title,
                    source=alert.source,
                    days=rule.days,
                    state=ACCEPTED if applies else OFFERED,
                    created_time=time,
                    decided_by=BY_POLICY if applies else None,
                    decided_time=time if applies else None,
                )
            )
        self._noted.clear()
        if beyond:
            logger.warning("more indicators are offered than are looked at", limit=OPEN_LIMIT, beyond=beyond)


class IndicatorOffers:
    """Decides about offers, and puts accepted ones on the list."""

    def __init__(self, database: Database, indicators: IndicatorService) -> None:
        self._database = database
        self._indicators = indicators

    def approve(
        self, tenant_id: str, actor: Principal, number: int, action: str | None, days: int | None
    ) -> IndicatorOffer:
        """Put an offered value on the list, with another action or time where these are given.

        ApiError 404 for an unknown offer, 400 for one that is decided, or cannot be put on the list.
        """
        with self._database.session(tenant_id) as session:
            row = _undecided(session, number)
            row.action, row.days = action or row.action, days or row.days
            row.state, row.decided_by, row.decided_time = ACCEPTED, actor.actor, now()
            audit.record(session, actor, "indicator.offer.approve", str(number), detail=_detail(row))
        self._apply(tenant_id, actor, number, strict=True)
        with self._database.read(tenant_id) as session:
            return session.get_one(IndicatorOffer, number)

    def reject(self, tenant_id: str, actor: Principal, number: int, reason: str | None) -> IndicatorOffer:
        """Turn an offered value down; it is not offered again."""
        with self._database.session(tenant_id) as session:
            row = _undecided(session, number)
            row.state, row.decided_by, row.decided_time = REJECTED, actor.actor, now()
            row.reason = reason
            audit.record(session, actor, "indicator.offer.reject", str(number), detail=_detail(row))
        return row

    def apply_accepted(self, tenant_id: str | None = None) -> int:
        """Put on the list what is accepted and not on it yet, of one tenant or of all; how many."""
        wanted = select(IndicatorOffer.tenant_id, IndicatorOffer.id).where(IndicatorOffer.state == ACCEPTED)
        if tenant_id is not None:
            wanted = wanted.where(IndicatorOffer.tenant_id == tenant_id)
        with self._database.system_read() as session:
            rows = session.execute(wanted.order_by(IndicatorOffer.id).limit(AT_ONCE)).all()
        for owner, number in rows:
            self._apply(owner, None, number, strict=False)
        return len(rows)

    def _apply(self, tenant_id: str, actor: Principal | None, number: int, *, strict: bool) -> None:
        with self._database.read(tenant_id) as session:
            row = session.get_one(IndicatorOffer, number)
            listed = _listed(
                session, row.indicator_type, match_value(row.indicator_type, row.indicator_value)
            )
        problem: ApiError | None = None
        # What somebody has put on the list meanwhile stays as it is.
        identifier = listed.id if listed is not None else None
        if listed is None:
            who = actor or Principal(tenant_id, "external-alerts", row.source[:200], frozenset({ALL}))
            try:
                made = self._indicators.create_or_update(tenant_id, who, _indicator(row))
                identifier = made.id
            except ApiError as error:
                problem = error
        with self._database.session(tenant_id) as session:
            row = session.get_one(IndicatorOffer, number, with_for_update=True)
            row.state = APPLIED if problem is None else OFFERED if strict else FAILED
            row.indicator_id = identifier
            row.reason = problem.message[:1000] if problem else row.reason
        if problem is not None:
            if strict:
                raise problem
            logger.warning("an indicator was not applied", offer=number, reason=problem.message)


def _indicator(row: IndicatorOffer) -> dict[str, Any]:
    return {
        "indicatorType": row.indicator_type,
        "indicatorValue": row.indicator_value,
        "action": row.action,
        "title": row.title,
        "description": f"Named by alert {row.alert_id} of {row.source}.",
        "severity": row.severity,
        "generateAlert": True,
        "application": row.source[:300],
        "externalId": row.alert_id,
        "expirationTime": to_text(now() + timedelta(days=row.days)),
    }


def _undecided(session: Session, number: int) -> IndicatorOffer:
    row = session.get(IndicatorOffer, number, with_for_update=True)
    if row is None:
        raise not_found("Indicator offer", str(number))
    if row.state not in (OFFERED, FAILED):
        raise ApiError(400, "InvalidRequest", f"Indicator offer {number} is {row.state.lower()} already.")
    return row


def _detail(row: IndicatorOffer) -> dict[str, Any]:
    return {"type": row.indicator_type, "value": row.indicator_value, "alert": row.alert_id}


def _name(value: Value) -> _Name | None:
    """None for a value that no indicator can have."""
    try:
        compared = match_value(value.type, value.text)
    except ApiError:
        return None
    digest = hashlib.sha256(f"{value.type}\n{compared}".encode()).hexdigest()
    return _Name(value.type, compared, digest)


def _known(session: Session, names: Iterable[_Name]) -> set[_Name]:
    """Those that were offered before or are on the list."""
    found: set[_Name] = set()
    for part in parts(sorted(names)):
        offered = select(IndicatorOffer.digest).where(
            IndicatorOffer.digest.in_([each.digest for each in part])
        )
        listed = select(Indicator.indicator_type, Indicator.match_value).where(
            Indicator.indicator_type.in_({each.type for each in part}),
            Indicator.match_value.in_([each.compared for each in part]),
        )
        digests, pairs = set(session.scalars(offered)), {tuple(row) for row in session.execute(listed)}
        found |= {each for each in part if each.digest in digests or each[:2] in pairs}
    return found


def _listed(session: Session, kind: str, compared: str) -> Indicator | None:
    return session.scalar(
        select(Indicator).where(Indicator.indicator_type == kind, Indicator.match_value == compared)
    )


def _applied_today(session: Session) -> int:
    since = now() - timedelta(days=1)
    return _count(session, IndicatorOffer.decided_by == BY_POLICY, IndicatorOffer.decided_time > since)


def _count(session: Session, *where: Any) -> int:
    return session.scalar(select(func.count()).select_from(IndicatorOffer).where(*where)) or 0


def _host(url: str | None) -> str:
    if not url:
        return ""
    try:
        return (urlsplit(url if "://" in url else f"http://{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""
