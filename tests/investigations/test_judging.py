"""What is thought of a file, and what is done about it without asking."""

from __future__ import annotations

from typing import Any

import pytest

from shieldwall.investigations.judging import Facts, final_state, judge, needs_approval


def verdict(path: str = "/opt/x/tool", **known: Any) -> str:
    return judge(Facts(path, **({"devices": 1, "all_devices": 20} | known))).verdict


def test_an_indicator_decides_whatever_else_is_known() -> None:
    assert verdict(indicator="Allowed", indicator_id="1", detections=9, severity="High") == "NoThreatsFound"
    for action in ("Block", "BlockAndRemediate", "Warn"):
        assert verdict(indicator=action, indicator_id="1", false_positive=True) == "Malicious"
    assert verdict(indicator="Audit", indicator_id="1") == "Suspicious"
    assert verdict(indicator="Audit", indicator_id="1", detections=1) == "Malicious"


def test_detections_decide_unless_an_analyst_knew_better() -> None:
    assert verdict(detections=2) == "Malicious"
    assert verdict(detections=2, false_positive=True) == "NoThreatsFound"


def test_rare_evidence_of_a_serious_alert_is_suspicious() -> None:
    assert verdict("/home/a/x", severity="High") == "Suspicious"
    assert verdict("/home/a/x", severity="Low") == "NoThreatsFound"
    assert verdict("/home/a/x", severity="High", devices=12) == "NoThreatsFound", "everybody has it"
    assert verdict("/home/a/x", severity="High", devices=4, all_devices=4) == "Suspicious", "a small network"
    assert verdict("/usr/bin/bash", severity="High") == "NoThreatsFound", "an interpreter is no evidence"


def test_what_ran_near_an_alert_from_a_temporary_folder_is_suspicious() -> None:
    for path in ("/tmp/x", "/dev/shm/a/b", "/home/me/Downloads/x"):
        assert verdict(path, near=True) == "Suspicious"
        assert verdict(path) == "NoThreatsFound"
    assert verdict("/home/me/bin/x", near=True) == "NoThreatsFound"


@pytest.mark.parametrize(
    ("level", "core", "temp", "other"),
    [
        ("full", False, False, False),
        ("core_folders", True, False, False),
        ("non_temp_folders", True, False, True),
        ("all_folders", True, True, True),
    ],
)
def test_the_levels_say_what_waits_for_approval(level: str, core: bool, temp: bool, other: bool) -> None:
    paths = ("/usr/bin/x", "/tmp/x", "/home/a/x")
    assert [needs_approval(level, "Malicious", path) for path in paths] == [core, temp, other]
    assert all(needs_approval(level, "Suspicious", path) for path in paths)


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ([], "Benign"),
        (["Succeeded", "NotFound"], "SuccessfullyRemediated"),
        (["Succeeded", "Rejected"], "PartiallyRemediated"),
        (["Failed", "Rejected"], "Failed"),
        (["Rejected"], "TerminatedByUser"),
        (["Expired", "Rejected"], "TerminatedBySystem"),
    ],
)
def test_an_investigation_ends_as_its_actions_did(ended: list[str], state: str) -> None:
    assert final_state([{"status": status} for status in ended])[0] == state
