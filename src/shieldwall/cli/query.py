"""`shieldwall query`: hunt from the command line."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shieldwall.settings import Settings


class Format(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def query(
    text: Annotated[
        str, typer.Argument(help="The query in KQL; '-' reads it from standard input.", show_default=False)
    ] = "-",
    form: Annotated[
        Format, typer.Option("--format", "-f", help="How to show the result.", case_sensitive=False)
    ] = Format.table,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the result.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the SQL and run nothing.")] = False,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help='Read {"id", "query"} lines from standard input, write a JSON line for each: '
            '{"id", "columns", "rows"} or {"id", "error"}.',
        ),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data folder of a server that is not running, to read it directly."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Tenant id, with --data.", show_default=False)] = "",
) -> None:
    """Run a hunting query on the server of this machine, with a chart where the query ends in `render`.

    With --batch, queries run over an empty store unless --data names one: for tests of detections.

    Example: shieldwall query 'DeviceProcessEvents | summarize count() by FileName | top 10 by count_'
    """
    if batch:
        _batch(data, tenant)
        return
    if text == "-":
        text = sys.stdin.read()
    if explain:
        _explain(text)
        return
    with _progress():
        columns, rows, chart = _local(text, data, tenant) if data else _remote(text)
    _write(columns, rows, chart, form, output)


Rows = list[list[Any]]
Columns = list[tuple[str, str]]
Result = tuple[Columns, Rows, dict[str, Any] | None]


def _explain(text: str) -> None:
    from shieldwall.errors import ApiError
    from shieldwall.telemetry.hunting import compiled

    try:
        typer.echo(compiled(text).explain())
    except ApiError as error:
        raise typer.BadParameter(error.message) from None


def _remote(text: str) -> Result:
    """The result from the server, with the types and the chart that compiling tells."""
    from shieldwall.cli.client import LocalClient
    from shieldwall.errors import ApiError
    from shieldwall.kql.types import FROM_NET
    from shieldwall.telemetry.hunting import compiled

    try:
        chart = compiled(text).chart
    except ApiError:
        chart = None
    answer = LocalClient(Settings.load(), timeout=600).post("/api/advancedqueries/run", {"Query": text})
    columns = [(column["Name"], FROM_NET.get(column["Type"], "string")) for column in answer["Schema"]]
    rows = [[row[name] for name, _ in columns] for row in answer["Results"]]
    return columns, rows, chart


def _local(text: str, data: Path, tenant: str) -> Result:
    from shieldwall.errors import ApiError

    with _hunting(data) as hunting:
        try:
            with hunting.hunt(_tenant(data, tenant), text, hunting.limits) as hunt:
                return hunt.columns, _shown(hunt.columns, hunt.rows), hunt.chart
        except ApiError as error:
            raise typer.BadParameter(error.message) from None


def _tenant(data: Path | None, tenant: str) -> str:
    from shieldwall.cli import quickstart

    if tenant or data is None:
        return tenant or "00000000-0000-4000-8000-000000000000"
    ready = quickstart.load(Settings(data=data))
    if ready is None:
        raise typer.BadParameter("name the tenant with --tenant")
    return ready.tenant_id


@contextmanager
def _hunting(data: Path | None) -> Iterator[Any]:
    """Hunting over a data folder, or over an empty store."""
    from dataclasses import replace

    from shieldwall.telemetry.hunting import Hunting
    from shieldwall.telemetry.store import TelemetryStore

    with tempfile.TemporaryDirectory(prefix="shieldwall-") as scratch:
        settings = replace(Settings.load(), data=data or Path(scratch))
        store = TelemetryStore.open(settings)
        try:
            yield Hunting.build(store, settings) if data else Hunting(store, external=_nothing)
        finally:
            store.close()


def _nothing(*_: Any) -> Rows:
    """What externaldata reads over an empty store."""
    return []


def _shown(columns: Columns, rows: Iterator[list[Any]]) -> Rows:
    from shieldwall.kql.plan import wire_value

    return [[wire_value(kind, value) for (_, kind), value in zip(columns, row, strict=True)] for row in rows]


def _batch(data: Path | None, tenant: str) -> None:
    from shieldwall.errors import ApiError
    from shieldwall.telemetry.hunting import WrongQuery

    with _hunting(data) as hunting:
        owner = _tenant(data, tenant)
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                case = json.loads(line)
                name, text = case["id"], case["query"]
            except (ValueError, KeyError, TypeError):
                raise typer.BadParameter(f'not a line of {{"id", "query"}}: {line[:80]!r}') from None
            answer: dict[str, Any] = {"id": name}
            try:
                with hunting.hunt(owner, text, hunting.limits) as hunt:
                    answer["rows"] = _shown(hunt.columns, hunt.rows)
                    answer["columns"] = [{"name": column, "type": kind} for column, kind in hunt.columns]
            except WrongQuery as error:
                answer["error"] = {"message": error.plain, "line": error.line, "column": error.column}
            except ApiError as error:
                answer["error"] = {"message": error.message, "line": 0, "column": 0}
            typer.echo(json.dumps(answer, ensure_ascii=False))
            sys.stdout.flush()


@contextmanager
def _progress() -> Iterator[None]:
    """A line with the seconds that have passed, on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with Progress(
        SpinnerColumn(), TextColumn("hunting"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        progress.add_task("hunting", total=None)
        yield


def _write(
    columns: Columns, rows: Rows, chart: dict[str, Any] | None, form: Format, output: Path | None
) -> None:
    if form is Format.parquet:
        if output is None:
            raise typer.BadParameter("--format parquet needs --output FILE")
        _parquet(columns, rows, output)
        return
    if form is Format.table and output is None:
        _show(columns, rows, chart)
        return
    writers: dict[Format, Callable[[Columns, Rows, Any], None]] = {Format.json: _json, Format.csv: _csv}
    write = writers.get(form, _csv)
    if output is None:
        write(columns, rows, sys.stdout)
    else:
        with output.open("w", newline="", encoding="utf-8") as file:
            write(columns, rows, file)


def _json(columns: Columns, rows: Rows, file: Any) -> None:
    names = [name for name, _ in columns]
    for row in rows:
        file.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")


def _csv(columns: Columns, rows: Rows, file: Any) -> None:
    import csv

    writer = csv.writer(file)
    writer.writerow([name for name, _ in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parquet(columns: Columns, rows: Rows, output: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {
        "int": pyarrow.int32(),
        "long": pyarrow.int64(),
        "real": pyarrow.float64(),
        "bool": pyarrow.bool_(),
    }
    arrays = []
    for place, (_, kind) in enumerate(columns):
        values = [row[place] for row in rows]
        if kind == "datetime":
            arrays.append(pyarrow.array(values, pyarrow.string()).cast(pyarrow.timestamp("ns", "UTC")))
        elif kind in types:
            arrays.append(pyarrow.array([_number(value) for value in values], types[kind]))
        else:
            arrays.append(pyarrow.array([None if value is None else _cell(value) for value in values]))
    table = pyarrow.Table.from_arrays(arrays, names=[name for name, _ in columns])
    pyarrow.parquet.write_table(table, output, compression="zstd")


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def _show(columns: Columns, rows: Rows, chart: dict[str, Any] | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from shieldwall.cli.chart import draw

    console = Console(highlight=False)
    if chart and draw(console, columns, rows, chart):
        return
    table = Table()
    for name, _ in columns:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(harmless(_cell(value)) for value in row))
    console.print(table)
    console.print(f"{len(rows)} row{'s' * (len(rows) != 1)}")


def harmless(text: str) -> Any:
    """A device's words on a terminal: no markup, and nothing that the terminal would obey."""
    from rich.text import Text

    return Text("".join(letter if letter.isprintable() else "·" for letter in text))
