"""Files, archives and folders: what is found in them, and what is said of the rest."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from shieldwall.sources.reading import archives
from shieldwall.sources.reading.account import Account
from shieldwall.sources.reading.recordings import TooLong, body_lines, read
from tests.sources.conftest import PROCESS, Recorder, event
from tests.sources.evtx_maker import Made, write

LINES = b"\n".join(json.dumps(event(1, PROCESS | {"ProcessId": number})).encode() for number in range(3))


def found(path: Path) -> tuple[dict[str, int], Account]:
    account = Account()
    counts: dict[str, int] = {}
    for block in read([path], account):
        assert len(block.payload.split(b"\n")) == block.records
        counts[block.source] = counts.get(block.source, 0) + block.records
    return counts, account


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n\r\n") + b"\r\n",
        b"[" + LINES.replace(b"\n", b",\n") + b"]",
        json.dumps([json.loads(line) for line in LINES.split(b"\n")], indent=2).encode(),
        b"\n".join(json.dumps(json.loads(line), indent=1).encode() for line in LINES.split(b"\n")),
        gzip.compress(LINES[:5000]) + gzip.compress(LINES[5000:]) + b"\n",
        zstandard.compress(LINES),
        zipped(**{"a/b.json": LINES, "__MACOSX/._b.json": b"\0\5"}),
        tarred("../../x.json", LINES),
        zipped(inner=tarred("x", zstandard.compress(LINES))),
    ],
    ids=["lines", "crlf", "array", "pretty array", "pretty", "gzip", "zstd", "zip", "tar", "nested"],
)
def test_records_are_found_in_any_wrapping(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    counts, account = found(path)
    assert (counts, account.records) == ({"windows": 3}, 3)
    assert not account.problems
    assert not (tmp_path.parent / "x.json").exists()


def test_what_is_readable_of_a_damaged_file_is_read(tmp_path: Path) -> None:
    many = (LINES + b"\n") * 2000
    whole = gzip.compress(many)
    (tmp_path / "cut.json.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "broken.json").write_bytes(b"[" + LINES.replace(b"\n", b",") + b",{oops")
    (tmp_path / "broken.zip").write_bytes(zipped(a=LINES)[:-30])
    (tmp_path / "broken.evtx").write_bytes(b"ElfFile\0" + b"\0" * 34 + b"\2" + b"\0" * 9000)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    counts, account = found(tmp_path)
    assert counts["windows"] >= 3 + 1000
    assert {Path(problem.file).name.split(".")[0] for problem in account.problems} == {"cut", "broken"}
    assert len(account.problems) == 4
    assert [Path(name).name for name in account.skipped] == ["picture.png"]


def test_a_bomb_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LEAST", 1 << 20)
    monkeypatch.setattr(archives, "RATIO", 5)
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped(a=b'{"EventID": 1, "Channel": "x"}\n' * 500_000))
    counts, account = found(path)
    assert counts.get("windows", 0) < 100_000
    assert "more comes out of it" in account.problems[0].text
    deep = LINES
    for _ in range(archives.DEPTH + 1):
        deep = gzip.compress(deep)
    path.write_bytes(deep)
    counts, account = found(path)
    assert not counts
    assert "deeper than" in account.problems[0].text


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(LINES)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    assert found(tmp_path / "in")[0] == {}


@pytest.mark.parametrize(
    ("source", "record"),
    [
        ("suricata", {"timestamp": "t", "event_type": "dns"}),
        ("zeek", {"ts": 1, "uid": "C", "id.orig_h": "1.1.1.1"}),
        ("falco", {"rule": "r", "priority": "x", "output": "o"}),
        ("tetragon", {"process_exec": {}, "time": "t"}),
        ("osquery", {"name": "q", "hostIdentifier": "h"}),
        ("windows", {"EventID": 1, "Channel": "Security"}),
        ("json", {"anything": 1}),
    ],
)
def test_the_sensor_is_found_out(tmp_path: Path, source: str, record: dict[str, object]) -> None:
    path = tmp_path / "conn.log"
    path.write_text(json.dumps(record) + "\n")
    assert found(path)[0] == {source: 1}


def test_zeeks_json_gets_its_log_from_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "dns.10:00:00-11:00:00.log"
    path.write_text('{"ts":1,"uid":"C"}\n{"ts":2,"uid":"D"}\n')
    [block] = read([path], Account())
    assert [json.loads(line)["_path"] for line in block.payload.split(b"\n")] == ["dns", "dns"]


def test_lines_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"EventID":1,"Channel":"x"}\n' * 3)
    [block] = read([path], Account())
    assert [json.loads(line).get("Occurrence") for line in block.payload.split(b"\n")] == [None, 2, 3]


MOST = 1 << 20


def test_a_body_in_the_sensors_own_format_becomes_lines() -> None:
    assert body_lines("windows", LINES, MOST) is LINES
    array = b"[" + LINES.replace(b"\n", b",") + b"]"
    assert len(body_lines("windows", array, MOST).split(b"\n")) == 3
    assert body_lines("windows", b"[{},{", MOST).split(b"\n")[0] == b"{}"
    assert body_lines("zeek", b"nonsense", MOST) == b"nonsense"
    with pytest.raises(TooLong):
        body_lines("windows", array, 100)


def made(path: Path, records: int = 400) -> bytes:
    """An EVTX file of several chunks, as bytes."""
    time = datetime(2024, 5, 1, 10, 0, tzinfo=UTC)
    write(path, (Made(1, PROCESS_TEXTS | {"ProcessId": str(number)}, time) for number in range(records)))
    return path.read_bytes()


PROCESS_TEXTS = {name: str(value) for name, value in PROCESS.items()}


def test_evtx_is_read_and_stored(recorder: Recorder, tmp_path: Path) -> None:
    made(tmp_path / "s.evtx")
    [block] = read([tmp_path / "s.evtx"], Account())
    assert block.records == 400
    assert recorder.send("windows", block.payload.decode()).stored == 400
    row = recorder.rows("DeviceProcessEvents")[0]
    assert (row["FolderPath"], row["ProcessCommandLine"]) == (PROCESS["Image"], PROCESS["CommandLine"])


def test_a_body_may_be_evtx(recorder: Recorder, tmp_path: Path) -> None:
    whole = made(tmp_path / "s.evtx")
    result = recorder.send_body("windows", whole)
    assert (result.stored, result.rejected) == (400, ())
    again = recorder.send_body("windows", whole[: 4096 + 65536 + 20_000])
    assert again.stored == 0
    assert again.rejected
    assert all(0 < lost.line < 400 for lost in again.rejected)


def test_damaged_evtx_gives_what_is_readable_and_an_account(tmp_path: Path) -> None:
    path = tmp_path / "s.evtx"
    whole = made(path)
    chunks = (len(whole) - 4096) // 65536
    assert chunks >= 4
    for damaged, told in (
        (whole[: 4096 + 65536 + 20_000], f"{chunks - 2} of its {chunks} chunks are missing"),
        (
            whole[: 4096 + 65536] + bytes(65536) + whole[4096 + 2 * 65536 :],
            f"1 of its {chunks} chunks are missing",
        ),
        (whole[: 4096 + 65536] + b"garbage!" + whole[4096 + 65536 + 8 :], "Invalid EVTX chunk header magic"),
        (whole[: 4096 + 66_500] + b"\xff" * 3000 + whole[4096 + 69_500 :], "cannot be read"),
    ):
        path.write_bytes(damaged)
        counts, account = found(path)
        assert 0 < counts["windows"] < 400
        assert any(told in problem.text for problem in account.problems), account.problems
