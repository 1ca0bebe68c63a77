"""Charts on a terminal, for queries that end in `render`."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.text import Text

Columns = list[tuple[str, str]]

_NUMBERS = ("int", "long", "real", "decimal")
_LINES = ("timechart", "linechart", "areachart", "stackedareachart", "scatterchart", "anomalychart")
_BARS = ("barchart", "columnchart", "piechart", "treemap")
_COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue", "white")
HEIGHT = 16


def draw(console: Console, columns: Columns, rows: list[list[Any]], chart: dict[str, Any]) -> bool:
    """Draw the rows as the chart says; False where they cannot be drawn so."""
    numbers = [place for place, (_, kind) in enumerate(columns) if kind in _NUMBERS]
    if not rows or not numbers:
        return False
    title = chart.get("properties", {}).get("title") or chart["kind"]
    if chart["kind"] == "card":
        console.print(Text(f"{columns[numbers[0]][0]}: {rows[0][numbers[0]]}", style="bold"))
        return True
    if chart["kind"] in _LINES:
        axis = next((place for place, (_, kind) in enumerate(columns) if kind == "datetime"), 0)
        _lines(console, str(title), columns, rows, axis)
        return True
    if chart["kind"] in _BARS:
        label = next((place for place in range(len(columns)) if place not in numbers), None)
        _bars(console, str(title), rows, label, numbers[-1])
        return True
    return False


def _bars(console: Console, title: str, rows: list[list[Any]], label: int | None, value: int) -> None:
    console.print(Text(title, style="bold"))
    values = [float(row[value] or 0) for row in rows]
    names = [str(row[label]) if label is not None else str(place) for place, row in enumerate(rows)]
    wide = min(max(map(len, names)), console.width // 3)
    most = max(*map(abs, values), 1e-300)
    room = max(10, console.width - wide - 16)
    for name, number in zip(names, values, strict=True):
        shown = "".join(letter if letter.isprintable() else "·" for letter in name)[:wide].rjust(wide)
        eighths = round(abs(number) / most * room * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        console.print(Text.assemble((shown, "cyan"), " ", (bar, "green"), f" {number:g}"), soft_wrap=True)


def _lines(console: Console, title: str, columns: Columns, rows: list[list[Any]], axis: int) -> None:
    """One line a series, of braille dots, two by four in a cell."""
    series = _series(columns, rows, axis)
    moments = sorted({str(row[axis]) for row in rows})
    place_of = {moment: place for place, moment in enumerate(moments)}
    values = [value for points in series.values() for _, value in points]
    low, high = min(0.0, *values), max(*values, 1e-300)
    width = max(20, console.width - 14)
    console.print(Text(title, style="bold"))
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for number, points in enumerate(series.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        dots: list[tuple[int, int]] = []
        for moment, value in sorted(points):
            across = round(place_of[moment] / max(1, len(moments) - 1) * (width * 2 - 1))
            up = round((value - low) / ((high - low) or 1) * (HEIGHT * 4 - 1))
            dots.append((across, HEIGHT * 4 - 1 - up))
        for x, y in _joined(dots):
            bits, _ = cells.get((x // 2, y // 4), (0, colour))
            cells[x // 2, y // 4] = (bits | _DOTS[y % 4][x % 2], colour)
    for row in range(HEIGHT):
        mark = f"{high - (high - low) * row / (HEIGHT - 1):>10.4g} ┤"
        line = Text(mark, style="dim")
        for column in range(width):
            bits, colour = cells.get((column, row), (0, ""))
            line.append(chr(0x2800 + bits) if bits else " ", style=colour)
        console.print(line, soft_wrap=True)
    ends = f"{moments[0][:19]}{moments[-1][:19]:>{max(1, width - 19)}}"
    console.print(Text(" " * 12 + ends, style="dim"), soft_wrap=True)
    for number, name in enumerate(series):
        console.print(Text.assemble(" " * 12, ("━━ ", _COLOURS[number % len(_COLOURS)]), name))


_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def _series(columns: Columns, rows: list[list[Any]], axis: int) -> dict[str, list[tuple[str, float]]]:
    """Points by the name of their line: a line for each number, and for each value of the other columns."""
    numbers = [p for p, (_, kind) in enumerate(columns) if kind in _NUMBERS and p != axis]
    others = [p for p in range(len(columns)) if p != axis and p not in numbers]
    series: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in rows:
        for place in numbers:
            names = [str(row[other]) for other in others]
            if len(numbers) > 1 or not names:
                names.append(columns[place][0])
            series[" ".join(names)].append((str(row[axis]), float(row[place] or 0)))
    return series


def _joined(dots: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The dots with those between neighbours."""
    found: list[tuple[int, int]] = dots[:1]
    for (x0, y0), (x1, y1) in pairwise(dots):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        found += [
            (x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps))
            for step in range(1, steps + 1)
        ]
    return found
