"""What is done about the files that an investigation judged. Data in, data out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shieldwall.investigations.judging import CLEAN, needs_approval
from shieldwall.investigations.levels import NONE
from shieldwall.response.kinds import STOP_AND_QUARANTINE

GROWTH = 10
"""An entity that drags in so many devices waits for approval on all that it drags in."""
WAITING = "PendingApproval"


def planned(
    findings: Iterable[Mapping[str, Any]], actions: Sequence[dict[str, Any]], levels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """``actions`` with those added that ``findings`` call for; ``levels`` are of the devices by their ids.

    One file is remediated once on each device, and again only when another alert tells of it afterwards.
    """
    findings = [item for item in findings if item["verdict"] != CLEAN and item["sha1"]]
    dragged: dict[str, int] = {}
    for item in findings:
        dragged[item["sha1"]] = dragged.get(item["sha1"], 0) + bool(item["elsewhere"])
    done = {(action["sha1"], action["machineId"]): action for action in actions}
    wanted = list(actions)
    for item in findings:
        level = levels.get(item["machineId"], NONE)
        if level == NONE or not _is_new(item, done.get((item["sha1"], item["machineId"]))):
            continue
        # Where a file lies on a device that no alert tells of is not known, and so neither is its folder.
        waits = needs_approval(level, item["verdict"], item["path"]) or (
            item["elsewhere"] and (level != "full" or dragged[item["sha1"]] >= GROWTH)
        )
        wanted.append(
            {
                "number": len(wanted) + 1,
                "type": STOP_AND_QUARANTINE,
                "machineId": item["machineId"],
                "sha1": item["sha1"],
                "sha256": item["sha256"],
                "path": item["path"],
                "verdict": item["verdict"],
                "alerts": item["alerts"],
                "status": WAITING if waits else "Approved",
                "decidedBy": None,
                "machineActionId": None,
            }
        )
        done[item["sha1"], item["machineId"]] = wanted[-1]
    return wanted


def _is_new(item: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    if before is None:
        return True
    return before["status"] not in (WAITING, "Approved") and not set(item["alerts"]) <= set(before["alerts"])
