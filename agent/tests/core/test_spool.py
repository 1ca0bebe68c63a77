import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shieldwall_agent.events import encode_line
from shieldwall_agent.spool import SpoolWriter
from shieldwall_agent.spool_format import PACKED, read_cursor, segments
from shieldwall_agent.spool_reader import SpoolReader


def event(number: int, padding: int = 0) -> dict[str, object]:
    return {
        "Table": "DeviceEvents",
        "ActionType": "Test",
        "AdditionalFields": {"N": number, "P": "x" * padding},
    }


def write(folder: Path, numbers: range, padding: int = 0, **options: int) -> None:
    writer = SpoolWriter(folder, **options)
    for number in numbers:
        writer.emit(event(number, padding))
    writer.close()


def numbers_of(body: bytes) -> list[int]:
    return [json.loads(line)["AdditionalFields"]["N"] for line in body.splitlines()]


def drain(reader: SpoolReader) -> list[int]:
    numbers = []
    while batch := reader.take():
        numbers += numbers_of(batch.body)
        reader.acknowledge()
    return numbers


class Server:
    """What the protocol asks of a server: a sequence not above the stream's last is not stored."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.rows: list[int] = []

    def receive(self, stream: str, sequence: int, body: bytes) -> bool:
        duplicate = sequence <= self.last.get(stream, -1)
        if not duplicate:
            self.last[stream] = sequence
            self.rows += numbers_of(body)
        return duplicate


def test_events_come_out_in_order_and_the_spool_empties(tmp_path: Path) -> None:
    write(tmp_path, range(2_000), padding=5_000)
    assert drain(SpoolReader(tmp_path)) == list(range(2_000))
    assert SpoolReader(tmp_path).take() is None
    assert len(segments(tmp_path)) == 1


def test_indexes_go_on_after_restarts_with_and_without_events(tmp_path: Path) -> None:
    for start in range(0, 30, 10):
        write(tmp_path, range(start, start + 10))
        write(tmp_path, range(0))
    reader = SpoolReader(tmp_path)
    assert drain(reader) == list(range(30))
    assert reader.acknowledged == 30
    assert reader.lost == 0


def test_index_is_not_used_again_when_the_segments_went(tmp_path: Path) -> None:
    write(tmp_path, range(10))
    reader = SpoolReader(tmp_path)
    drain(reader)
    for segment in segments(tmp_path):
        segment.path.unlink()
    write(tmp_path, range(10, 20))
    batch = SpoolReader(tmp_path).take()
    assert batch is not None
    assert batch.sequence == 20
    assert numbers_of(batch.body) == list(range(10, 20))


def test_batch_stays_the_same_until_acknowledged_also_in_a_new_process(tmp_path: Path) -> None:
    write(tmp_path, range(100))
    first = SpoolReader(tmp_path).take()
    write(tmp_path, range(100, 200))
    reader = SpoolReader(tmp_path)
    again = reader.take()
    assert first is not None
    assert again is not None
    assert (again.stream, again.sequence, again.body) == (first.stream, first.sequence, first.body)
    assert (first.resent, again.resent) == (False, True)
    reader.acknowledge()
    after = reader.take()
    assert after is not None
    assert numbers_of(after.body) == list(range(100, 200))


def test_batches_keep_their_bounds(tmp_path: Path) -> None:
    write(tmp_path, range(12_000))
    reader = SpoolReader(tmp_path, batch_rows=5_000, batch_bytes=200_000)
    sizes = []
    while batch := reader.take():
        sizes.append((batch.rows, len(batch.body)))
        reader.acknowledge()
    assert sum(rows for rows, _ in sizes) == 12_000
    assert max(size for _, size in sizes) <= 200_000


def test_halving_loses_and_repeats_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(1_000))
    reader = SpoolReader(tmp_path)
    received: list[int] = []
    largest = 0
    while batch := reader.take():
        if batch.rows > 7:
            assert reader.halve()
            continue
        largest = max(largest, batch.rows)
        received += numbers_of(batch.body)
        reader.acknowledge()
    assert received == list(range(1_000))
    assert largest > 1
    write(tmp_path, range(1))
    assert reader.take() is not None
    assert not reader.halve()


def test_torn_tail_is_left_and_what_follows_is_read(tmp_path: Path) -> None:
    write(tmp_path, range(10))
    path = segments(tmp_path)[-1].path
    whole = path.read_bytes()
    for cut in (1, 20, len(whole) // 2):
        path.write_bytes(whole + whole[: len(whole) - cut])
        reader = SpoolReader(tmp_path)
        batch = reader.take()
        assert batch is not None
        assert numbers_of(batch.body) == list(range(10))
    write(tmp_path, range(10, 20))
    assert drain(SpoolReader(tmp_path)) == list(range(20))


def test_damage_in_the_middle_costs_only_its_group_and_is_counted(tmp_path: Path) -> None:
    for start in (0, 10, 20):
        write(tmp_path, range(start, start + 10))
    damaged = segments(tmp_path)[1].path
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 0x40
    damaged.write_bytes(data)
    reader = SpoolReader(tmp_path)
    assert drain(reader) == [*range(10), *range(20, 30)]
    assert (reader.lost, reader.take_lost(), reader.take_lost()) == (10, 10, 0)
    assert SpoolReader(tmp_path).lost == 10


def test_torn_cursor_falls_back_to_the_state_before(tmp_path: Path) -> None:
    write(tmp_path, range(10))
    reader = SpoolReader(tmp_path)
    reader.take()
    path, data, before = tmp_path / "cursor", (tmp_path / "cursor").read_bytes(), read_cursor(tmp_path)
    reader.acknowledge()
    torn = bytearray(path.read_bytes())
    changed = [place for place, byte in enumerate(torn) if byte != data[place]]
    for place in changed[len(changed) // 2 :]:
        torn[place] = data[place]
    path.write_bytes(torn)
    assert read_cursor(tmp_path) == before
    batch = SpoolReader(tmp_path).take()
    assert batch is not None
    assert batch.resent


@pytest.mark.root
def test_full_disk_does_not_stop_the_uploads_that_empty_it(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", tmp_path], check=True)
    try:
        reader = SpoolReader(tmp_path, batch_rows=50)
        writer = SpoolWriter(tmp_path, segment_bytes=100_000)
        for number in range(3_000):
            writer.emit({**event(number), "FileName": random.Random(number).randbytes(300).hex()})
        writer.close()
        assert writer.dropped > 0
        (tmp_path / "rest").write_bytes(b"x" * (os.statvfs(tmp_path).f_bavail * 4096))
        kept = drain(reader)
        assert len(kept) == writer.spooled > 100
        write(tmp_path, range(3_000, 3_010))
        assert drain(reader) == list(range(3_000, 3_010))
        assert reader.lost == writer.dropped
        del reader
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_oldest_go_when_the_bound_is_reached_and_the_loss_is_exact(tmp_path: Path) -> None:
    bound = 600_000
    writer = SpoolWriter(tmp_path, bound=bound, segment_bytes=100_000)
    rows = 3_000
    for number in range(rows):
        event_ = event(number)
        event_["FileName"] = random.Random(number).randbytes(500).hex()
        writer.emit(event_)
        if number % 1_000 == 0:
            time.sleep(0.05)
    writer.close()
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    reader = SpoolReader(tmp_path)
    kept = drain(reader)
    assert size <= bound + 300_000  # the last segment may pass its size by a group of 256 kB
    assert kept
    assert kept == list(range(rows - len(kept), rows))
    assert reader.lost == rows - len(kept) > 0


def test_segments_that_wait_are_packed(tmp_path: Path) -> None:
    write(tmp_path, range(5_000), padding=500, segment_bytes=500_000)
    write(tmp_path, range(5_000, 5_010))
    found = segments(tmp_path)
    assert [segment.path.suffix for segment in found[:-1]].count(PACKED) >= 1
    assert sum(segment.path.stat().st_size for segment in found) < 1_000_000
    assert drain(SpoolReader(tmp_path)) == list(range(5_010))


def test_full_disk_counts_the_loss_and_goes_on(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    kept, writer._file = writer._file, open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    writer.emit(event(0))
    while not writer.dropped:
        time.sleep(0.01)
    time.sleep(0.05)
    writer._file = kept
    writer.emit(event(1))
    writer.close()
    reader = SpoolReader(tmp_path)
    assert drain(reader) == [1]
    assert (reader.lost, writer.counters()) == (1, {"emitted": 2, "spooled": 1, "dropped": 1})


def test_events_that_cannot_be_encoded_or_are_too_large_are_counted(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    loop: dict[str, object] = {"Table": "DeviceEvents"}
    loop["AdditionalFields"] = loop
    writer.emit(loop)
    writer.emit(event(1, padding=300_000))
    writer.emit(event(2))
    writer.close()
    assert writer.counters() == {"emitted": 3, "spooled": 1, "dropped": 2}


def test_names_that_are_no_utf8_make_valid_lines() -> None:
    line = encode_line({"FileName": os.fsdecode(b"caf\xe9"), "FolderPath": "/tmp/é"})
    assert json.loads(line) == {"FileName": "caf?", "FolderPath": "/tmp/é"}


def test_stream_changes_when_the_server_knows_higher_numbers(tmp_path: Path) -> None:
    write(tmp_path, range(10))
    reader = SpoolReader(tmp_path)
    batch = reader.take()
    assert batch is not None
    reader.renew_stream()
    again = reader.take()
    assert again is not None
    assert again.stream != batch.stream
    assert again.body == batch.body
    assert again.resent


WRITER = """
import sys; from pathlib import Path
from shieldwall_agent.spool import SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]), segment_bytes=200_000)
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 10**9):
    writer.emit({"Table": "DeviceEvents", "AdditionalFields": {"N": number, "P": "x" * 100}})
    if number % 500 == 0:
        import time; time.sleep(0.002)
