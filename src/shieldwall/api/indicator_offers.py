"""Indicators that alerts of other products offer, and the policy that says what becomes of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Passed, Shape, choices, invalid_body
from shieldwall.api.odata.fields import EntitySet, Field, Kind, by_name
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.api.shapes import time_text
from shieldwall.detection.external import policy
from shieldwall.detection.external.models import STATES, IndicatorOffer
from shieldwall.detection.ownership import ALL
from shieldwall.detection.values import TYPES
from shieldwall.errors import not_found
from shieldwall.identity.principal import Principal
from shieldwall.times import to_text

router = new_router("Indicators")

DAYS = 365
Caller = Annotated[Principal, Depends(requires(ALL))]

OFFERS = EntitySet(
    "IndicatorOffers",
    IndicatorOffer,
    "id",
    by_name(
        [
            Field("id", Kind.NUMBER, IndicatorOffer.id),
            Field("alertId", Kind.EXACT, IndicatorOffer.alert_id),
            Field("state", Kind.CHOICE, IndicatorOffer.state, STATES),
            Field("indicatorType", Kind.CHOICE, IndicatorOffer.indicator_type, TYPES),
            Field("indicatorValue", Kind.TEXT, IndicatorOffer.indicator_value),
            Field("severity", Kind.TEXT, IndicatorOffer.severity),
            Field("source", Kind.TEXT, IndicatorOffer.source),
            Field("createdTime", Kind.TIME, IndicatorOffer.created_time),
        ]
    ),
    order=(("createdTime", True),),
)


class _Approval(Shape):
    """How an offered value is put on the list, where not as it was offered."""

    def read(self, body: Any) -> Body:
        found = super().read(body)
        days = {name.lower(): value for name, value in body.items()}.get("days")
        if days is not None:
            if type(days) is not int or not 1 <= days <= DAYS:
                raise invalid_body(f"days must be a number from 1 to {DAYS}.")
            found["days"] = days
        return found

    def openapi(self) -> dict[str, Any]:
        found = super().openapi()
        schema = found["requestBody"]["content"]["application/json"]["schema"]
        schema["properties"]["days"] = {"type": "integer", "minimum": 1, "maximum": DAYS}
        return found


APPROVAL = _Approval(Parameter("action", choices=choices("Audit", "Warn", "Block")))
REJECTION = Shape(Parameter("reason", limit=1000))
POLICY = Passed(Parameter("rules"), Parameter("allowed", many=True))


@router.get("/api/indicatorOffers", summary="List offered indicators")
def list_offers(request: Request, principal: Caller) -> Response:
    """What alerts of other products call malicious, the newest first. OData options apply."""
    options = read_options(request.url.query, OFFERS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, OFFERS, options)
        items = [_offer(row) for row in page.rows]
    return answers.collection(request, "IndicatorOffers", items, page, options)


@router.post("/api/indicatorOffers/{offer_id}/approve", summary="Put an offered indicator on the list")
def approve(
    offer_id: str, request: Request, principal: Caller, body: Annotated[Body, Depends(APPROVAL)]
) -> Response:
    """With the action and the days of the offer, or those of the body."""
    offers = services_of(request).indicator_offers
    number = _number(offer_id)
    row = offers.approve(principal.tenant_id, principal, number, body.get("action"), body.get("days"))
    return answers.entity(request, "IndicatorOffers", _offer(row))


@router.post("/api/indicatorOffers/{offer_id}/reject", summary="Turn an offered indicator down")
def reject(
    offer_id: str, request: Request, principal: Caller, body: Annotated[Body, Depends(REJECTION)]
) -> Response:
    """It is not offered again."""
    offers = services_of(request).indicator_offers
    row = offers.reject(principal.tenant_id, principal, _number(offer_id), body.get("reason"))
    return answers.entity(request, "IndicatorOffers", _offer(row))


@router.get("/api/indicatorPolicy", summary="Get the policy of offered indicators")
def get_policy(request: Request, principal: Caller) -> Response:
    """Rules in order, of which the first that fits an alert decides, and what is never offered."""
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.entity(request, "IndicatorPolicies", policy.load(session).body())


@router.patch("/api/indicatorPolicy", summary="Change the policy of offered indicators")
def change_policy(request: Request, principal: Caller, body: Annotated[Body, Depends(POLICY)]) -> Response:
    """`rules` and `allowed` are replaced where they are given."""
    if not body:
        raise invalid_body("The request body changes nothing.")
    database = services_of(request).database
    changed = policy.change(database, principal.tenant_id, principal, body)
    return answers.entity(request, "IndicatorPolicies", changed.body())


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise not_found("Indicator offer", text[:40])
    return int(text)


def _offer(row: IndicatorOffer) -> Entity:
    return {
        "id": row.id,
        "alertId": row.alert_id,
        "indicatorType": row.indicator_type,
        "indicatorValue": row.indicator_value,
        "action": row.action,
        "severity": row.severity,
        "title": row.title,
        "source": row.source,
        "days": row.days,
        "state": row.state,
        "createdTime": to_text(row.created_time),
        "decidedBy": row.decided_by,
        "decidedTime": time_text(row.decided_time),
        "reason": row.reason,
        "indicatorId": None if row.indicator_id is None else str(row.indicator_id),
    }
