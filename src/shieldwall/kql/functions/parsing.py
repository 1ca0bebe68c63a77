"""Strings with parts that have names: paths, versions, records of CSV, command lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce, text_constant
from shieldwall.kql.functions.shapes import bag, held_text, strings
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_SCHEME = r"^(?:([a-zA-Z][a-zA-Z0-9+.-]+)://)?"
_LONG = r"(?:[\\/]{2}[?.][\\/])?"
_BODY = rf"{_SCHEME}({_LONG}(?:[a-zA-Z]:)?[^:]*)"
_FOLDER = rf"{_SCHEME}({_LONG}(?:[a-zA-Z]:)?[^:]*)[\\/]"
_PATH_PARTS = {
    "Scheme": (_SCHEME, 1),
    "RootPath": (rf"{_SCHEME}{_LONG}([a-zA-Z]:)", 2),
    "DirectoryPath": (_FOLDER, 2),
    "DirectoryName": (
        rf"{_SCHEME}{_LONG}(?:[a-zA-Z]:)?(?:[^:]*[\\/])?([^\\/:]*)[\\/][^\\/:]*(?::[^\\/:]*)?$",
        2,
    ),
    "Filename": (rf"{_SCHEME}{_LONG}(?:[a-zA-Z]:)?(?:[^:]*[\\/])?([^\\/:]*)", 2),
    "Extension": (rf"{_SCHEME}{_LONG}(?:[a-zA-Z]:)?(?:[^:]*[\\/])?[^\\/:]*\.([^\\/:.]*)", 2),
    "AlternateDataStreamName": (rf"{_BODY}:([^\\/]*)$", 3),
}


@coded("parse_path")
def parse_path(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of the parts of a file's path, with slashes of either kind."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    return bag(
        {
            name: held_text(f"regexpExtract({text.sql}, {sql.quote(f'(?s){pattern}')}, {group})", text)
            for name, (pattern, group) in _PATH_PARTS.items()
        }
    )


@coded("parse_version")
def parse_version(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A number that versions of up to four parts of up to eight digits compare by; null for others."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    parts = f"splitByChar('.', {text.sql})"
    digits = f"arrayStringConcat(arrayMap(p -> leftPad(p, 8, '0'), arrayResize({parts}, 4, '0')))"
    valid = f"match({text.sql}, '^[0-9]{{1,8}}(?:[.][0-9]{{1,8}}){{0,3}}$')"
    return made("decimal", f"toDecimal256OrNull(if({valid}, {digits}, ''), 17)", text)


@coded("parse_csv")
def parse_csv(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The fields of the first record of CSV text."""
    value = bound(binder, call, 1)[0]
    text = coerce(value, "string", call, 0)
    record = f"extract({text.sql}, {sql.quote(_RECORD)})"
    plain = "replaceAll(substring(f, 2, length(f) - 2), '\"\"', '\"')"
    field = f"if(startsWith(f, '\"') AND endsWith(f, '\"') AND length(f) > 1, {plain}, f)"
    # Each field has its comma in front, so that none is empty to the search.
    fields = f"extractAll(concat(',', {record}), {sql.quote(_FIELD)})"
    found = strings(f"arrayMap(f -> {field}, arrayMap(f -> substring(f, 2), {fields}))", text)
    found.name = value.name
    return found


_RECORD = r'^((?:"(?:[^"]|"")*"|[^"\r\n])*)'
_FIELD = r'(,(?:"(?:[^"]|"")*"|[^,])*)'

_ESCAPED = r'(?:\\\\)*\\"'
_QUOTED = rf'(?:\\\\)*"(?:[^"\\]|{_ESCAPED}|\\+[^"\\])*(?:(?:\\\\)*"|\\*$)'
_ARGUMENT = rf'((?:[^ \t"\\]|{_ESCAPED}|{_QUOTED}|\\+)+)'
_UNIT = r'(?s)(\\*"|\\+|[^"\\]+)'


@coded("parse_command_line")
def parse_command_line(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The arguments of a command line by the rules of Windows; the first one is the program."""
    values = bound(binder, call, 2)
    if text_constant(values[1], call, "the parser").lower() != "windows":
        raise KqlError('parse_command_line(): the parser must be "windows".', call.at, "SEM0240")
    text = coerce(values[0], "string", call, 0)
    line = f"trimLeft({text.sql})"
    program = rf"regexpExtract({line}, '(?s)^(?:\"([^\"]*)\"?|([^ \\t]*))', {{group}})"
    first = f"concat({program.format(group=1)}, {program.format(group=2)})"
    rest = rf"replaceRegexpOne({line}, '(?s)^(?:\"[^\"]*\"?|[^ \\t]*)', '')"
    # A backslash escapes just quotes and, in front of one, itself.
    count = "length(u) - 1"
    quote = f"concat(repeat('\\\\', intDiv({count}, 2)), if(({count}) % 2 = 1, '\"', ''))"
    unit = f"if(endsWith(u, '\"'), {quote}, u)"
    units = f"extractAll(a, {sql.quote(_UNIT)})"
    argument = f"arrayStringConcat(arrayMap(u -> {unit}, {units}))"
    quoted = f"arrayMap(a -> {argument}, extractAll({rest}, {sql.quote('(?s)' + _ARGUMENT)}))"
    plain = f"extractAll({rest}, '[^ \\t]+')"
    others = f"if(position({rest}, '\"') = 0, {plain}, {quoted})"
    return strings(f"arrayConcat([{first}], {others})", text, null=f"{line} = ''")