"""
READER = """
import base64, sys; from pathlib import Path
from shieldwall_agent.spool_reader import SpoolReader
reader = SpoolReader(Path(sys.argv[1]), batch_rows=700)
while True:
    batch = reader.take()
    if batch is None:
        print("empty", flush=True)
    else:
        print(batch.stream, batch.sequence, base64.b64encode(batch.body).decode(), flush=True)
    if sys.stdin.readline() == "ok\\n":
        reader.acknowledge()
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_kill_of_either_side_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    """Writers die at any moment, readers between sending and acknowledging; the durable is there once."""

    chance = random.Random(4)
    server = Server()
    first_numbers = range(0, 6 * 10**9, 10**9)
    for start in first_numbers:
        writer = _start(WRITER, str(tmp_path), str(start))
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.4 + chance.random() / 2)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        reader = _start(READER, str(tmp_path))
        assert reader.stdin
        assert reader.stdout
        for _ in range(chance.randrange(2, 6)):
            line = reader.stdout.readline().split()
            if line[0] == "empty":
                break
            server.receive(line[0], int(line[1]), base64.b64decode(line[2]))
            reader.stdin.write("ok\n" if chance.random() < 0.7 else "the answer was lost\n")
            reader.stdin.flush()
        os.kill(reader.pid, signal.SIGKILL)
        reader.wait()
    last = SpoolReader(tmp_path)
    while batch := last.take():
        server.receive(batch.stream, batch.sequence, batch.body)
        last.acknowledge()
    assert last.lost == 0
    assert len(server.rows) == len(set(server.rows)) > 1_000
    expected = []
    for start in first_numbers:  # of each writer an unbroken run from its first number on
        of_writer = [number for number in server.rows if start <= number < start + 10**9]
        expected += list(range(start, start + len(of_writer)))
        assert of_writer
    assert server.rows == expected
