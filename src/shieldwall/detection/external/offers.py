"""What external alerts call malicious, offered as indicators, or put on the list as the policy says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall import log
from shieldwall.detection.external import policy
from shieldwall.detection.external.harmless import why_harmless
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
    """Makes the offers of one transaction: the policy is read once, and each value looked at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._policy = policy.load(session)
        self._seen: set[str] = set()
        self._waiting = _count(session, IndicatorOffer.state == OFFERED)
        self._applied = _applied_today(session)

    def offer(self, alert: ExternalAlert, alert_id: str, other_end: Sequence[str]) -> None:
        """Offer or accept what the tenant's policy says of this alert."""
        rule = self._policy.rule_for(alert)
        if rule is None or rule.mode == "off" or alert.status == "Resolved":
            return
        for value in malicious(alert, other_end):
            if value.kind not in rule.types or not (digest := self._new(value)):
                continue
            applies = rule.mode == "apply" and self._applied < APPLIED_PER_DAY
            if not applies and self._waiting >= OPEN_LIMIT:
                logger.warning("more indicators are offered than are looked at", limit=OPEN_LIMIT)
                return
            self._applied, self._waiting = self._applied + applies, self._waiting + (not applies)
            time = now()
            self._session.add(
                IndicatorOffer(
                    alert_id=alert_id,
                    indicator_type=value.type,
                    indicator_value=value.text,
                    digest=digest,
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

    def _new(self, value: Value) -> str:
        """The digest of a value that may be offered; empty for any other."""
        try:
            compared = match_value(value.type, value.text)
        except ApiError:
            return ""
        digest = hashlib.sha256(f"{value.type}\n{compared}".encode()).hexdigest()
        if digest in self._seen:
            return ""
        self._seen.add(digest)
        known = _is_known(self._session, value.type, compared, digest)
        if known or why_harmless(self._session, value.type, compared, self._policy.allowed):
            return ""
        return digest


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


def _is_known(session: Session, kind: str, compared: str, digest: str) -> bool:
    offered = select(IndicatorOffer.id).where(IndicatorOffer.digest == digest)
    return session.scalar(offered) is not None or _listed(session, kind, compared) is not None


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
