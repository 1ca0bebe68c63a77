"""From raw lines to records, as SQL: what each says in the common columns, or why it is rejected."""

from __future__ import annotations

from shieldwall.devices.named import NAME
from shieldwall.sources.forms.every import FORMS
from shieldwall.sources.mapping import load_mappings
from shieldwall.sources.rows import candidate, kind_number
from shieldwall.telemetry.row_filters import literal
from shieldwall.telemetry.staging import Bounds

RECORD = (
    "batch UInt32, tenant LowCardinality(String), source LowCardinality(String), line_no UInt32, "
    "time DateTime64(7, 'UTC'), host LowCardinality(String), channel LowCardinality(String), "
    "event Nullable(Int64), provider LowCardinality(String), address String, inbound Bool, kind UInt16, "
    "report Int64, data String, rest String"
)
COLUMNS = ", ".join(
    part.split()[0] for part in RECORD.replace("DateTime64(7, 'UTC')", "DateTime64").split(", ")
)
"""A record's columns. ``report`` is a hash of the machine's name and the line: one record, one number."""

_EARLIEST = "toDateTime64('1971-01-01 00:00:00', 7, 'UTC')"
_REPORTS = 10**18
"""Report ids have 18 digits at most, as the documented ones do."""


def records(batches: str, name: str, bounds: Bounds) -> str:
    """The SELECT of a form's lines in ``batches``: the columns of a record, and the reason of its rejection.

    Of a rejected line, ``data`` is the line.
    """
    form = FORMS[name]
    channel, source = "told", literal(name)
    if known := _channels(name):
        lowered, spelled, sources = (
            f"[{', '.join(map(literal, texts))}]" for texts in zip(*known, strict=True)
        )
        channel = f"transform(lower(told), {lowered}, {spelled}, told)"
        source = f"transform(lower(told), {lowered}, {sources}, {source})"
    lines = (
        "SELECT batch, tenant, sensor, first + number AS line_no, line, "
        f"JSONExtract(line, {literal(f'Tuple({form.head})')}) AS h FROM {batches} "
        "ARRAY JOIN splitByChar('\\n', payload) AS line, "
        "arrayEnumerate(splitByChar('\\n', payload)) AS number "
        f"WHERE source = {literal(name)} AND line NOT IN ('', '\\r')"
    )
    if form.inner:
        text, elements = form.inner
        lines = f"SELECT *, JSONExtract({text}, {literal(f'Tuple({elements})')}) AS s FROM ({lines})"
    read = (
        f"SELECT batch, tenant, line_no, line, ({form.time}) AS moment, "
        f"toLowCardinality({form.host}) AS named, if(empty(named), toLowCardinality(sensor), named) AS host, "
        f"toLowCardinality({form.channel}) AS told, ({form.event}) AS event, "
        f"toLowCardinality({form.provider}) AS provider, ({form.address}) AS address, "
        f"({form.inbound}) AS inbound, ({form.data}) AS data, ({form.rest}) AS rest FROM ({lines})"
    )
    latest = f"now64(7) + {bounds.future_seconds}"
    judged = (
        f"SELECT *, {channel} AS channel, {source} AS source, {candidate(name)} AS candidate, multiIf("
        f"isNotNull(moment) AND moment <= {latest} AND moment >= {_EARLIEST} "
        f"AND match(host, '^{NAME.pattern}$'), '', "
        "NOT isValidJSON(line) OR JSONType(line) != 'Object', 'not a JSON object', "
        "isNull(moment), 'no time of the event', "
        f"moment > {latest}, 'the time lies in the future', "
        f"moment < {_EARLIEST}, 'the time lies before 1971', "
        f"'names no machine') AS reason FROM ({read})"
    )
    return (
        f"SELECT batch, tenant, source, line_no, ifNull(moment, {_EARLIEST}), host, channel, event, "
        f"provider, address, inbound, if(reason = '', {kind_number(name)}, 0), "
        f"toInt64(xxh3(lower(host), line) % {_REPORTS}), if(reason = '', data, line), rest, reason "
        f"FROM ({judged})"
    )


def whole() -> str:
    """SQL of all that a record says: its own fields, and what is around them as ``System``."""
    bare = "substring(data, 1, length(data) - 1)"
    comma = "if(data = '{}', '', ',')"
    return f"if(empty(rest), data, concat({bare}, {comma}, '\"System\":', rest, '}}'))"


def platform(source: str) -> str:
    """The OS of a machine whose records are of a source."""
    mapping = load_mappings().get(source)
    if mapping and mapping.product == "linux":
        return "Linux"
    return FORMS[mapping.form if mapping else source].platform


def _channels(form: str) -> list[tuple[str, str, str]]:
    """Known channels of a form in lower case, as they are spelled, and whose source they are."""
    return [
        (channel.lower(), channel, mapping.source)
        for mapping in load_mappings().values()
        if mapping.form == form
        for channel in dict.fromkeys(
            (*mapping.channels, *(channel for kind in mapping.kinds for channel in kind.channels))
        )
    ]
