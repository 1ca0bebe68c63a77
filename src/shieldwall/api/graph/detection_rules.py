"""Detection rules on the paths of Graph, which has them under ``/beta``: list, get, make, change, delete."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

from fastapi import Depends, Request
from sqlalchemy import func, select, true
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.bodies import Body, Parameter, Passed
from shieldwall.api.graph import detection_rule_shapes as shapes
from shieldwall.api.odata.fields import EntitySet, Field, Kind, by_name
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.detection.rules.models import RuleTuning, StoredRule
from shieldwall.identity.principal import Principal

router = new_router("Graph")

READ, WRITE = "CustomDetection.Read.All", "CustomDetection.ReadWrite.All"
Reader = Annotated[Principal, Depends(requires(READ, WRITE))]
Writer = Annotated[Principal, Depends(requires(WRITE))]

_ENABLED = func.coalesce(
    select(RuleTuning.enabled)
    .where(RuleTuning.tenant_id == StoredRule.tenant_id, RuleTuning.rule_id == StoredRule.id)
    .correlate(StoredRule)
    .scalar_subquery(),
    true(),
)
RULES = EntitySet(
    "detectionRules",
    StoredRule,
    "id",
    by_name(
        [
            Field("id", Kind.EXACT, StoredRule.id),
            Field("displayName", Kind.TEXT, StoredRule.name),
            Field("isEnabled", Kind.FLAG, _ENABLED),
            Field("createdBy", Kind.TEXT, StoredRule.created_by),
            Field("createdDateTime", Kind.TIME, StoredRule.created_time),
            Field("lastModifiedBy", Kind.TEXT, StoredRule.modified_by),
            Field("lastModifiedDateTime", Kind.TIME, StoredRule.modified_time),
        ]
    ),
    order=(("displayName", False),),
    page_limit=1000,
)
RULE = Passed(
    Parameter("displayName", limit=300),
    Parameter("isEnabled"),
    Parameter("queryCondition"),
    Parameter("schedule"),
    Parameter("detectionAction"),
)
PATH = "security/rules/detectionRules"


@router.get(f"/beta/{PATH}", summary="List detection rules (Graph beta)")
@router.get(f"/v1.0/{PATH}", summary="List detection rules (Graph)")
def list_rules(request: Request, principal: Reader) -> Response:
    """The tenant's own and imported rules by name; built-in ones can be read one by one. OData applies."""
    options = read_options(request.url.query, RULES)
    services = services_of(request)
    with services.database.read(principal.tenant_id) as session:
        page = fetch(session, RULES, options)
    known = services.rules.get_many(principal.tenant_id, [row.id for row in page.rows])
    items = [shapes.detection_rule(item) for item in known]
    return answers.collection(request, PATH, items, page, options)


@router.get(f"/beta/{PATH}/{{rule_id}}", summary="Get a detection rule (Graph beta)")
@router.get(f"/v1.0/{PATH}/{{rule_id}}", summary="Get a detection rule (Graph)")
def get_rule(rule_id: str, request: Request, principal: Reader) -> Response:
    found = services_of(request).rules.get(principal.tenant_id, rule_id)
    return answers.entity(request, PATH, shapes.detection_rule(found))


@router.post(f"/beta/{PATH}", summary="Create a detection rule (Graph beta)", status_code=201)
@router.post(f"/v1.0/{PATH}", summary="Create a detection rule (Graph)", status_code=201)
def create_rule(request: Request, principal: Writer, body: Annotated[Body, Depends(RULE)]) -> Response:
    """A new rule looks at the last 30 days at once, then as its schedule says."""
    rule, decision = shapes.read(str(uuid4()), body)
    made = services_of(request).rules.create(principal, rule, decision)
    return answers.entity(request, PATH, shapes.detection_rule(made), 201)


@router.patch(f"/beta/{PATH}/{{rule_id}}", summary="Update a detection rule (Graph beta)")
@router.patch(f"/v1.0/{PATH}/{{rule_id}}", summary="Update a detection rule (Graph)")
def update_rule(
    rule_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(RULE)]
) -> Response:
    """Change what the body names. Of an imported or built-in rule only the tenant's decisions change."""
    rules = services_of(request).rules
    known = rules.get(principal.tenant_id, rule_id)
    before = shapes.detection_rule(known)
    rule, decision = shapes.read(rule_id, shapes.merged(before, body))
    changed = rules.change(principal, known, rule, decision)
    return answers.entity(request, PATH, shapes.detection_rule(changed))


@router.delete(f"/beta/{PATH}/{{rule_id}}", summary="Delete a detection rule (Graph beta)", status_code=204)
@router.delete(f"/v1.0/{PATH}/{{rule_id}}", summary="Delete a detection rule (Graph)", status_code=204)
def delete_rule(rule_id: str, request: Request, principal: Writer) -> Response:
    """Its alerts stay."""
    services_of(request).rules.delete(principal, rule_id)
    return answers.nothing()
