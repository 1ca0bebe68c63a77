"""The form of a rule in the maps of the BPF programs: `struct rule` of their sources."""

import struct
import time

from shieldwall_agent.enforcement.policy import DENYING

MOST_RULES = 131_072  # in one map
RULE = struct.Struct("=QII")  # expires (ns since boot, 0 for never), number of the rule, action
ALLOW, AUDIT, DENY = 0, 1, 2


def packed(action: str, expires: float | None, number: int = 0) -> bytes:
    """`action` and `expires` are an indicator's; `number` comes back in the program's events."""
    answer = DENY if action in DENYING else AUDIT if action == "Audit" else ALLOW
    return RULE.pack(_since_boot(expires), number, answer)


def _since_boot(expires: float | None) -> int:
    """Unix seconds as nanoseconds since boot; 0 for never."""
    if expires is None:
        return 0
    return max(1, int((expires - time.time() + time.clock_gettime(time.CLOCK_BOOTTIME)) * 1e9))
