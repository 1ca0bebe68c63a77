"""Whose indicators a caller may see and change: with Ti.ReadWrite alone only its own."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from shieldwall.detection.models import Indicator
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal

OWN = "Ti.ReadWrite"
ALL = "Ti.ReadWrite.All"


def within_reach(actor: Principal) -> list[ColumnElement[bool]]:
    """What a query for the caller's indicators adds; others do not exist for it."""
    return [] if actor.may(ALL) else [Indicator.created_by == actor.actor]


def check_change(actor: Principal, indicator: Indicator) -> None:
    """ApiError 403 when another application has put the indicator on the list."""
    if not actor.may(ALL) and indicator.created_by != actor.actor:
        raise ApiError(403, "Forbidden", f"Another application's indicator can be changed with {ALL} only.")


def check_groups(actor: Principal, groups: Sequence[str]) -> None:
    """ApiError 403 when an indicator is for devices beyond the caller's; no group means all devices."""
    reach = actor.reach((OWN,))
    if reach is not None and not (groups and set(groups) <= reach.names):
        raise ApiError(403, "Forbidden", "The indicator is for devices outside the user's device groups.")
