"""Recordings of Windows events, stored as an import stores them, and what rules find in them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from evtx import PyEvtxParser
from tests.detection.sigma.evaluator import evaluator

from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.sigma.conversion import Converted
from shieldwall.detection.sigma.parsing import File
from shieldwall.sources.stage import Sources
from shieldwall.state.engine import Database
from shieldwall.telemetry.hunting import Hunting, Limits
from shieldwall.telemetry.ingest import Batch, Ingester
from shieldwall.telemetry.store import TelemetryStore

SYSMON = "Microsoft-Windows-Sysmon/Operational"
CATEGORIES: Mapping[str, tuple[int, ...]] = {
    "process_creation": (1,), "file_change": (2,), "network_connection": (3,), "sysmon_status": (4, 16),
    "process_termination": (5,), "driver_load": (6,), "image_load": (7,), "create_remote_thread": (8,),
    "raw_access_thread": (9,), "process_access": (10,), "file_event": (11,), "registry_add": (12,),
    "registry_delete": (12,), "registry_set": (13,), "registry_rename": (14,), "registry_event": (12, 13, 14),
    "create_stream_hash": (15,), "pipe_created": (17, 18), "wmi_event": (19, 20, 21), "dns_query": (22,),
    "file_delete": (23, 26), "clipboard_capture": (24,), "process_tampering": (25,),
    "file_block_executable": (27,), "file_block_shredding": (28,), "file_executable_detected": (29,),
    "sysmon_error": (255,),
}  # fmt: skip
POWERSHELL = {
    "ps_script": ("powershell", 4104), "ps_module": ("powershell", 4103),
    "ps_classic_start": ("powershell-classic", 400),
    "ps_classic_provider_start": ("powershell-classic", 600),
    "ps_classic_script": ("powershell-classic", 800),
}  # fmt: skip
TYPES = {"registry_add": ("CreateKey",), "registry_delete": ("DeleteKey", "DeleteValue")}
BATCH = 2000
HUNT = 30_000
"""Characters of queries that go together."""

Event = dict[str, Any]


class Recordings:
    """Records of EVTX files, imported under a tenant."""

    def __init__(self, store: TelemetryStore, database: Database, tenant: str) -> None:
        self._store, self._database, self._tenant = store, database, tenant
        self._hunting = Hunting(store)
        self.events: dict[int, Event] = {}
        """As Sigma sees them, by ReportId."""
        self.unread = 0

    def add(self, paths: Sequence[Path]) -> None:
        lines = []
        for path in paths:
            for line in self._lines(path):
                lines.append(line)
        for start in range(0, len(lines), BATCH):
            self._store_lines(lines[start : start + BATCH])

    def _lines(self, path: Path) -> Iterator[str]:
        records = iter(PyEvtxParser(str(path)).records_json())
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except RuntimeError:
                self.unread += 1
                continue
            if record is not None:
                yield json.dumps(json.loads(record["data"]), ensure_ascii=False, separators=(",", ":"))

    def _store_lines(self, lines: list[str]) -> None:
        body = "\n".join(lines).encode()
        batch = Batch(self._tenant, "", "unnamed", "", "", 0, body, "identity", "windows")

        sources = Sources(self._store, self._database)

        async def work() -> None:
            ingester = Ingester(self._store, self._database, sources=sources)
            await ingester.start()
            try:
                result = await ingester.submit(batch)
            finally:
                await ingester.stop()
            if result.rejected:
                raise SystemExit(f"{len(result.rejected)} lines were rejected: {result.rejected[0]}")

        asyncio.run(work())
        read = [(json.loads(line), line) for line in lines]
        for number, (record, _) in zip(self._report_ids(read), read, strict=True):
            self.events[number] = plain(record["Event"])

    def _report_ids(self, read: Sequence[tuple[Any, str]]) -> Iterator[int]:
        for start in range(0, len(read), 200):
            some = read[start : start + 200]
            hosts = [record["Event"]["System"]["Computer"].lower() for record, _ in some]
            found = self._store.system_query(
                "SELECT toInt64(xxh3(h, l) % 1000000000000000000) AS id "
                "FROM (SELECT arrayJoin(arrayZip({hosts:Array(String)}, {lines:Array(String)})) AS p, "
                "p.1 AS h, p.2 AS l)",
                {"hosts": hosts, "lines": [line for _, line in some]},
            )
            yield from (int(row["id"]) for row in found)

    def hits(self, rules: Sequence[Rule]) -> dict[str, set[int]]:
        """The records that each rule finds here; several queries go into one hunt."""
        found: dict[str, set[int]] = {rule.id: set() for rule in rules}
        some: list[Rule] = []
        for rule in [*rules, None]:
            if some and (rule is None or sum(len(each.query) for each in [*some, rule]) > HUNT):
                parts = [f'({each.query}\n| project ReportId, Rule = "{each.id}")' for each in some]
                with self._hunting.hunt(self._tenant, "union " + ",\n".join(parts), Limits()) as hunt:
                    for number, name in hunt.rows:
                        found[name].add(int(number))
                some = []
            if rule is not None:
                some.append(rule)
        return found


def plain(event: Mapping[str, Any]) -> Event:
    """A record as Sigma sees it: the event's own fields, and those of its head by their usual names."""
    system = event["System"]
    number = system["EventID"]
    data = event.get("EventData") or {}
    if not data and isinstance(event.get("UserData"), dict):
        (data, *_) = event["UserData"].values()
    found: Event = {name: value for name, value in (data or {}).items() if name != "#attributes"}
    unnamed = found.get("Data")
    if isinstance(unnamed, dict):
        found["Data"] = unnamed.get("#text")
    for name in ("Level", "Task", "Opcode", "Keywords", "Version"):
        found.setdefault(name, system.get(name))
    found["EventID"] = number.get("#text") if isinstance(number, dict) else number
    found["Channel"] = system["Channel"]
    found["Computer"] = system["Computer"]
    found["Provider_Name"] = ((system.get("Provider") or {}).get("#attributes") or {}).get("Name")
    return found


