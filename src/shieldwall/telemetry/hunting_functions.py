"""What hunting has beside tables: FileProfile and its like, and tables that were replaced, all in KQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.parser import parse
from shieldwall.kql.relation import Relation
from shieldwall.kql.scope import Binding, Environment, unknown
from shieldwall.kql.syntax import Call, Expr, Literal, Name, Named
from shieldwall.kql.values import Value, constant

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


def _text(name: str) -> str:
    return (Path(__file__).parent / "functions" / f"{name}.kql").read_text()


VIEWS = {name: _text(name) for name in ("DeviceAlertEvents", "DeviceTvmSoftwareInventoryVulnerabilities")}
"""Tables that are no longer there, as queries over those that replaced them."""

_SEEN = _text("file_facts")

_FILE_PROFILE = _text("file_profile")

PROFILE_ROWS = 100
MOST_PROFILE_ROWS = 1000
_HASHES = {"sha1": 40, "sha256": 64}


def file_profile(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``T | invoke FileProfile(column, rows)``: what this tenant's fleet knows of files, beside each row."""
    if piped is None:
        raise KqlError("FileProfile() stands behind invoke.", node.at)
    column = _column(node, 0, "SHA1")
    names = {item.name for item in piped.columns}
    if column not in names:
        raise unknown("column", column, names, node.at)
    rows = PROFILE_ROWS
    if len(node.args) > 1:
        rows = Binder(compiler, env).constant(_plain(node.args[1]), "long")
    hashed = "SHA256" if column.upper().endswith("SHA256") else "SHA1"

    def kept(name: str, found: str) -> str:
        """The row's own value where it has the column, unless that is what is looked up."""
        return f"iff(isnotempty({name}), {name}, {found})" if name in names else found

    seen = _SEEN.format(
        hash=hashed,
        where=f"isnotempty({hashed}) and tolower({hashed}) in (wanted)",
        initiating=f"isnotempty(Initiating{hashed}) and tolower(Initiating{hashed}) in (wanted)".replace(
            "Initiating", "InitiatingProcess"
        ),
    )
    own_size = "FileSize" in names
    text = _FILE_PROFILE.format(
        column=f"['{column}']",
        rows=max(1, min(rows, MOST_PROFILE_ROWS)),
        seen=seen,
        sha1=kept("SHA1", "P_SHA1"),
        sha256=kept("SHA256", "P_SHA256"),
        md5=kept("MD5", "P_MD5"),
        size="toint(coalesce(FileSize, P_FileSize))" if own_size else "toint(P_FileSize)",
    )
    return _run(compiler, text, {"T": compiler.share(piped)}, node)


_ASSIGNED = _text("assigned_addresses")


def assigned_addresses(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``AssignedIPAddresses(device, moment)``: the newest addresses of a device before a moment."""
    binder = Binder(compiler, env)
    names: dict[str, Binding | Value | Relation] = {"device": _argument(binder, node, 0, "")}
    names["moment"] = binder.bind(_plain(node.args[1])) if len(node.args) > 1 else _now(binder, node)
    return _run(compiler, _ASSIGNED, names, node)


_DEVICE_FROM_ADDRESS = _text("device_from_address")


def device_from_address(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``T | invoke DeviceFromIP(moment)``: the device that last had each address in the column IP."""
    if piped is None or not any(column.name == "IP" for column in piped.columns):
        raise KqlError("DeviceFromIP() needs a table with a column named IP.", node.at)
    binder = Binder(compiler, env)
    moment = binder.bind(_plain(node.args[0])) if node.args else _now(binder, node)
    return _run(compiler, _DEVICE_FROM_ADDRESS, {"T": piped, "moment": moment}, node)


_SEEN_BY = _text("seen_by")


def seen_by(compiler: Compiler, piped: Relation | None, node: Call, env: Environment) -> Relation:
    """``T | invoke SeenBy()``: the onboarded devices that saw the devices of T."""
    if piped is None or not any(column.name == "DeviceId" for column in piped.columns):
        raise KqlError("SeenBy() needs a table with a column named DeviceId.", node.at)
    return _run(compiler, _SEEN_BY, {"T": piped}, node)


def _run(compiler: Compiler, text: str, names: dict[str, Binding | Value | Relation], node: Call) -> Relation:
    """The relation of one of our own texts."""
    compiler.mentions.update(("wanted", "wanted"))
    try:
        relation = compiler.statements(parse(text), Environment(None, names), {})
    except KqlError as error:
        raise KqlError(f"{node.name}(): {error.message}", node.at, error.code) from None
    assert relation is not None
    return relation


def _plain(node: Expr) -> Expr:
    return node.value if isinstance(node, Named) else node


def _column(node: Call, place: int, default: str) -> str:
    """A column's name, given bare or as text."""
    if len(node.args) <= place:
        return default
    given = _plain(node.args[place])
    if isinstance(given, Name):
        return given.name
    if isinstance(given, Literal) and isinstance(given.value, str) and "'" not in given.value:
        return given.value
    raise KqlError(f"{node.name}(): a column's name is expected here.", given.at)


def _argument(binder: Binder, node: Call, place: int, default: str) -> Value:
    return binder.bind(_plain(node.args[place])) if len(node.args) > place else constant("string", default)


def _now(binder: Binder, node: Call) -> Value:
    return binder.bind(Call(node.at, "now", []))


Function = Callable[..., Relation]

FUNCTIONS: dict[str, Function] = {
    "FileProfile": file_profile,
    "AssignedIPAddresses": assigned_addresses,
    "AssignedIPAddress": assigned_addresses,
    "DeviceFromIP": device_from_address,
    "SeenBy": seen_by,
}
