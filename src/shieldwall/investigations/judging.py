"""What an investigation thinks of a file, and what may be done about it. Data in, data out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MALICIOUS, SUSPICIOUS, CLEAN = "Malicious", "Suspicious", "NoThreatsFound"

COMMON_SHARE = 0.5
COMMON_DEVICES = 5
"""A file on so many devices, and on this share of all, is part of how things are there."""

_CORE = re.compile(r"/(usr|bin|sbin|lib\w*|boot|etc|opt)/")
_TEMP = re.compile(r"/(tmp|var/tmp|dev/shm|run/user|home/[^/]+/(Downloads|\.cache)|root/\.cache)/")


@dataclass(frozen=True)
class Facts:
    """All that is known of one file. ``severity`` is the highest of the alerts that name it as evidence."""

    path: str
    indicator: str | None = None
    """The action of the indicator that applies to it."""
    indicator_id: str | None = None
    detections: int = 0
    """How often antivirus found or refused it on the tenant's devices."""
    severity: str | None = None
    false_positive: bool = False
    """An analyst called an alert about it a false positive."""
    near: bool = False
    """It ran in the process tree of an alert."""
    devices: int = 0
    all_devices: int = 0


@dataclass(frozen=True)
class Judgement:
    verdict: str
    reasons: list[str] = field(default_factory=list)


def judge(facts: Facts) -> Judgement:
    """Indicators decide; then detections; then alerts and where and how rarely the file was seen."""
    if facts.indicator == "Allowed":
        return Judgement(CLEAN, [f"indicator {facts.indicator_id} allows it"])
    if facts.indicator in ("Block", "BlockAndRemediate", "Warn"):
        return Judgement(MALICIOUS, [f"indicator {facts.indicator_id} says {facts.indicator}"])
    if facts.false_positive:
        return Judgement(CLEAN, ["an analyst called an alert about it a false positive"])
    if facts.detections:
        return Judgement(MALICIOUS, [f"antivirus found it {facts.detections} times"])
    if facts.indicator == "Audit":
        return Judgement(SUSPICIOUS, [f"indicator {facts.indicator_id} says Audit"])
    return _by_circumstances(facts)


def _by_circumstances(facts: Facts) -> Judgement:
    seen = f"seen on {facts.devices} of {facts.all_devices} devices"
    common = facts.devices >= COMMON_DEVICES and facts.devices >= COMMON_SHARE * facts.all_devices
    if common:
        return Judgement(CLEAN, [seen])
    if is_core(facts.path):
        return Judgement(CLEAN, ["it lies in a folder of the system", seen])
    if facts.severity in ("High", "Medium"):
        return Judgement(SUSPICIOUS, [f"evidence of an alert of severity {facts.severity}", seen])
    if facts.near and is_temp(facts.path):
        return Judgement(SUSPICIOUS, ["ran from a folder for temporary files near an alert", seen])
    return Judgement(CLEAN, [seen])


def needs_approval(level: str, verdict: str, path: str) -> bool:
    """Whether remediation of such a file waits for somebody's approval."""
    if verdict != MALICIOUS or level == "all_folders":
        return True
    if level == "core_folders":
        return is_core(path)
    if level == "non_temp_folders":
        return not is_temp(path)
    return False


def is_core(path: str) -> bool:
    return bool(_CORE.match(path))


def is_temp(path: str) -> bool:
    return bool(_TEMP.match(path))


def final_state(actions: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """State and details of an investigation whose actions have all ended."""
    if not actions:
        return "Benign", "No threats were found."
    ended = [str(action["status"]) for action in actions]
    good = sum(status in ("Succeeded", "NotFound") for status in ended)
    told = ", ".join(f"{ended.count(status)} {status}" for status in dict.fromkeys(ended))
    if good == len(ended):
        return "SuccessfullyRemediated", told
    if good:
        return "PartiallyRemediated", told
    if "Failed" in ended:
        return "Failed", told
    return ("TerminatedBySystem" if "Expired" in ended else "TerminatedByUser"), told