class Plain:
    """A rule as the plain evaluator has it: on which events it is asked, and whether it fires."""

    def __init__(self, data: Mapping[str, Any], services: Mapping[str, Any]) -> None:
        self.fires = evaluator(data)
        source = data["logsource"]
        category, service = source.get("category"), source.get("service")
        self.here = source.get("product") in (None, "windows")
        self.types = TYPES.get(category or "")
        self.channels: tuple[str, ...] | None
        if category in CATEGORIES:
            self.channels, self.numbers = (SYSMON.lower(),), CATEGORIES[category]
        elif category in POWERSHELL:
            named, number = POWERSHELL[category]
            self.channels, self.numbers = _channels(services[named]), (number,)
        else:
            self.channels = _channels(services[service]) if service in services else None
            self.numbers = ()

    def covers(self, event: Event) -> bool:
        if not self.here:
            return False
        if self.channels is not None and str(event["Channel"]).lower() not in self.channels:
            return False
        if self.numbers and event["EventID"] not in self.numbers:
            return False
        return not self.types or event.get("EventType") in self.types


def _channels(named: Any) -> tuple[str, ...]:
    return tuple(str(name).lower() for name in (named if isinstance(named, list) else [named]))


def _services() -> Mapping[str, Any]:
    import shieldwall.detection.sigma as package

    path = Path(package.__file__).with_name("logsources.yaml")
    services: Mapping[str, Any] = yaml.safe_load(path.read_text())["windows_services"]
    return services


def expected(recordings: Recordings, folder: Path, converted: Converted) -> int:
    """Import each regression recording, and say which named rules do not fire on it. 1 if one does not."""
    rules = {rule.id: rule for rule in converted.rules}
    refused = {item.rule_id: item for item in converted.refused}
    fired, problems, count = 0, [], 0
    for info in sorted(folder.rglob("info.yml")):
        told = yaml.safe_load(info.read_text())
        paths = sorted(info.parent.glob("*.evtx"))
        for meta in told["rule_metadata"]:
            count += 1
            rule = rules.get(meta["id"])
            if rule is None:
                why = refused[meta["id"]].reason if meta["id"] in refused else "no such rule is loaded"
                problems.append(f"{meta['title']}: {why}")
                continue
            if not paths:
                problems.append(f"{meta['title']}: the recording is no EVTX file")
                continue
            known = set(recordings.events)
            recordings.add(paths)
            new = set(recordings.events) - known or set(recordings.events)
            hits = recordings.hits([rule])[rule.id] & new
            fired += bool(hits)
            if not hits:
                problems.append(f"{meta['title']}: does not fire ({info.parent.name})")
            wanted = (told.get("regression_tests_info") or [{}])[0].get("match_count")
            if hits and wanted is not None and wanted != len(hits):
                problems.append(f"{meta['title']}: fires on {len(hits)} events, {wanted} are expected")
    print(f"\nregression: {fired} of {count} recordings fire their rule")
    for problem in problems:
        print(f"  {problem}")
    return int(fired < count)


def listed_differences(
    recordings: Recordings, folder: Path, files: Sequence[File], converted: Converted
) -> int:
    """Compare what each rule finds here with the plain evaluator, event by event. 1 if one differs."""
    recordings.add(sorted(folder.rglob("*.evtx")))
    print(f"\n{len(recordings.events):,} different events, {recordings.unread} records unreadable")
    texts = {data["id"]: data for data in _loaded(files)}
    services = _services()
    by_head: dict[tuple[str, Any], list[tuple[int, Event]]] = defaultdict(list)
    for number, event in recordings.events.items():
        by_head[event["Channel"].lower(), event["EventID"]].append((number, event))
    began = time.monotonic()
    here = recordings.hits(converted.rules)
    seconds = time.monotonic() - began
    missing, more, compared, elsewhere = [], [], 0, 0
    for rule in converted.rules:
        plain_rule = Plain(texts[rule.id], services)
        asked = [
            (number, event)
            for some in by_head.values()
            if plain_rule.covers(
                {**some[0][1], **({"EventType": plain_rule.types[0]} if plain_rule.types else {})}
            )
            for number, event in some
            if plain_rule.covers(event)
        ]
        compared += len(asked)
        fired = {number for number, event in asked if plain_rule.fires(event)}
        covered = {number for number, _ in asked}
        missing += [(rule, number) for number in fired - here[rule.id]]
        more += [(rule, number) for number in (here[rule.id] - fired) & covered]
        elsewhere += len(here[rule.id] - fired - covered)
    hits = sum(map(len, here.values()))
    print(f"{hits:,} hits of {sum(map(bool, here.values()))} rules here, found in {seconds:.1f} s")
    print(f"{compared:,} pairs of rule and event compared; {elsewhere} hits on events of other sources")
    for title, differences in (("fires in the plain evaluator only", missing), ("fires here only", more)):
        print(f"{len(differences)} {title}")
        for rule, number in differences[:200]:
            event = recordings.events[number]
            print(f"  {rule.name} ({rule.id}): {event['Channel']} {event['EventID']} {number}")
    return int(bool(missing or more))


def _loaded(files: Sequence[File]) -> Iterator[dict[str, Any]]:
    for file in files:
        data = yaml.load(file.content, yaml.CSafeLoader)
        if isinstance(data, dict) and "id" in data:
            yield data
