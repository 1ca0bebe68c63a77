"""What a tenant's query may be made of: one SELECT over hunting tables, told by ClickHouse's own parser.

The tenant's filter and the read-only mode that the store adds hold for hunting tables. Everything else that a
SELECT can reach (other tables, files, addresses, dictionaries, a second statement after a semicolon) is
refused here, and so is whatever this module does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shieldwall.errors import bad_request
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import TABLES

NODES = frozenset(
    (
        "SelectWithUnionQuery",
        "SelectQuery",
        "SelectIntersectExceptQuery",
        "ExpressionList",
        "Subquery",
        "WithElement",
        "TablesInSelectQuery",
        "TablesInSelectQueryElement",
        "TableExpression",
        "TableJoin",
        "ArrayJoin",
        "TableIdentifier",
        "Function",
        "Identifier",
        "Literal",
        "Asterisk",
        "QualifiedAsterisk",
        "OrderByElement",
        "WindowDefinition",
        "WindowListElement",
        "QueryParameter",
        "ColumnsExceptTransformer",
        "ColumnsReplaceTransformer",
        "ColumnsReplaceTransformerReplacement",
        "ColumnsTransformerList",
        "InterpolateElement",
        "StorageOrderByElement",
        "CollateClause",
    )
)
TABLE_FUNCTIONS = frozenset(("numbers", "values"))

_REFUSED_FUNCTIONS = re.compile(
    r"file|dict\w*|joinGet\w*|get(Setting|Server|Macro|MergeTree|Client|OSKernel|MaxTable)\w*|sleep\w*|"
    r"ai(Classify|Embed|Extract|Filter|Generate|Redact|Similarity|Translate)|evalMLMethod|catboost\w*|"
    r"filesystem\w*|(fullH|h)ostName|serverUUID|tcpPort|address\w+|mergeTree\w*|__\w+",
    re.IGNORECASE,
)
_IN = re.compile(r"(global)?(not)?(null)?in(ignoreset)?", re.IGNORECASE)
_CTE = re.compile(r"(?!stage_)_?[a-z]\w*")
"""Names that a WITH may give. The server's own tables have others: they begin with a capital or `stage_`."""


def check(tree: Mapping[str, Any]) -> None:
    """Raise ApiError 400 unless the parsed statement only selects from hunting tables."""
    if tree.get("type") != "SelectWithUnionQuery":
        raise _refused("Only a SELECT is allowed")
    nodes = list(_walk(tree))
    named = {str(node.get("name")) for node in nodes if node["type"] == "WithElement"}
    for name in named:
        if not _CTE.fullmatch(name):
            raise _refused(f"WITH cannot define {name[:64]!r}")
    for node in nodes:
        _check_node(node, named)


def _check_node(node: Mapping[str, Any], named: set[str]) -> None:
    kind = node["type"]
    if kind not in NODES:
        raise _refused(f"{kind[:64]} is not allowed")
    if kind == "SelectWithUnionQuery" and node.keys() & {"out_file", "format_ast", "settings_ast"}:
        raise _refused("INTO OUTFILE, FORMAT and SETTINGS are not allowed")
    if kind == "QueryParameter" and str(node.get("param_type", "")).strip().lower() == "identifier":
        raise _refused("Names cannot be parameters")
    if kind == "TableIdentifier":
        _check_table(node, named)
    if kind == "TableExpression" and (function := node.get("table_function")):
        if function.get("name") not in TABLE_FUNCTIONS:
            raise _refused(f"Table function {str(function.get('name'))[:64]} is not allowed")
    elif kind == "Function":
        name = str(node.get("name"))
        if _REFUSED_FUNCTIONS.fullmatch(name):
            raise _refused(f"Function {name[:64]} is not allowed")
        if _IN.fullmatch(name):
            arguments = (node.get("arguments") or {}).get("children") or []
            if arguments and arguments[-1].get("type") == "Identifier":
                _check_table(arguments[-1], named)


def _check_table(node: Mapping[str, Any], named: set[str]) -> None:
    """A hunting table, with or without its database, or what a WITH of the statement defines."""
    parts = node.get("name_parts") or [node.get("name")]
    known = parts[-1] in TABLES and parts[:-1] in ([], [DATABASE])
    if not known and not (len(parts) == 1 and parts[0] in named):
        raise _refused(f"There is no table {'.'.join(map(str, parts))[:128]!r}")


def _walk(value: object) -> Iterator[Mapping[str, Any]]:
    """Every node of the tree; a literal's value is no node."""
    if isinstance(value, Mapping):
        if "type" in value:
            yield value
        for name, part in value.items():
            if not (name == "value" and value.get("type") == "Literal"):
                yield from _walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part)


def _refused(message: str) -> Exception:
    return bad_request(f"{message} in a query.", "BadRequest")
