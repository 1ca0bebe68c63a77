"""A rule as JSON, such as one program hands to another, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from shieldwall.detection.rules.actions import read_actions
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.rule import CONTINUOUS, Rule, Source
from shieldwall.errors import ApiError

SOURCES = tuple(name for name in get_args(Source) if name != "BuiltIn")

_TEXTS = ("id", "name", "query", "title", "severity", "category", "description", "origin")


def written(rule: Rule, decision: Decision) -> dict[str, Any]:
    """A rule with what comes with it, as `read_rule` reads it."""
    body: dict[str, Any] = {name: getattr(rule, name) for name in _TEXTS}
    body |= {
        "recommendedAction": rule.recommended_action,
        "techniques": list(rule.techniques),
        "period": rule.period,
        "lookback": rule.lookback,
        "entities": dict(rule.entities),
        "details": dict(rule.details),
        "source": rule.source,
    }
    if decision.enabled is not ...:
        body["enabled"] = decision.enabled
    if decision.device_groups is not ...:
        body["deviceGroups"] = decision.device_groups
    if decision.actions is not ...:
        body["actions"] = [action.written() for action in decision.actions]
    return body


def read_rule(body: Any) -> tuple[Rule, Decision]:
    """The rule, not yet checked, and what comes with it. ValueError names what has the wrong type."""
    if not isinstance(body, Mapping):
        raise ValueError("a rule must be an object")
    texts = {name: _text(body, name) for name in _TEXTS}
    for name in ("id", "name", "query"):
        if not texts[name]:
            raise ValueError(f"{name} is missing")
    techniques = body.get("techniques") or []
    if not isinstance(techniques, list) or not all(isinstance(item, str) for item in techniques):
        raise ValueError("techniques must be a list of texts")
    source = _text(body, "source") or "Custom"
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}")
    rule = Rule(
        id=texts["id"],
        name=texts["name"],
        query=texts["query"],
        title=texts["title"] or texts["name"],
        severity=(texts["severity"] or "Medium").capitalize(),  # type: ignore[arg-type]
        category=texts["category"] or "SuspiciousActivity",
        techniques=tuple(techniques),
        description=texts["description"],
        recommended_action=_text(body, "recommendedAction"),
        period=_minutes(body, "period") or CONTINUOUS,
        lookback=_minutes(body, "lookback"),
        entities=_pairs(body, "entities"),
        details=_pairs(body, "details"),
        source=source,  # type: ignore[arg-type]
        origin=texts["origin"],
    )
    return rule, _decision(body)


def _decision(body: Mapping[str, Any]) -> Decision:
    enabled = body.get("enabled", ...)
    if enabled is not ... and not isinstance(enabled, bool):
        raise ValueError("enabled must be true or false")
    groups = body.get("deviceGroups", ...)
    listed = isinstance(groups, list) and all(isinstance(item, str) for item in groups)
    if groups is not ... and groups is not None and not listed:
        raise ValueError("deviceGroups must be a list of texts")
    actions: Any = ...
    if "actions" in body:
        try:
            actions = read_actions(body["actions"] or [])
        except ApiError as error:
            raise ValueError(error.message) from None
    return Decision(enabled=enabled, device_groups=groups, actions=actions)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text")
    return value


def _minutes(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{name} must be a number of minutes")
    return value


def _pairs(body: Mapping[str, Any], name: str) -> dict[str, str]:
    value = body.get(name) or {}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError(f"{name} must be an object of texts")
    return dict(value)
