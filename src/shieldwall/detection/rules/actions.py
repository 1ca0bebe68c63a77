"""What a rule asks to be done on a hit, as data; carrying it out is for parts that know devices and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shieldwall.errors import bad_request

DEVICE_ACTIONS = ("Isolate", "CollectPackage", "Scan", "Investigate", "Restrict")
FILE_ACTIONS = ("BlockFile", "AllowFile", "StopAndQuarantine")
KINDS = (*DEVICE_ACTIONS, *FILE_ACTIONS)
ISOLATION_TYPES = ("Full", "Selective")
FILE_COLUMNS = ("SHA1", "SHA256", "InitiatingProcessSHA1", "InitiatingProcessSHA256")
MOST = 20


@dataclass(frozen=True)
class ResponseAction:
    """One action. ``column`` is the result column with the device's id, or the file's hash."""

    kind: str
    column: str
    isolation: str = "Full"
    device_groups: tuple[str, ...] = ()
    """Of a file that is blocked or allowed: where; empty means on all devices."""

    @property
    def on_file(self) -> bool:
        return self.kind in FILE_ACTIONS

    def written(self) -> dict[str, Any]:
        """As it is kept: only what differs from the default."""
        kept: dict[str, Any] = {"kind": self.kind, "column": self.column}
        if self.kind == "Isolate" and self.isolation != "Full":
            kept["isolation"] = self.isolation
        if self.device_groups:
            kept["device_groups"] = list(self.device_groups)
        return kept


def read_actions(items: Sequence[Any]) -> tuple[ResponseAction, ...]:
    """Actions as `written` gives them. ApiError 400 says which one is wrong, and how."""
    if not isinstance(items, list | tuple) or len(items) > MOST:
        raise bad_request(f"actions must be a list of at most {MOST}.", "InvalidInput")
    return tuple(dict.fromkeys(_read(item, f"actions[{number}]") for number, item in enumerate(items)))


def _read(item: Any, where: str) -> ResponseAction:
    if isinstance(item, str):
        item = {"kind": item}
    if not isinstance(item, Mapping):
        raise bad_request(f"{where} must be the name of an action or an object.", "InvalidInput")
    if unknown := set(item) - {"kind", "column", "isolation", "device_groups"}:
        raise bad_request(f"{where} has no property {str(min(unknown, key=str))[:60]!r}.", "InvalidInput")
    kind = _one_of(f"{where}.kind", item.get("kind"), KINDS)
    on_file = kind in FILE_ACTIONS
    columns: tuple[str, ...] = FILE_COLUMNS if on_file else ("DeviceId",)
    if kind == "StopAndQuarantine":
        # The agent finds the running file by this hash.
        columns = tuple(name for name in columns if name.endswith("SHA1"))
    column = _one_of(f"{where}.column", item.get("column") or columns[0], columns)
    isolation = _one_of(f"{where}.isolation", item.get("isolation") or "Full", ISOLATION_TYPES)
    groups = item.get("device_groups") or []
    if not isinstance(groups, list | tuple) or not all(isinstance(name, str) for name in groups):
        raise bad_request(f"{where}.device_groups must be a list of names.", "InvalidInput")
    if groups and kind not in ("BlockFile", "AllowFile"):
        raise bad_request(f"{where}.device_groups is for BlockFile and AllowFile only.", "InvalidInput")
    return ResponseAction(kind, column, isolation, tuple(groups))


def _one_of(where: str, value: Any, allowed: Sequence[str]) -> str:
    for choice in allowed:
        if isinstance(value, str) and choice.lower() == value.lower():
            return choice
    raise bad_request(f"{where} must be one of {', '.join(allowed)}.", "InvalidInput")
