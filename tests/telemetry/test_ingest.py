"""What agents send is stored exactly once, or refused with the reason."""

from __future__ import annotations

import asyncio
import gzip
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import zstandard
from sqlalchemy.orm import Session

from shieldwall import metrics
from shieldwall.errors import ApiError
from shieldwall.state.engine import Database
from shieldwall.telemetry import ingest
from shieldwall.telemetry.deadletters import list_rejects
from shieldwall.telemetry.ingest import SMALL_APART, BatchResult, Ingester, StoredGroup
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, to_text

from .conftest import DEVICE, Feed, event


def test_columns_keep_their_types_and_values(feed: Feed) -> None:
    time = to_text(now())[:19]
    feed.send(
        feed.batch(
            1,
            event(
                Timestamp=f"{time}.1234567Z",
                ProcessId=2**40,
                ProcessCommandLine='say "ünïcode" \\ done',
                ProcessCreationTime=f"{time}Z",
                AdditionalFields={"cwd": "/", "n": 1},
            ),
            event(
                "DeviceNetworkEvents",
                Timestamp=f"{time}.5Z",
                RemotePort=443,
                IsInitiatingProcessRemoteSession=True,
            ),
        )
    )
    ((when, pid, line, created, size, fields),) = feed.rows(
        "toString(Timestamp), ProcessId, ProcessCommandLine, toString(ProcessCreationTime), FileSize, "
        "AdditionalFields"
    )
    assert when == f"{time.replace('T', ' ')}.1234567"
    assert (pid, line, size) == (2**40, 'say "ünïcode" \\ done', None)
    assert created == f"{time.replace('T', ' ')}.0000000"
    assert fields == '{"cwd":"/","n":1}'
    assert feed.rows("RemotePort, IsInitiatingProcessRemoteSession, RemoteIP", "DeviceNetworkEvents") == [
        (443, True, "")
    ]


def test_the_server_says_whose_rows_they_are(feed: Feed) -> None:
    line = event(TenantId="other", DeviceId="f" * 40, DeviceName="other", GroupId=7, MachineGroup="other")
    feed.send(feed.batch(1, line))
    ((tenant, device, name),) = feed.rows("toString(TenantId), DeviceId, DeviceName")
    assert (tenant, device, name) == (feed.tenant, DEVICE, "host1")


def test_unknown_keys_are_kept_in_additional_fields(feed: Feed) -> None:
    feed.send(feed.batch(1, event(AdditionalFields='{"cwd": "/"}', New={"a": [1]}, Other="x")))
    assert feed.rows("AdditionalFields") == [('{"cwd":"/","New":{"a":[1]},"Other":"x"}',)]


def test_bad_lines_are_refused_by_number_and_the_good_ones_kept(
    feed: Feed, telemetry: TelemetryStore
) -> None:
    lines = (
        event(),
        '{"cut',
        "[1]",
        event("system.users"),
        {"Table": "DeviceEvents"},
        event(Timestamp=to_text(now() + timedelta(hours=3))),
        event(Timestamp="1999-01-01T00:00:00Z"),
        event("DeviceTvmSoftwareInventory"),
        event(),
    )
    (result,) = feed.send(feed.batch(1, *lines))
    assert isinstance(result, BatchResult)
    assert result.stored == 2
    assert [rejection.line for rejection in result.rejected] == [2, 3, 4, 5, 6, 7, 8]
    kept = list_rejects(telemetry, feed.tenant)
    assert {letter.line for letter in kept} == {2, 3, 4, 5, 6, 7, 8}
    assert {letter.line: letter.text for letter in kept}[2] == '{"cut'
    assert all(letter.reason for letter in kept)
    assert list_rejects(telemetry, "22222222-2222-4222-8222-222222222222") == []


def test_agents_send_to_the_tables_of_devices_only(feed: Feed) -> None:
    (result,) = feed.send(feed.batch(1, event("EmailEvents"), event("AlertInfo"), event("DeviceEvents")))
    assert isinstance(result, BatchResult)
    assert (result.stored, [rejection.line for rejection in result.rejected]) == (1, [1, 2])


def test_a_batch_sent_again_is_stored_once(feed: Feed) -> None:
    first, again = feed.send(feed.batch(1, event()), feed.batch(1, event()))
    assert isinstance(first, BatchResult)
    assert isinstance(again, BatchResult)
    assert {first.duplicate, again.duplicate} == {False, True}
    (later,) = feed.send(feed.batch(1, event()))
    assert later == BatchResult(0, True, ())
    feed.send(feed.batch(2, event()))
    assert feed.rows("count()") == [(2,)]


def test_streams_and_devices_have_sequences_of_their_own(feed: Feed) -> None:
    feed.send(
        feed.batch(1, event()),
        feed.batch(1, event(), stream="0" * 32),
        feed.batch(1, event(), device_id="e" * 40),
    )
    assert feed.rows("count()") == [(3,)]


