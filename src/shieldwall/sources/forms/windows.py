"""Windows event logs: EVTX as the evtx package reads it, forwarded XML turned into JSON, Winlogbeat and
Elastic Agent, and flat JSON as NXLog and public data sets write it."""

from __future__ import annotations

from shieldwall.sources.forms.form import Form, first, members, starts_object, texts, time_of

_SYSTEM = (
    "Provider Tuple(`#attributes` Tuple(Name String), `@Name` String, Name String), EventID String, "
    "TimeCreated Tuple(`#attributes` Tuple(SystemTime String), `@SystemTime` String, SystemTime String), "
    "Channel String, Computer String"
)
_EVENT = "Event Tuple(System String, EventData String, UserData String)"
_WINLOG = (
    "winlog Tuple(channel String, event_id String, provider_name String, computer_name String, "
    "event_data String, user_data String), host Tuple(name String)"
)
_FLAT = (
    "EventID", "Channel", "SourceName", "Provider_Name", "Hostname", "Computer", "EventTime", "UtcTime",
    "TimeCreated", "@timestamp", "EventType", "Message",
)  # fmt: skip
_ENVELOPE = (
    "@timestamp", "@version", "Category", "Channel", "EventID", "EventReceivedTime", "EventTime",
    "ExecutionProcessID", "Hostname", "Keywords", "Level", "Message", "Opcode", "OpcodeValue", "ProviderGuid",
    "RecordNumber", "Severity", "SeverityValue", "SourceModuleName", "SourceModuleType", "SourceName", "Task",
    "ThreadID", "TimeCreated", "Version", "host", "port", "tags",
)  # fmt: skip
"""What flat JSON has beside the event's own fields, which lie among these."""

_DATA = "h.Event.EventData"


def _named(name: str, text: str) -> str:
    """A JSON object of a list of ``{name, text}`` objects, which is what converters make of XML."""
    value = f"JSONExtractRaw(x, '{text}')"
    pairs = (
        f"arrayMap(x -> concat(toJSONString(JSONExtractString(x, '{name}')), ':', "
        f"if(empty({value}), '\"\"', {value})), JSONExtractArrayRaw({_DATA}, 'Data'))"
    )
    return f"concat('{{', arrayStringConcat({pairs}, ','), '}}')"


def _is_named(name: str) -> str:
    return f'match({_DATA}, \'^\\\\{{"Data":\\\\[\\\\{{[^{{}}]*"{name}":\')'


def _inner(user_data: str) -> str:
    """The one element that UserData wraps, or UserData itself."""
    inner = f"JSONExtractKeysAndValuesRaw({user_data})[1].2"
    return f"if({starts_object(inner)}, {inner}, {user_data})"


def _flat() -> str:
    """The line itself. NXLog writes its own EventType over the event's, which then stands in the message."""
    wrong = '"EventType"\\\\s*:\\\\s*"INFO"'
    right = "concat('\"EventType\":\"', extract(h.Message, 'EventType: (\\\\w+)'), '\"')"
    bare = "if(endsWith(line, '\\r'), substring(line, 1, length(line) - 1), line)"
    return (
        f"if(h.EventType = 'INFO' AND position(h.Message, 'EventType: ') > 0, "
        f"replaceRegexpOne({bare}, '{wrong}', {right}), {bare})"
    )


def _flat_time() -> str:
    """When Sysmon or the record says; else the local time, put right by what the collector's clock said: that
    tells the zone, in quarters of hours."""
    local, sent = time_of("h.EventTime"), time_of("h.`@timestamp`")
    quarters = f"round((toUnixTimestamp64Milli({sent}) - toUnixTimestamp64Milli({local})) / 900000)"
    zoned = "match(h.EventTime, '(Z|[+-]\\\\d\\\\d:?\\\\d\\\\d)$')"
    corrected = (
        f"if({zoned} OR isNull({sent}) OR abs({quarters}) > 56, {local}, "
        f"addMinutes({local}, toInt32({quarters} * 15)))"
    )
    return f"coalesce({time_of('h.UtcTime')}, {time_of('h.TimeCreated')}, {corrected})"


def _windows() -> Form:
    provider, created = "s.Provider", "s.TimeCreated"
    spoken = first(f"{created}.`#attributes`.SystemTime", f"{created}.`@SystemTime`", f"{created}.SystemTime")
    number = first("s.EventID", "h.winlog.event_id", "h.EventID")
    is_event, is_winlog = "notEmpty(s.EventID)", "notEmpty(h.winlog.channel)"
    around = (
        f"concat('{{\"winlog\":{{', {members('winlog', without=('event_data', 'user_data'))}, '}},', "
        f"{members(without=('winlog',))}, '}}')"
    )
    return Form(
        inner=("h.Event.System", _SYSTEM),
        head=f"{_EVENT}, {_WINLOG}, {texts(*_FLAT)}",
        time=f"coalesce({time_of(spoken)}, if(notEmpty(h.EventID), {_flat_time()}, NULL), "
        f"{time_of('h.`@timestamp`')})",
        host=first("s.Computer", "h.winlog.computer_name", "h.Hostname", "h.Computer", "h.host.name"),
        channel=first("s.Channel", "h.winlog.channel", "h.Channel"),
        # The number itself, or an object with the number in it behind its qualifiers.
        event=f"if(startsWith({number}, '{{'), toInt64OrNull(extract({number}, '(\\\\d+)\\\\D*$')), "
        f"toInt64OrNull({number}))",
        provider=first(
            *(f"{provider}.{name}" for name in ("`#attributes`.Name", "`@Name`", "Name")),
            *("h.winlog.provider_name", "h.SourceName", "h.Provider_Name"),
        ),
        data=f"multiIf({starts_object(_DATA)}, multiIf({_is_named('@Name')}, {_named('@Name', '#text')}, "
        f"{_is_named('Name')}, {_named('Name', 'content')}, {_DATA}), "
        f"{starts_object('h.Event.UserData')}, {_inner('h.Event.UserData')}, "
        f"{starts_object('h.winlog.event_data')}, h.winlog.event_data, "
        f"{starts_object('h.winlog.user_data')}, {_inner('h.winlog.user_data')}, "
        f"{is_event} OR {is_winlog}, '{{}}', {_flat()})",
        rest=f"multiIf({is_event}, h.Event.System, {is_winlog}, {around}, '')",
        envelope=_ENVELOPE,
        platform="Windows",
    )


WINDOWS = _windows()
