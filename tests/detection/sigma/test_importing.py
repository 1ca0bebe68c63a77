"""Rules from files, folders and archives, with filters, and from the cache."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import orjson
import pytest

from shieldwall.detection.sigma import archives
from shieldwall.detection.sigma.archives import UnreadablePathError
from shieldwall.detection.sigma.conversion import Converter
from shieldwall.detection.sigma.importing import load, read_placeholders
from shieldwall.detection.sigma.parsing import File
from tests.detection.sigma.test_correlations import BASE, COUNT, correlation
from tests.detection.sigma.test_refusals import GOOD

SECOND = GOOD.replace("11111111-1", "22222222-2").replace("title: Good", "title: Second")
FILTER = """title: Not by the updater
logsource: {product: windows, category: process_creation}
filter:
    rules: [11111111-1111-4111-8111-111111111111]
    updater: {Image|endswith: '\\updater.exe'}
    condition: not updater
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "rules" / "windows"
    inner.mkdir(parents=True)
    (inner / "good.yml").write_text(GOOD)
    (inner / "second.yaml").write_text(SECOND)
    (inner / "broken.yml").write_text("title: [")
    (inner / "readme.md").write_text("no rule")
    (inner / "link.yml").symlink_to("/etc/passwd")
    return tmp_path / "rules"


def test_a_folder_a_zip_and_a_tar_hold_the_same(folder: Path, tmp_path: Path) -> None:
    packed, tarred = tmp_path / "rules.zip", tmp_path / "rules.tar.gz"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.y*ml")):
            if not path.is_symlink():
                archive.write(path, path.relative_to(folder))
    with tarfile.open(tarred, "w:gz") as archive:
        archive.add(folder, ".")
    for path in (folder, packed, tarred):
        found = load(path)
        assert sorted(rule.name for rule in found.rules) == ["Good", "Second"], path
        (refused,) = found.refused
        assert refused.path.endswith("windows/broken.yml")
        assert str(refused).endswith("broken.yml:2: YAML: did not find expected node content")
    assert [rule.name for rule in load(folder / "windows" / "good.yml").rules] == ["Good"]


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18 + b"x" * 50)
    (tmp_path / "text.txt").write_text("hello")
    for name in ("empty", "broken.zip", "text.txt", "missing.yml"):
        with pytest.raises(UnreadablePathError, match=name):
            load(tmp_path / name)


def test_archives_that_unpack_to_too_much_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.yml", "x: " + "y" * (2 << 20))
    monkeypatch.setattr(archives, "MOST_TOTAL", 20 << 20)
    with pytest.raises(UnreadablePathError, match="more than"):
        load(bomb)
    large = tmp_path / "large.tar"
    with tarfile.open(large, "w") as archive:
        entry = tarfile.TarInfo("skipped.bin")
        entry.size = 100 << 20
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    with pytest.raises(UnreadablePathError, match="unpacks to too much"):
        load(large)


def test_an_id_is_taken_once_and_a_name_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(GOOD.replace("title: Good", "title: Again"))
    (tmp_path / "c.yml").write_text(GOOD.replace("11111111-1", "33333333-3"))
    found = load(tmp_path)
    assert [rule.name for rule in found.rules] == ["Good", "Good (33333333)"]
    (refused,) = found.refused
    assert (refused.path, refused.reason) == ("b.yml", "the rule 'Good' has the same id")


def test_a_filter_changes_the_rules_that_it_names(folder: Path) -> None:
    (folder / "filter.yml").write_text(FILTER)
    good, second = sorted(load(folder).rules, key=lambda rule: rule.name)
    assert 'not(FolderPath endswith @"\\updater.exe")' in good.query
    assert "updater" not in second.query
    (folder / "filter.yml").write_text(FILTER.replace("[11111111-1111-4111-8111-111111111111]", "any"))
    assert all("updater" in rule.query for rule in load(folder).rules)


def test_a_correlation_refers_to_rules_of_other_files(tmp_path: Path) -> None:
    first, *others = BASE.split("---\n")
    (tmp_path / "failed.yml").write_text(first)
    (tmp_path / "others.yml").write_text("---\n".join(others))
    (tmp_path / "many.yml").write_text(correlation(COUNT))
    assert sorted(rule.name for rule in load(tmp_path).rules) == ["Account made", "Correlation", "Logon"]


def test_placeholders_come_from_a_file(tmp_path: Path) -> None:
    text = GOOD.replace("CommandLine|contains: whoami", "CommandLine|contains|expand: '%tools%'")
    (tmp_path / "rule.yml").write_text(text)
    values = tmp_path / "values.yaml"
    values.write_text("tools: [whoami, nltest]\nport: 443\n")
    assert load(tmp_path / "rule.yml").refused[0].field == "detection.sel.CommandLine|contains|expand"
    (rule,) = load(tmp_path / "rule.yml", read_placeholders(values)).rules
    assert 'contains "whoami" or ProcessCommandLine contains "nltest"' in rule.query
    values.write_text("tools:\n  a: b\n")
    with pytest.raises(UnreadablePathError, match="line 1: tools must be a value or a list"):
        read_placeholders(values)


def test_the_cache_gives_what_conversion_gave(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "state" / "cache.json"
    first = load(folder, cache=cache)
    converted: list[str] = []
    convert = Converter.convert

    def counted(self: Converter, files: list[File]) -> object:
        converted.extend(file.path for file in files)
        return convert(self, files)

    monkeypatch.setattr(Converter, "convert", counted)
    assert load(folder, cache=cache) == first
    assert converted == []
    (folder / "windows" / "second.yaml").write_text(SECOND.replace("whoami", "nltest"))
    assert "nltest" in load(folder, cache=cache).rules[1].query
    assert converted == ["windows/second.yaml"]
    # A filter bears on every file.
    (folder / "filter.yml").write_text(FILTER)
    assert "updater" in load(folder, cache=cache).rules[0].query


@pytest.mark.parametrize("change", [b"", b"{", b"[]", b'{"version":"x","entries":{}}'])
def test_a_damaged_cache_is_as_none(folder: Path, tmp_path: Path, change: bytes) -> None:
    cache = tmp_path / "cache.json"
    first = load(folder, cache=cache)
    kept = orjson.loads(cache.read_bytes())
    cache.write_bytes(change)
    assert load(folder, cache=cache) == first
    for entry in kept["entries"].values():
        entry["rules"] = [{"id": 5}]
    cache.write_bytes(orjson.dumps(kept))
    assert load(folder, cache=cache) == first
