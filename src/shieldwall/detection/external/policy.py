"""What a tenant does with what external alerts call malicious: rules in order, and what is never touched."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.detection.external.models import IndicatorPolicy
from shieldwall.detection.external.schema import SEVERITIES, ExternalAlert, Name, Severity, error_of
from shieldwall.errors import ApiError
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.times import now

ANY = "*"
RULES = 50
ALLOWED = 10_000

Kind = Literal["File", "Address", "Domain", "Url"]
KINDS: tuple[Kind, ...] = ("File", "Address", "Domain", "Url")


def _value(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("is empty or not printable")
    return text.strip().lower()


class Rule(BaseModel):
    """Alerts of a vendor's product from a severity on, and what becomes of their malicious values."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="forbid", frozen=True)

    vendor: Name = ANY
    product: Name = ANY
    min_severity: Severity = "Medium"
    mode: Literal["off", "offer", "apply"] = "offer"
    action: Literal["Audit", "Warn", "Block"] = "Block"
    days: Annotated[int, Field(ge=1, le=365)] = 30
    types: Annotated[list[Kind], Field(max_length=len(KINDS))] = list(KINDS)

    def fits(self, alert: ExternalAlert) -> bool:
        return (
            self.vendor.lower() in (ANY, alert.vendor.lower())
            and self.product.lower() in (ANY, alert.product.lower())
            and SEVERITIES.index(alert.severity) >= SEVERITIES.index(self.min_severity)
        )


class Policy(BaseModel):
    """The first rule that fits decides; where none does, nothing is offered."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="forbid", frozen=True)

    rules: Annotated[list[Rule], Field(max_length=RULES)] = [Rule()]
    allowed: Annotated[
        list[Annotated[str, Field(max_length=2048), AfterValidator(_value)]], Field(max_length=ALLOWED)
    ] = []

    def rule_for(self, alert: ExternalAlert) -> Rule | None:
        return next((rule for rule in self.rules if rule.fits(alert)), None)

    def body(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True)


def load(session: Session) -> Policy:
    """The policy of the session's tenant; by default what is of medium severity or more is offered."""
    row = session.scalar(select(IndicatorPolicy))
    return Policy.model_validate({"rules": row.rules, "allowed": row.allowed}) if row else Policy()


def change(database: Database, tenant_id: str, actor: Principal, body: dict[str, Any]) -> Policy:
    """Set the rules, what is allowed, or both; ApiError 400 names the field that is wrong."""
    try:
        given = Policy.model_validate(body)
    except ValidationError as error:
        raise ApiError(400, "InvalidRequestBody", str(error_of(error))) from None
    with database.session(tenant_id) as session:
        kept = load(session)
        policy = kept.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})
        row = session.scalar(select(IndicatorPolicy).with_for_update())
        if row is None:
            row = IndicatorPolicy(tenant_id=tenant_id)
            session.add(row)
        content = policy.body()
        row.rules, row.allowed = content["rules"], content["allowed"]
        row.updated_time, row.updated_by = now(), actor.actor
        detail = {"rules": row.rules, "allowed": len(row.allowed)}
        audit.record(session, actor, "indicator.policy", detail=detail)
    return policy