def refusal(result: Any) -> tuple[int, str]:
    assert isinstance(result, ApiError), result
    return result.status, result.code


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_broken_bodies_are_refused_and_change_nothing(feed: Feed, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    whole = pack(b'{"Table": "DeviceEvents"}\n' * 5000)
    bomb = pack(bytes(80 << 20))
    cut, noise, big, nothing = feed.send(
        feed.batch(1, body=whole[: len(whole) // 2], encoding=encoding),
        feed.batch(2, body=b"no archive at all", encoding=encoding),
        feed.batch(3, body=bomb, encoding=encoding),
        feed.batch(4, body=b"", encoding=encoding),
    )
    assert refusal(cut) == refusal(noise) == refusal(nothing) == (400, "InvalidRequestBody")
    assert refusal(big) == (413, "MaximumBatchSizeExceeded")
    assert feed.send(feed.batch(1, event()))[0] == BatchResult(1, False, ())


def test_too_many_rows_and_unknown_encodings_are_refused(feed: Feed) -> None:
    rows, encoding = feed.send(
        feed.batch(1, body=gzip.compress(b"{}\n" * 100_002)), feed.batch(2, body=b"x", encoding="br")
    )
    assert refusal(rows)[0] == 413
    assert refusal(encoding)[0] == 415


def test_an_empty_batch_is_acknowledged(feed: Feed) -> None:
    assert feed.send(feed.batch(1, body=b"", encoding="identity")) == [BatchResult(0, False, ())]


def test_what_was_never_committed_is_undone_at_start(feed: Feed, telemetry: TelemetryStore) -> None:
    feed.send(feed.batch(1, event(FileName="kept")))
    telemetry.command(
        "INSERT INTO shieldwall.DeviceProcessEvents (TenantId, DeviceId, GroupId, Timestamp, FileName) "
        "SELECT {tenant:String}, {device:String}, max(GroupId) + 1, now64(7), 'lost' "
        "FROM shieldwall.DeviceProcessEvents",
        {"tenant": feed.tenant, "device": DEVICE},
    )
    assert feed.rows("count()") == [(2,)]
    feed.send()
    assert feed.rows("FileName") == [("kept",)]


def test_a_failing_observer_leaves_nothing_and_the_batch_can_come_again(
    telemetry: TelemetryStore, database: Database
) -> None:
    class Failing:
        def observe(self, group: Any, session: Any) -> None:
            raise RuntimeError("no")

    feed = Feed(telemetry, database, [Failing()])
    (result,) = feed.send(feed.batch(1, event()))
    assert refusal(result)[0] == 503
    assert feed.rows("count()") == [(0,)]
    feed.observers = ()
    assert feed.send(feed.batch(1, event()))[0] == BatchResult(1, False, ())


def test_one_poisonous_batch_does_not_harm_the_others(telemetry: TelemetryStore, database: Database) -> None:
    class Choosy:
        def observe(self, group: Any, session: Any) -> None:
            rows = telemetry.system_query(
                "SELECT count() AS n FROM shieldwall.DeviceProcessEvents "
                f"WHERE GroupId = {group.id} AND FileName = 'poison'"
            )
            if rows[0]["n"]:
                raise RuntimeError("poison")

    feed = Feed(telemetry, database, [Choosy()])
    good, bad, other = feed.send(
        feed.batch(1, event(FileName="good")),
        feed.batch(1, event(FileName="poison"), device_id="e" * 40),
        feed.batch(1, event(FileName="good"), device_id="c" * 40),
    )
    assert good == other == BatchResult(1, False, ())
    assert refusal(bad)[0] == 503
    assert feed.rows("count(), any(FileName)") == [(2, "good")]


def test_under_pressure_batches_are_sent_back(feed: Feed, telemetry: TelemetryStore) -> None:
    async def work() -> list[Any]:
        tight = TelemetryStore(replace(telemetry.settings, ingest_max_pending=10))
        ingester = Ingester(tight, feed.database)
        await ingester.start()
        tries = [ingester.submit(feed.batch(number, event())) for number in (1, 2, 3)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        await ingester.stop()
        tight.close()
        return results

    results = asyncio.run(work())
    assert refusal(results[-1]) == (429, "TooManyRequests")
    assert "Retry-After" in results[-1].headers
    assert any(isinstance(result, BatchResult) for result in results)


def test_the_first_batch_is_stored_at_once_and_small_ones_after_it_together(
    telemetry: TelemetryStore, database: Database
) -> None:
    stored: list[tuple[float, int]] = []

    class Watching:
        def observe(self, group: StoredGroup, session: Session) -> None:
            stored.append((time.monotonic(), sum(group.rows.values())))

    feed = Feed(telemetry, database, [Watching()])

    async def work() -> tuple[float, list[BatchResult]]:
        ingester = Ingester(telemetry, database, feed.observers)
        await ingester.start()
        began = time.monotonic()
        sent = []
        for number in range(6):
            batch = feed.batch(1, event(), device_id=f"{number:040x}")
            sent.append(asyncio.create_task(ingester.submit(batch)))
            await asyncio.sleep(0.05)
        results = await asyncio.gather(*sent)
        await ingester.stop()
        return began, results

    began, results = asyncio.run(work())
    assert results == [BatchResult(1, False, ())] * 6
    assert [rows for _, rows in stored] == [1, 5]
    assert stored[1][0] - began > SMALL_APART


def test_what_waits_is_stored_when_the_ingester_stops(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "SMALL_APART", 60)

    async def work() -> tuple[float, list[BatchResult]]:
        ingester = Ingester(feed.store, feed.database)
        await ingester.start()
        await ingester.submit(feed.batch(1, event()))
        waiting = asyncio.create_task(ingester.submit(feed.batch(2, event())))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        began = time.monotonic()
        await ingester.stop()
        return time.monotonic() - began, [await waiting]

    seconds, results = asyncio.run(work())
    assert results == [BatchResult(1, False, ())]
    assert seconds < 30


def test_text_is_found_before_and_after_merges_made_its_index(feed: Feed) -> None:
    for sequence in range(2):
        feed.send(feed.batch(sequence, event(ProcessCommandLine="powershell -ExecutionPolicy Bypass")))
    hunt = "countIf(hasAllTokens(lower(ProcessCommandLine), ['executionpolicy']))"
    absent = (
        "EXPLAIN indexes = 1 SELECT count() FROM shieldwall.DeviceProcessEvents "
        "WHERE hasAllTokens(lower(ProcessCommandLine), ['nowhere'])"
    )
    assert feed.rows(hunt) == [(2,)]
    assert "Parts: 0/" not in str(feed.store.system_query(absent))
    feed.store.command("OPTIMIZE TABLE shieldwall.DeviceProcessEvents FINAL")
    assert feed.rows(hunt) == [(2,)]
    assert "Parts: 0/" in str(feed.store.system_query(absent))


def test_counters_tell_where_each_event_went(feed: Feed) -> None:
    def count() -> dict[str, float]:
        found = {"lag": 0.0}
        for metric in (metrics.events, metrics.ingest_lag, metrics.batches):
            for sample in next(iter(metric.collect())).samples:
                if sample.name == "shieldwall_events_total":
                    stage = sample.labels["stage"]
                    found[stage] = found.get(stage, 0) + sample.value
                elif sample.name == "shieldwall_batches_total":
                    found[f"batch {sample.labels['outcome']}"] = sample.value
                elif sample.name == "shieldwall_ingest_lag_seconds_sum":
                    found["lag"] = sample.value
        return found

    class Failing:
        def observe(self, group: StoredGroup, session: Session) -> None:
            raise RuntimeError("no")

    before = count()
    late = to_text(now() - timedelta(seconds=100))
    lost = {"Sensor": "spool", "Count": 7, "Reason": "full"}
    first = feed.batch(
        1,
        event(Timestamp=late),
        event("DeviceEvents", ActionType="SensorEventsLost", AdditionalFields=lost),
        "no json",
    )
    feed.send(first)
    feed.send(first)
    feed.send(feed.batch(2, body=b"broken"))
    feed.observers = [Failing()]
    feed.send(feed.batch(3, event()))
    after = count()
    grown = {name: round(after[name] - before.get(name, 0)) for name in after}
    assert {name: value for name, value in grown.items() if value} == {
        "received": 4,
        "stored": 2,
        "rejected": 1,
        "failed": 1,
        "duplicate": 3,
        "dropped": 7,
        "lag": pytest.approx(100, abs=40),
        "batch stored": 1,
        "batch duplicate": 1,
        "batch invalid": 1,
        "batch failed": 1,
    }


def test_tables_are_kept_for_times_of_their_own(feed: Feed, telemetry: TelemetryStore) -> None:
    settings = replace(telemetry.settings, retention_days=150, retention_by_table="DeviceEvents=7")
    feed.store = TelemetryStore(settings)
    ages = [to_text(now() - timedelta(days=days)) for days in range(1, 149)]
    (result,) = feed.send(
        feed.batch(
            1,
            *(event(Timestamp=age) for age in ages),
            *(event("DeviceEvents", Timestamp=age) for age in ages),
        )
    )
    assert isinstance(result, BatchResult), result
    assert (result.stored, len(result.rejected)) == (148 + 6, 142)
    assert {rejection.reason for rejection in result.rejected} == {"Timestamp is older than what is kept"}
