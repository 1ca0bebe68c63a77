"""What the agent itself has logged, and how it is: for those who look into the agent's own troubles."""

import json
from collections.abc import Iterable
from pathlib import Path

from shieldwall_agent import status
from shieldwall_agent.config import State
from shieldwall_agent.responses.package_items import Item, Output

_JOURNAL = (
    "journalctl",
    "--unit",
    "shieldwall-agent",
    "--lines",
    "50000",
    "--no-pager",
    "--output",
    "short-iso",
)


def items(folder: Path) -> Iterable[Item]:
    """`folder` is the agent's state folder."""

    def health() -> Output:
        return Output(json.dumps(status.collect(State(folder)), indent=1, default=str).encode())

    def files() -> Output:
        lines = [
            f"{path.stat().st_size:>12} {path.relative_to(folder)}"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return Output("\n".join(lines).encode())

    return (
        Item("Status.json", health, "shieldwall-agent status"),
        Item("State folder.txt", files, "sizes of the files in the state folder"),
        Item("Journal.txt", _JOURNAL, " ".join(_JOURNAL)),
        Item("Kernel.txt", ("dmesg", "--ctime"), "dmesg"),
    )
