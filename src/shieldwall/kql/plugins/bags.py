"""bag_unpack: members of a bag as columns."""

from __future__ import annotations

from shieldwall.kql import sql
from shieldwall.kql.plugins.registry import Use, plugin
from shieldwall.kql.relation import Column, Relation, over
from shieldwall.kql.values import Value, convert, member, to_dynamic

PAIR = "$pair"
MOST_COLUMNS = 1000
_KIND = """multiIf(
    {raw} = 'null', '',
    match({raw}, '^"[0-9]{{4}}(-[0-9]{{2}}){{2}}T[0-9]{{2}}(:[0-9]{{2}}){{2}}[.][0-9]{{7}}Z"$'), 'datetime',
    startsWith({raw}, '"'), 'string',
    startsWith({raw}, '{{') OR startsWith({raw}, '['), 'dynamic',
    {raw} IN ('true', 'false'), 'bool',
    match({raw}, '^-?\\\\d{{1,18}}$'), 'long',
    'real')"""
"""The type of a member by its JSON. A moment that a query packed has seven digits after the second."""


@plugin("bag_unpack(column, prefix?, columnsConflict?, ignoredProperties?)")
def bag_unpack(use: Use) -> Relation:
    """The members as columns, with the type that all values of a member have; dynamic where these differ.

    Their names depend on the rows, unless the query declares them.
    """
    value = to_dynamic(use.bind(use.args["column"]))
    prefix = use.constant("prefix", "", ["string"])
    conflict = use.constant("columnsConflict", "error", ["string"])
    ignored = use.constant("ignoredProperties", [], ["dynamic"]) or []
    if conflict not in ("error", "replace_source", "keep_source"):
        raise use.error(f"'{conflict}' is not a way to solve conflicts of columns.")
    others = [column for column in use.relation.columns if column not in value.deps or not value.is_column]
    declared = use.declared()
    if declared is not None:
        return _declared(use, value, others, declared, prefix)
    select = over(use.relation)
    outer = dict(zip(use.relation.columns, select.columns, strict=True))
    shown = [outer[column] for column in others]
    for key, kind in _members(use, value):
        if key in ignored:
            continue
        name = f"{prefix}{key}"
        place = next((place for place, column in enumerate(shown) if column.name == name), None)
        if place is not None and conflict == "keep_source":
            continue
        if place is not None and conflict == "error":
            raise use.error(f"the bag has a member for the column '{name}', which is there already.")
        unpacked = _unpacked(value, key, kind, name)
        if place is None:
            shown.append(unpacked)
        else:
            # What is replaced stands where the members do.
            del shown[place]
            shown.append(unpacked)
    select.columns = shown
    return select


def _declared(
    use: Use, value: Value, others: list[Column], declared: list[tuple[str, str]], prefix: str
) -> Relation:
    """Just the declared columns, of the input or else of the bag."""
    select = over(use.relation)
    outer = dict(zip(use.relation.columns, select.columns, strict=True))
    own = {column.name: outer[column] for column in others}
    shown: list[Column] = []
    keep = use.constant("columnsConflict", "error") == "keep_source"
    named = {name for name, _ in declared}
    for name, kind in declared:
        if name == "*" and not kind:
            shown += [column for column in own.values() if column.name not in named]
        elif (column := own.get(name)) is not None and (keep or not prefix):
            held = convert(Value(column.type, column.sql, column.deps), kind)
            shown.append(Column(name, kind, held.sql, held.deps))
        else:
            shown.append(_unpacked(value, name.removeprefix(prefix), kind, name))
    select.columns = shown
    return select


def _unpacked(value: Value, key: str, kind: str, name: str) -> Column:
    found = convert(member(value, sql.quote(key)), kind)
    return Column(name, kind, found.sql, found.deps)


def _members(use: Use, value: Value) -> list[tuple[str, str]]:
    """Names of members with their types, in the order of names."""
    bags = over(use.relation)
    bag = Column("$bag", "dynamic", value.sql, value.deps)
    bags.columns, bags.order = [bag], []
    pairs = over(bags)
    deps = frozenset((bag,))
    pairs.arrays = [Column(PAIR, "dynamic", f"JSONExtractKeysAndValuesRaw({pairs.columns[0].sql})", deps)]
    raw = f"tupleElement({sql.name(PAIR)}, 2)"
    pairs.columns = [
        Column("key", "string", f"tupleElement({sql.name(PAIR)}, 1)", deps),
        Column("kind", "string", _KIND.format(raw=raw), deps),
    ]
    pairs.distinct = True
    frame = use.compiler.fetch(pairs)
    kinds: dict[str, set[str]] = {}
    for key, kind in frame.rows if frame is not None else ():
        kinds.setdefault(key, set()).add(kind)
    if not kinds:
        use.compiler.open = True
    if len(kinds) > MOST_COLUMNS:
        raise use.error(f"the bags have more than {MOST_COLUMNS} members; declare those that you need.")
    return [(key, _common(kinds[key] - {""})) for key in sorted(kinds)]


def _common(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {"long", "real"}:
        return "real"
    return "string" if kinds == {"string", "datetime"} else "dynamic"
