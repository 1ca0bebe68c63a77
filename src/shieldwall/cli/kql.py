"""`shieldwall kql`: check and lay out queries in files, for detections kept as code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

kql_commands = typer.Typer(help="Check and lay out queries in files.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(help="Files with one query each, or folders of *.kql files.")]


@kql_commands.command()
def check(files: Files) -> None:
    """Tell the mistakes of queries with line and column; exit with 1 where there is one.

    Example: shieldwall kql check detections/
    """
    from shieldwall.kql.checking import mistakes
    from shieldwall.telemetry.hunting import hunting_schema

    wrong = False
    for path in _each(files):
        for error in mistakes(_read(path), hunting_schema()):
            wrong = True
            typer.echo(f"{path}:{error.line}:{error.column}: {error.message}")
    if wrong:
        raise typer.Exit(1)


@kql_commands.command("format")
def lay_out(
    files: Files,
    only_check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 where a file would change.")
    ] = False,
) -> None:
    """Bring queries into one layout, in place; '-' reads standard input and writes standard output.

    Example: shieldwall kql format detections/
    """
    from shieldwall.kql.errors import KqlError
    from shieldwall.kql.layout import laid_out

    changed = False
    for path in _each(files):
        text = _read(path)
        try:
            result = laid_out(text)
        except KqlError as error:
            error.locate(text)
            raise typer.BadParameter(f"{path}:{error.line}:{error.column}: {error.message}") from None
        if str(path) == "-":
            sys.stdout.write(result)
        elif result != text:
            changed = True
            typer.echo(f"{'would change' if only_check else 'changed'} {path}")
            if not only_check:
                path.write_text(result, encoding="utf-8")
    if changed and only_check:
        raise typer.Exit(1)


def _each(files: list[Path]) -> Iterator[Path]:
    for path in files:
        if path.is_dir():
            yield from sorted(path.rglob("*.kql"))
        else:
            yield path


def _read(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from None
