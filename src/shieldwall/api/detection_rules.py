"""All detection rules as they are in force, built-in ones too: read, tuned, suppressed, tried and imported.

Graph has rules that somebody wrote, and nothing for those that come with the product; what it has no word for
is here.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Passed, Shape, invalid_body
from shieldwall.api.graph.detection_rule_shapes import last_run, run_details
from shieldwall.api.routing import router as new_router
from shieldwall.api.shapes import time_text
from shieldwall.detection.rules.actions import read_actions
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.known import KnownRule
from shieldwall.detection.rules.models import RuleRun, RuleSuppression
from shieldwall.detection.rules.reading import read_rule
from shieldwall.errors import bad_request
from shieldwall.identity.principal import Principal
from shieldwall.times import parse

router = new_router("Detection rules")

READ, WRITE = "CustomDetection.Read.All", "CustomDetection.ReadWrite.All"
Reader = Annotated[Principal, Depends(requires(READ, WRITE))]
Writer = Annotated[Principal, Depends(requires(WRITE))]
PATH = "/api/detectionRules"
IMPORT_LIMIT = 500

IMPORT = Passed(Parameter("rules", required=True))
TUNE = Passed(Parameter("enabled"), Parameter("severity"), Parameter("deviceGroups"), Parameter("actions"))
SUPPRESSION = Shape(
    Parameter("column", required=True, limit=200),
    Parameter("value", required=True, limit=2048),
    Parameter("reason", required=True, limit=1000),
    Parameter("device", limit=255),
    Parameter("deviceGroup", limit=200),
    Parameter("product", limit=200),
    Parameter("expires", limit=40),
)


@router.get(PATH, summary="List all detection rules")
def list_rules(
    request: Request, principal: Reader, source: Annotated[str, Query(max_length=16)] = ""
) -> Response:
    """By name, without their queries; of one source (Custom, Sigma or BuiltIn) if it is given."""
    known = services_of(request).rules.list_rules(principal.tenant_id)
    shown = [item for item in known if not source or item.rule.source.lower() == source.lower()]
    items = []
    for item in shown:
        body = rule(item)
        del body["query"], body["origin"]
        items.append(body)
    return answers.collection(request, "DetectionRules", items)


@router.post(f"{PATH}/import", summary="Import detection rules")
def import_rules(request: Request, principal: Writer, body: Annotated[Body, Depends(IMPORT)]) -> Response:
    """Up to 500, each with its own outcome: added, updated, unchanged or refused. What was decided stays."""
    given = body.get("rules")
    if not isinstance(given, list):
        raise invalid_body("rules must be a list.")
    if len(given) > IMPORT_LIMIT:
        raise bad_request(f"{len(given)} rules are more than {IMPORT_LIMIT}.", "MaximumBatchSizeExceeded")
    rules, decisions, outcomes = [], {}, {}
    for number, item in enumerate(given):
        try:
            read, decision = read_rule(item)
        except ValueError as error:
            outcomes[number] = {"id": None, "name": None, "outcome": "refused", "reason": str(error)}
            continue
        rules.append(read)
        decisions[read.id] = decision
    done = iter(services_of(request).rules.import_many(principal, rules, decisions=decisions))
    items = []
    for number in range(len(given)):
        if number in outcomes:
            items.append(outcomes[number])
        else:
            result = next(done)
            items.append(
                {
                    "id": result.rule.id,
                    "name": result.rule.name,
                    "outcome": result.outcome,
                    "reason": result.reason or None,
                }
            )
    return answers.collection(request, "DetectionRuleImports", items)


@router.get(f"{PATH}/{{rule_id}}", summary="Get any detection rule")
def get_rule(rule_id: str, request: Request, principal: Reader) -> Response:
    found = services_of(request).rules.get(principal.tenant_id, rule_id)
    return answers.entity(request, "DetectionRules", rule(found))


@router.delete(f"{PATH}/{{rule_id}}", summary="Delete any detection rule", status_code=204)
def delete_rule(rule_id: str, request: Request, principal: Writer) -> Response:
    services_of(request).rules.delete(principal, rule_id)
    return answers.nothing()


@router.post(f"{PATH}/{{rule_id}}/tune", summary="Tune a detection rule")
def tune(rule_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(TUNE)]) -> Response:
    """Decide about a rule, whoever wrote it; an update of its text leaves the decision."""
    changed = services_of(request).rules.tune(principal, rule_id, read_decision(body))
    return answers.entity(request, "DetectionRules", rule(changed))


@router.post(f"{PATH}/{{rule_id}}/run", summary="Run a detection rule now")
def run(rule_id: str, request: Request, principal: Writer) -> Response:
    """Over what its next run would look at, or 30 days for a continuous rule. The schedule stays."""
    services = services_of(request)
    services.rules.get(principal.tenant_id, rule_id)
    done = services.rule_runner.run_now(principal.tenant_id, rule_id)
    return answers.value(request, "DetectionRuleRuns/$entity", _run(done))


@router.get(f"{PATH}/{{rule_id}}/runs", summary="Runs of a detection rule")
def runs(
    rule_id: str, request: Request, principal: Reader, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """Newest first: which window each looked at, the rows it found, and the alerts that it raised."""
    found = services_of(request).rules.runs(principal.tenant_id, rule_id, limit)
    return answers.collection(request, "DetectionRuleRuns", [_run(item) for item in found])


@router.get(f"{PATH}/{{rule_id}}/suppressions", summary="Suppressions of a detection rule")
def suppressions(rule_id: str, request: Request, principal: Reader) -> Response:
    found = services_of(request).rules.suppressions(principal.tenant_id, rule_id)
    return answers.collection(request, "DetectionRuleSuppressions", [suppression(item) for item in found])


@router.post(f"{PATH}/{{rule_id}}/suppressions", summary="Suppress hits of a detection rule")
def suppress(
    rule_id: str, request: Request, principal: Writer, body: Annotated[Body, Depends(SUPPRESSION)]
) -> Response:
    """Raise no alert where ``column`` has ``value``: on one device, in one group, of one product if given."""
    expires = body.get("expires")
    try:
        until = parse(expires) if expires else None
    except ValueError:
        raise bad_request("expires is not a date and time.", "InvalidInput") from None
    made = services_of(request).rules.suppress(
        principal,
        rule_id,
        body["column"],
        body["value"],
        body["reason"],
        device=body.get("device"),
        device_group=body.get("deviceGroup"),
        product=body.get("product"),
        expires=until,
    )
    return answers.entity(request, "DetectionRuleSuppressions", suppression(made))


@router.delete(f"{PATH}/{{rule_id}}/suppressions/{{number}}", summary="End a suppression", status_code=204)
def unsuppress(rule_id: str, number: int, request: Request, principal: Writer) -> Response:
    services_of(request).rules.unsuppress(principal, rule_id, number)
    return answers.nothing()


def read_decision(body: Body) -> Decision:
    """What a body decides; ApiError 400 names what is wrong."""
    enabled: Any = body.get("enabled", ...)
    if enabled is not ... and not isinstance(enabled, bool):
        raise invalid_body("enabled must be true or false.")
    groups: Any = body.get("deviceGroups", ...)
    listed = isinstance(groups, list) and all(isinstance(name, str) for name in groups)
    if groups is not ... and groups is not None and not listed:
        raise invalid_body("deviceGroups must be a list of strings.")
    severity: Any = body.get("severity", ...)
    if severity is not ... and severity is not None and not isinstance(severity, str):
        raise invalid_body("severity must be a string.")
    actions: Any = body.get("actions", ...)
    read: Any = actions if actions is ... else read_actions(actions or [])
    wanted = severity.capitalize() if isinstance(severity, str) else severity
    return Decision(enabled=enabled, severity=wanted, device_groups=groups, actions=read)


def rule(known: KnownRule) -> Entity:
    found, tuning = known.rule, known.tuning
    return {
        "id": found.id,
        "name": found.name,
        "source": found.source,
        "enabled": known.enabled,
        "severity": known.severity,
        "title": found.title,
        "description": found.description,
        "category": found.category,
        "techniques": list(found.techniques),
        "recommendedAction": found.recommended_action or None,
        "period": found.period,
        "lookback": found.lookback,
        "entities": dict(found.entities),
        "details": dict(found.details),
        "deviceGroups": tuning.device_groups if tuning else None,
        "actions": tuning.actions if tuning else [],
        "query": found.query,
        "origin": found.origin or None,
        "modifiedBy": known.stored.modified_by if known.stored else None,
        "modifiedTime": time_text(known.stored.modified_time) if known.stored else None,
        "nextRunTime": time_text(known.cursor.due if known.cursor else None),
        "lastRun": last_run(known.last_run) if known.last_run else None,
    }


def suppression(row: RuleSuppression) -> Entity:
    return {
        "id": row.id,
        "column": row.column,
        "value": row.value,
        "device": row.device,
        "deviceGroup": row.device_group,
        "product": row.product,
        "reason": row.reason,
        "expires": time_text(row.expires_time),
        "createdBy": row.created_by,
        "createdTime": time_text(row.created_time),
        "hits": row.hits,
    }


def _run(item: RuleRun) -> Entity:
    return {"started": time_text(item.started), **run_details(item), "error": item.error}
