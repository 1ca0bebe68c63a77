"""Live response: what clients ask for, checked and made into what the agent is told, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shieldwall.errors import ApiError, bad_request
from shieldwall.times import parse, to_text

COMMANDS_LIMIT = 50
VALUE_LIMIT = 4000
TYPES = ("PutFile", "RunScript", "GetFile")
KEYS = {"PutFile": ("FileName",), "RunScript": ("ScriptName", "Args"), "GetFile": ("Path",)}
_OPTIONAL = {"Args"}
_FILE_KEYS = {"PutFile": "FileName", "RunScript": "ScriptName"}
SCRIPT_SECONDS = 600
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Found = Mapping[str, Any]
"""A file of the library as the agent is told it: ``name``, ``sha256``, ``size``."""


def plan(given: Any, library: Callable[[str], Found | None]) -> list[dict[str, Any]]:
    """Each command as the API shows it (``command``) and as the agent is told it (``message``).

    They are run in the order given: the documentation asks for the order of ``TYPES``, and a sample of it
    keeps another. ``library`` finds a file by its name. ApiError 400 for what is malformed, 404 for a file
    that the library does not have.
    """
    if not isinstance(given, list) or not given:
        raise bad_request("Commands must be a list with at least one command.", "InvalidRequestBody")
    if len(given) > COMMANDS_LIMIT:
        raise bad_request(f"At most {COMMANDS_LIMIT} commands are allowed.", "InvalidInput")
    return [_step(command, library) for command in given]


def followed(commands: Sequence[Mapping[str, Any]], told: Any) -> list[dict[str, Any]]:
    """The commands of an action after what the agent tells of some of them."""
    known = {item.get("index"): item for item in told if isinstance(item, dict)} if _is_list(told) else {}
    return [_after(command, known.get(command["index"], {})) for command in commands]


def _after(command: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    status = told.get("status")
    error = str(told.get("error") or "")[:VALUE_LIMIT]
    return {
        **command,
        "startTime": _time(told.get("started")) or command["startTime"],
        "endTime": _time(told.get("ended")) or command["endTime"],
        "commandStatus": status if status in ("Completed", "Failed") else command["commandStatus"],
        "errors": [error] if error else command["errors"],
    }


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= COMMANDS_LIMIT


def _time(value: Any) -> str | None:
    try:
        return to_text(parse(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _step(given: Any, library: Callable[[str], Found | None]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise bad_request("A command must be an object.", "InvalidRequestBody")
    command = {str(key).lower(): value for key, value in given.items()}
    kind = next((name for name in TYPES if name.lower() == str(command.get("type", "")).lower()), None)
    if kind is None:
        raise bad_request(f"The type of a command must be one of {', '.join(TYPES)}.", "InvalidInput")
    values = _values(kind, command.get("params"))
    message: dict[str, Any] = {"type": kind}
    if name := values.get(_FILE_KEYS.get(kind, "")):
        found = library(name)
        if found is None:
            raise ApiError(404, "ResourceNotFound", f"Library file {name[:100]} was not found")
        message["file"] = dict(found)
    if kind == "RunScript":
        message |= {"args": values.get("Args", ""), "seconds": SCRIPT_SECONDS}
    if kind == "GetFile":
        message["path"] = values["Path"]
    params = [{"key": key, "value": value} for key, value in values.items()]
    return {"command": {"type": kind, "params": params}, "message": message}


def _values(kind: str, params: Any) -> dict[str, str]:
    """The parameters of a command by their documented names; names that it does not have are refused."""
    if not isinstance(params, list) or len(params) > len(KEYS[kind]):
        raise bad_request(f"params of {kind} must be a list of {', '.join(KEYS[kind])}.", "InvalidInput")
    values: dict[str, str] = {}
    for given in params:
        item = {str(key).lower(): value for key, value in given.items()} if isinstance(given, dict) else {}
        key = next((name for name in KEYS[kind] if name.lower() == str(item.get("key", "")).lower()), None)
        value = item.get("value")
        if key is None or not isinstance(value, str):
            raise bad_request(f"params of {kind} must be {', '.join(KEYS[kind])}, as texts.", "InvalidInput")
        if len(value) > VALUE_LIMIT or _UNSAFE.search(value):
            raise bad_request(f"{key} is too long or has control characters.", "InvalidInput")
        values[key] = value
    for key in KEYS[kind]:
        if not values.get(key, "").strip() and key not in _OPTIONAL:
            raise ApiError(400, "MissingRequiredParameter", f"Parameter {key} is missing.")
    return values
