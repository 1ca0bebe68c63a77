"""EVTX files through the evtx package: what can be read of damaged ones, and an account of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import evtx

from shieldwall.sources.reading.account import Account

MAGIC = b"ElfFile\x00"
DAMAGES_IN_A_ROW = 1000
"""After as many failures with nothing read between them, the rest of a file is given up."""


def lines(path: Path, name: str, account: Account) -> Iterator[bytes]:
    """Each record as a line of JSON; damages are put into the account."""
    try:
        parser = evtx.PyEvtxParser(str(path), number_of_threads=1)
        records = iter(parser.records_json())
    except (RuntimeError, OSError, ValueError) as error:
        account.problem(name, f"cannot be opened as EVTX: {_short(error)}")
        return
    damages, in_a_row, why = 0, 0, ""
    while in_a_row < DAMAGES_IN_A_ROW:
        try:
            record = next(records, None)
        except (RuntimeError, OSError, ValueError) as error:
            damages, in_a_row, why = damages + 1, in_a_row + 1, why or _short(error)
            continue
        if record is None:
            break
        in_a_row = 0
        yield record["data"].encode("utf-8", "replace").replace(b"\n", b"\\n")
    if damages:
        account.damaged += damages
        account.problem(name, f"{damages} damaged records or chunks, the first: {why}")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
