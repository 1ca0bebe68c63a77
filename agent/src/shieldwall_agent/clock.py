"""Kernel clocks as times of events. Every process of the agent must date a process's start alike."""

import os
import time
from functools import cache, lru_cache
from pathlib import Path

from shieldwall_agent.events import timestamp

TICKS = os.sysconf("SC_CLK_TCK")
_NANOSECONDS_A_TICK = 1_000_000_000 // TICKS


@cache
def boot_seconds() -> int:
    """When the machine was booted, in whole Unix seconds as the kernel itself counts process starts from."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise OSError("/proc/stat has no btime")


def ticks_of(nanoseconds: int) -> int:
    """Boot-clock nanoseconds as the clock ticks of /proc/PID/stat."""
    return nanoseconds // _NANOSECONDS_A_TICK


@lru_cache(maxsize=512)
def started(ticks: int) -> str:
    """When a process started, from the ticks in /proc/PID/stat."""
    return timestamp(boot_seconds() + ticks / TICKS)


def boot_to_unix() -> float:
    """What to add to boot-clock seconds now to get Unix seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
