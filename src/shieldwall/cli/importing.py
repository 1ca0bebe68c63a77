"""`shieldwall import`: recordings of other sensors, from files to the server's hunting tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

PROBLEMS_SHOWN = 20
BODY_BYTES = 8 << 20
"""The server's own bound on a body."""

Kinds = Counter[tuple[str, str, str, str]]


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="EVTX, JSON, logs of Zeek or auditd, XML events; zip, tar, gzip or zstd of them; folders.",
            exists=True,
            show_default=False,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Machine of records that name none; by default the sensor's name.")
    ] = "",
) -> None:
    """Import recordings; their formats and sensors are found out. What was stored before is not stored again.

    The server must be running. Records that are no hunting table's go to SourceEvents alone.

    Example: shieldwall import Security.evtx zeek-logs/ dataset.zip
    """
    from shieldwall.cli.client import LocalClient
    from shieldwall.settings import Settings
    from shieldwall.sources.reading.account import Account

    client = LocalClient(Settings.load(), timeout=600)
    account = Account()
    totals: Counter[str] = Counter()
    kinds: Kinds = Counter()
    reasons: Counter[str] = Counter()
    for answer in _sent(client, files, host, account):
        totals.update({key: answer[key] for key in ("received", "stored", "duplicates", "rejected")})
        for kind in answer["kinds"]:
            table = kind["tables"][-1]
            kinds[kind["source"], kind["kind"], kind["channel"] if not kind["kind"] else "", table] += kind[
                "count"
            ]
        for reason in answer["reasons"]:
            reasons[reason["reason"]] += reason["count"]
    _show(account, totals, kinds, reasons)
    if account.records and not totals["stored"] and not totals["duplicates"]:
        raise typer.Exit(1)


def _sent(client: Any, files: Iterable[Path], host: str, account: Any) -> Iterable[dict[str, Any]]:
    """The server's answer to each block of records, while a bar tells how far it is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from shieldwall.sources.reading.recordings import read

    paths = list(files)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("files · {task.fields[records]:,} records"), TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("importing", total=len(paths), records=0)
        for block in read(paths, account):
            for body in _bodies(block.payload):
                encoding = {"Content-Encoding": "zstd"}
                yield client.send(f"/ingest/{block.source}", body, encoding, {"host": host} if host else {})
            progress.update(task, completed=account.paths, records=account.records)


def _bodies(payload: bytes) -> Iterator[bytes]:
    """The lines compressed, in as many parts as the server's bound asks for."""
    import zstandard

    body = zstandard.compress(payload, 1)
    cut = payload.find(b"\n", len(payload) // 2)
    if len(body) <= BODY_BYTES or cut < 0:
        yield body
        return
    yield from _bodies(payload[:cut])
    yield from _bodies(payload[cut + 1 :])


def _show(account: Any, totals: Counter[str], kinds: Kinds, reasons: Counter[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from shieldwall.cli.query import harmless

    console = Console(highlight=False)
    if kinds:
        table = Table("source", "kind of event", "table")
        table.add_column("records", justify="right")
        for (source, kind, channel, target), count in kinds.most_common():
            table.add_row(source, harmless(kind or channel or "-"), target, f"{count:,}")
        console.print(table)
    console.print(
        f"{account.files:,} files, {account.records:,} records: {totals['stored']:,} stored, "
        f"{totals['duplicates']:,} stored before, {totals['rejected']:,} rejected"
    )
    for reason, count in reasons.most_common():
        console.print(f"  rejected {count:,}: {reason}; `shieldwall rejects list` shows them")
    if account.skipped:
        console.print(f"passed over, not of a known format: {len(account.skipped):,} files")
        for name in account.skipped[:PROBLEMS_SHOWN]:
            console.print("  ", harmless(name), sep="")
    for problem in account.problems[:PROBLEMS_SHOWN]:
        console.print("damaged: ", harmless(f"{problem.file}: {problem.text}"), sep="")
    if len(account.problems) > PROBLEMS_SHOWN:
        console.print(f"and {len(account.problems) - PROBLEMS_SHOWN:,} more")
