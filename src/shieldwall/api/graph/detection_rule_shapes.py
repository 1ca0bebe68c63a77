"""Detection rules as Graph writes them, and back. A change is read as the whole rule that it makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shieldwall.api.answers import Entity
from shieldwall.api.graph.words import small
from shieldwall.api.shapes import time_text
from shieldwall.detection.rules.actions import FILE_COLUMNS, ResponseAction, read_actions
from shieldwall.detection.rules.checking import DAY, HOUR, MINUTE, SEVERITIES
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.known import KnownRule
from shieldwall.detection.rules.models import RuleRun
from shieldwall.detection.rules.rule import CONTINUOUS, Rule
from shieldwall.errors import ApiError, bad_request, missing_parameter

_TYPE = "#microsoft.graph.security."
_ASSETS = {"Device": "impactedDeviceAsset", "User": "impactedUserAsset", "Mailbox": "impactedMailboxAsset"}
_ACTIONS = {
    "Isolate": "isolateDeviceResponseAction",
    "CollectPackage": "collectInvestigationPackageResponseAction",
    "Scan": "runAntivirusScanResponseAction",
    "Investigate": "initiateInvestigationResponseAction",
    "Restrict": "restrictAppExecutionResponseAction",
    "BlockFile": "blockFileResponseAction",
    "AllowFile": "allowFileResponseAction",
    "StopAndQuarantine": "stopAndQuarantineFileResponseAction",
}
UNGROUPED = "UnassignedGroup"
"""What Graph calls the devices of no group."""

_UNITS = (("D", DAY), ("H", HOUR), ("M", MINUTE))
_PERIOD = re.compile(r"(\d{1,5})([DHM])", re.IGNORECASE)


def detection_rule(known: KnownRule) -> Entity:
    rule, stored, tuning = known.rule, known.stored, known.tuning
    groups = tuning.device_groups if tuning else None
    actions = read_actions(tuning.actions) if tuning else ()
    return {
        "@odata.type": f"{_TYPE}detectionRule",
        "id": rule.id,
        "displayName": rule.name,
        "isEnabled": known.enabled,
        "createdBy": stored.created_by if stored else None,
        "createdDateTime": time_text(stored.created_time) if stored else None,
        "lastModifiedDateTime": time_text(stored.modified_time) if stored else None,
        "lastModifiedBy": stored.modified_by if stored else None,
        "detectorId": rule.id,
        "queryCondition": {
            "queryText": rule.query,
            "lastModifiedDateTime": time_text(stored.query_modified_time) if stored else None,
        },
        "schedule": {
            "period": period_text(rule.period),
            "lookbackPeriod": None if rule.lookback is None else period_text(rule.lookback),
            "nextRunDateTime": time_text(known.cursor.due if known.cursor else None),
        },
        "lastRunDetails": last_run(known.last_run),
        "detectionAction": {
            "alertTemplate": {
                "title": rule.title,
                "description": rule.description,
                "severity": small(known.severity),
                "category": rule.category,
                "recommendedActions": rule.recommended_action or None,
                "mitreTechniques": list(rule.techniques),
                "impactedAssets": [
                    {"@odata.type": f"{_TYPE}{_ASSETS[kind]}", "identifier": small(column)}
                    for kind, column in rule.entities.items()
                    if kind in _ASSETS
                ],
                "relatedEntities": {
                    kind: column for kind, column in rule.entities.items() if kind not in _ASSETS
                },
                "customDetails": dict(rule.details),
            },
            "organizationalScope": None
            if groups is None
            else {"scopeType": "deviceGroup", "scopeNames": [name or UNGROUPED for name in groups]},
            "responseActions": [_action(item) for item in actions],
        },
    }


def last_run(run: RuleRun | None) -> Entity:
    """What Graph tells of a run, and beside it what it looked at and what came of that."""
    return {
        "lastRunDateTime": time_text(run.started) if run else None,
        "status": None if run is None else "failed" if run.error else "completed",
        "failureReason": run.error if run else None,
        "errorCode": "queryExecutionFailed" if run and run.error else None,
        **({} if run is None else run_details(run)),
    }


def run_details(run: RuleRun) -> Entity:
    return {
        "kind": run.kind,
        "windowStart": time_text(run.window_start),
        "windowEnd": time_text(run.window_end),
        "seconds": round(run.seconds, 3),
        "rows": run.rows,
        "alerts": run.alerts,
        "repeated": run.repeated,
        "suppressed": run.suppressed,
        "overLimit": run.over_limit,
    }


def period_text(minutes: int) -> str:
    """Minutes as Graph writes them.

    >>> period_text(0), period_text(1440), period_text(720), period_text(90), period_text(20160)
    ('0', '24H', '12H', '90M', '14D')
    """
    if minutes == CONTINUOUS:
        return "0"
    if minutes == DAY:
        return "24H"
    return next(f"{minutes // size}{unit}" for unit, size in _UNITS if minutes % size == 0)


def read_period(name: str, value: Any) -> int:
    """Minutes of ``0``, ``1H``, ``24H``, ``30M``, ``7D``; also ISO 8601 durations such as ``PT30M``."""
    text = str(value).strip().upper().removeprefix("P").replace("T", "")
    if text == "0":
        return CONTINUOUS
    found = _PERIOD.fullmatch(text)
    if found is None or isinstance(value, bool):
        raise bad_request(f"{name} must be 0, or a time such as 30M, 12H or 7D.", "InvalidInput")
    return int(found[1]) * dict(_UNITS)[found[2].upper()]


def read(rule_id: str, body: Mapping[str, Any]) -> tuple[Rule, Decision]:
    """The rule that a body tells whole, and what it decides. ApiError 400 names what is wrong."""
    condition = _object(body, "queryCondition", "queryCondition")
    schedule = _object(body, "schedule", "schedule")
    action = _object(body, "detectionAction", "detectionAction")
    template = _object(action, "alertTemplate", "detectionAction.alertTemplate")
    for where, part, name in (("", body, "displayName"), ("queryCondition.", condition, "queryText")):
        if not part.get(name):
            raise missing_parameter(f"{where}{name}")
    name = _text(body, "displayName")
    lookback = schedule.get("lookbackPeriod")
    rule = Rule(
        id=rule_id,
        name=name,
        query=_text(condition, "queryText"),
        title=_text(template, "title") or name,
        severity=_severity(template),  # type: ignore[arg-type]
        category=_text(template, "category") or "SuspiciousActivity",
        techniques=tuple(_texts(template, "mitreTechniques")),
        description=_text(template, "description"),
        recommended_action=_text(template, "recommendedActions"),
        period=read_period("schedule.period", schedule.get("period", "24H")),
        lookback=None if lookback is None else read_period("schedule.lookbackPeriod", lookback),
        entities={**_assets(template), **_pairs(template, "relatedEntities")},
        details=_pairs(template, "customDetails"),
    )
    enabled = body.get("isEnabled", True)
    if not isinstance(enabled, bool):
        raise bad_request("isEnabled must be true or false.", "InvalidInput")
    return rule, Decision(
        enabled=enabled, severity=None, device_groups=_scope(action), actions=_actions(action)
    )


def merged(whole: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """An object with a change put into it: objects part by part, all else as the change has it."""
    found = dict(whole)
    for name, value in change.items():
        old = found.get(name)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        # What maps names to columns is given as a whole.
        plain = name in ("relatedEntities", "customDetails")
        found[name] = merged(old, value) if nested and not plain else value  # type: ignore[arg-type]
    return found


def _severity(template: Mapping[str, Any]) -> str:
    given = _text(template, "severity") or "medium"
    found = next((name for name in SEVERITIES if name.lower() == given.lower()), None)
    if found is None:
        raise bad_request(f"severity must be one of {', '.join(map(str.lower, SEVERITIES))}.", "InvalidInput")
    return found


def _assets(template: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    kinds = {word.lower(): kind for kind, word in _ASSETS.items()}
    for asset in _list(template, "impactedAssets"):
        word = str(asset.get("@odata.type", "")).rpartition(".")[2]
        kind, column = kinds.get(word.lower()), asset.get("identifier")
        if kind is None or not isinstance(column, str) or not column:
            raise bad_request(
                f"impactedAssets: each has an identifier and is one of {', '.join(_ASSETS.values())}.",
                "InvalidInput",
            )
        if kind in found:
            raise bad_request(f"impactedAssets: there is more than one {word}.", "InvalidInput")
        found[kind] = column[0].upper() + column[1:]
    return found


def _scope(action: Mapping[str, Any]) -> list[str] | None:
    scope = _object(action, "organizationalScope", "organizationalScope")
    if not scope:
        return None
    if str(scope.get("scopeType", "deviceGroup")).lower() != "devicegroup":
        raise bad_request("organizationalScope.scopeType must be deviceGroup.", "InvalidInput")
    return ["" if name == UNGROUPED else name for name in _texts(scope, "scopeNames")]


def _action(action: ResponseAction) -> Entity:
    written: Entity = {"@odata.type": f"{_TYPE}{_ACTIONS[action.kind]}", "identifier": _identifier(action)}
    if action.kind == "Isolate":
        written["isolationType"] = small(action.isolation)
    if action.kind in ("BlockFile", "AllowFile"):
        written["deviceGroupNames"] = list(action.device_groups)
    return written


def _identifier(action: ResponseAction) -> str | None:
    return action.column.lower() if action.column in ("SHA1", "SHA256") else small(action.column)


def _actions(action: Mapping[str, Any]) -> tuple[ResponseAction, ...]:
    kinds = {word.lower(): kind for kind, word in _ACTIONS.items()}
    columns = {name.lower(): name for name in ("DeviceId", *FILE_COLUMNS)}
    wanted = []
    for item in _list(action, "responseActions"):
        word = str(item.get("@odata.type", "")).rpartition(".")[2]
        kind = kinds.get(word.lower())
        if kind is None:
            listed = ", ".join(_ACTIONS.values())
            raise bad_request(f"responseActions: {word[:80]!r} is none of {listed}.", "InvalidInput")
        on_file = kind in ("BlockFile", "AllowFile")
        identifier = item.get("identifier")
        # Some clients name several in one text, the most exact last.
        first = str(identifier).split(",", maxsplit=1)[0].strip()
        wanted.append(
            {
                "kind": kind,
                **({"column": columns.get(first.lower(), first)} if identifier else {}),
                **({"isolation": item["isolationType"]} if item.get("isolationType") else {}),
                **({"device_groups": item["deviceGroupNames"]} if item.get("deviceGroupNames") else {}),
            }
        )
        if not on_file and "device_groups" in wanted[-1]:
            raise bad_request(f"responseActions: {word} has no deviceGroupNames.", "InvalidInput")
    return _renamed(wanted)


def _renamed(wanted: Sequence[Mapping[str, Any]]) -> tuple[ResponseAction, ...]:
    try:
        return read_actions(wanted)
    except ApiError as error:
        raise bad_request(error.message.replace("actions", "responseActions", 1), error.code) from None


def _object(of: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = of.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise bad_request(f"{where} must be an object.", "InvalidRequestBody")
    return value


def _text(of: Mapping[str, Any], name: str) -> str:
    value = of.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise bad_request(f"{name} must be a string.", "InvalidRequestBody")
    return value


def _texts(of: Mapping[str, Any], name: str) -> list[str]:
    value = of.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad_request(f"{name} must be a list of strings.", "InvalidRequestBody")
    return value


def _list(of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = of.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise bad_request(f"{name} must be a list of objects.", "InvalidRequestBody")
    return value


def _pairs(of: Mapping[str, Any], name: str) -> dict[str, str]:
    value = of.get(name) or {}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise bad_request(f"{name} must be an object of strings.", "InvalidRequestBody")
    return dict(value)
