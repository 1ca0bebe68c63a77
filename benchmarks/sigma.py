"""Sigma: how long a rule set takes to load, and whether a plain evaluator finds the same in recordings.

Without a path, a generated rule set is loaded, cold and from the cache, beside pySigma alone reading it. With
recordings (folders of EVTX files), every rule runs on every event of its log source here and in the tests'
plain evaluator; differences are listed one by one. A folder with ``info.yml`` beside a recording names the
rule that must fire on it.

Example: python -m benchmarks.sigma --rules rules.zip --events recordings --regression regression
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import yaml
from sigma.rule import SigmaRule

from benchmarks.sigma_recordings import Recordings, expected, listed_differences
from benchmarks.stores import stores
from shieldwall.detection.sigma.archives import read
from shieldwall.detection.sigma.cache import Cache
from shieldwall.detection.sigma.conversion import Converted
from shieldwall.detection.sigma.importing import convert_files
from shieldwall.detection.sigma.parsing import File
from shieldwall.detection.sigma.refusals import NO_LOG_SOURCE
from shieldwall.identity.models import Tenant
from shieldwall.state.engine import Database
from shieldwall.times import now

GENERATED = 2600
GROUPS = {
    "process creation": ("process_creation",),
    "network": ("network_connection", "dns_query"),
    "file": ("file_",),
    "registry": ("registry_",),
    "image load": ("image_load", "driver_load"),
    "PowerShell": ("ps_", "powershell"),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", type=Path, help="rules: a folder, an archive, or JSON lines")
    parser.add_argument("--events", type=Path, help="a folder of EVTX files")
    parser.add_argument("--regression", type=Path, help="folders with a recording and info.yml each")
    arguments = parser.parse_args()
    files = rule_files(arguments.rules) if arguments.rules else generated(GENERATED)
    converted = timed(files)
    if arguments.rules:
        shares(files, converted)
    failed = 0
    if arguments.events or arguments.regression:
        with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as (store, database, tenant):
            if arguments.regression:
                failed |= expected(Recordings(store, database, tenant), arguments.regression, converted)
            if arguments.events:
                other = Recordings(store, database, another_tenant(database))
                failed |= listed_differences(other, arguments.events, files, converted)
    return failed


def another_tenant(database: Database) -> str:
    tenant = str(uuid4())
    with database.system_session() as session:
        session.add(Tenant(id=tenant, name=tenant, created_time=now()))
    return tenant


def rule_files(path: Path) -> list[File]:
    if path.suffix == ".jsonl":
        rows = map(json.loads, path.read_text().splitlines())
        return [File(row["path"], row["yaml"].encode()) for row in rows]
    return read(path)[0]


def generated(count: int) -> list[File]:
    """Rules of the size of public ones: process creation, with lists and filters."""
    files = []
    for number in range(count):
        listed = "\n".join(f"            - ' --option{number}-{place}'" for place in range(8))
        text = (
            f"title: Generated {number}\nid: 00000000-0000-4000-8000-{number:012}\nstatus: test\n"
            "logsource:\n    product: windows\n    category: process_creation\ndetection:\n    img:\n"
            f"        - Image|endswith: '\\tool{number}.exe'\n        - OriginalFileName: tool{number}.exe\n"
            f"    cli:\n        CommandLine|contains:\n{listed}\n    filter:\n"
            f"        ParentImage: 'C:\\Program Files\\Vendor{number}\\\\*'\n"
            "    condition: all of img and 1 of cli and not filter\nlevel: medium\n"
        )
        files.append(File(f"{number}.yml", text.encode()))
    return files


def timed(files: list[File]) -> Converted:
    began = time.monotonic()
    for file in files:
        try:
            rule = SigmaRule.from_dict(yaml.load(file.content, yaml.CSafeLoader))
            for condition in rule.detection.parsed_condition:
                _ = condition.parsed
        except Exception:
            # What pySigma cannot read costs it time as well.
            continue
    baseline = time.monotonic() - began
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cache.json")
        began = time.monotonic()
        converted = convert_files(files, cache=Cache(path))
        cold = time.monotonic() - began
        began = time.monotonic()
        again = convert_files(files, cache=Cache(path))
        warm = time.monotonic() - began
    assert again == converted
    print(f"{len(files):,} rules: {len(converted.rules):,} converted, {len(converted.refused):,} refused")
    print(f"pySigma reading them alone  {baseline:6.2f} s")
    print(f"cold, KQL compiled          {cold:6.2f} s  {cold / baseline:5.2f} times that")
    print(f"from the cache              {warm:6.2f} s  {warm / baseline:5.2f} times that")
    return converted


def shares(files: list[File], converted: Converted) -> None:
    """How much of each kind of log source converts, and why the rest does not."""
    refused = {item.path for item in converted.refused}
    counts: dict[str, Counter[bool]] = {}
    for file in files:
        source = yaml.load(file.content, yaml.CSafeLoader).get("logsource", {})
        counts.setdefault(group_of(source), Counter())[file.path not in refused] += 1
    print("\nshare of rules that convert and compile")
    for name, found in sorted(counts.items(), key=lambda item: -item[1].total()):
        print(f"  {name:<34} {found[True]:>5} of {found.total():>5}  {found[True] / found.total():6.1%}")
    reasons = Counter(
        item.reason if item.kind == NO_LOG_SOURCE else f"{item.kind}: {item.reason}"
        for item in converted.refused
    )
    print("\nreasons for the rest")
    for reason, count in reasons.most_common():
        print(f"  {count:>5}  {reason[:150]}")


def group_of(source: dict[str, str]) -> str:
    product, name = str(source.get("product")), str(source.get("category") or source.get("service"))
    if product == "linux":
        return "Linux"
    if product in ("zeek",) or (product == "None" and name in ("dns", "firewall")):
        return "network sensors"
    if product != "windows":
        return "other products"
    for group, prefixes in GROUPS.items():
        if name.startswith(prefixes):
            return group
    return "Windows, other"


if __name__ == "__main__":
    sys.exit(main())
