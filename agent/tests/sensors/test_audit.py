"""The kernel's audit against real processes."""

import os
from typing import Any

import pytest

from shieldwall_agent.sensors.audit import AuditNetlink
from shieldwall_agent.sensors.base import Surroundings, Unavailable

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_misses_no_short_process_and_restores_audit(kept: Any, nobody: Any) -> None:
    mechanism = AuditNetlink(Surroundings(kept), nobody, {"processes"})
    try:
        mechanism.start()
    except Unavailable as error:
        pytest.skip(str(error))
    before = mechanism._before
    try:
        # Only tasks that began after audit was enabled are told of.
        children = [os.posix_spawn("/bin/true", ["true", f"sw-audit {n}"], {}) for n in range(50)]
        for child in children:
            os.waitpid(child, 0)
        found = kept.wait(lambda event: "sw-audit" in event.get("ProcessCommandLine", ""), 50)
    finally:
        mechanism.stop()
    assert {event["ProcessId"] for event in found} == set(children)
    assert all(event["FileName"] == "true" and event["SHA256"] for event in found)
    again = AuditNetlink(Surroundings(kept), nobody, set(), executions=False)
    again.start()
    after = again._before
    again.stop()
    assert before
    assert after
    assert (after[1], after[3]) == (before[1], before[3])
