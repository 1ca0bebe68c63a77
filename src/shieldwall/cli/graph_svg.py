"""An incident's attack story as an SVG picture, laid out in layers from left to right.

A node stands one layer after the last of those that lead to it, so arrows go right; within a layer nodes are
ordered by where their neighbours stand. What does not fit is left out and said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from shieldwall.cli.graph_text import BAD, COLOURS

NODES_LIMIT = 150
"""Most nodes of one picture; alerts and their surroundings come first in time."""
PASSES = 8
WIDTH, HEIGHT = 190, 40
ACROSS, DOWN = 90, 16
MARGIN = 24
HEADER = 64
LETTERS = 23
SYMBOLS: Mapping[str, str] = {
    "device": "device",
    "user": "user",
    "process": "process",
    "file": "file",
    "ip": "address",
    "domain": "domain",
    "registry": "registry",
    "alert": "alert",
}


@dataclass(frozen=True)
class Placed:
    """A node of the story with the upper left corner of its box."""

    node: Mapping[str, Any]
    x: float
    y: float


def svg(story: Mapping[str, Any]) -> str:
    """The picture as a document of its own; at most ``NODES_LIMIT`` nodes."""
    nodes = story["nodes"][:NODES_LIMIT]
    names = {node["id"] for node in nodes}
    edges = [edge for edge in story["edges"] if edge["source"] in names and edge["target"] in names]
    placed = layout(nodes, edges)
    width = max((each.x + WIDTH for each in placed.values()), default=400) + MARGIN
    height = max((each.y + HEIGHT for each in placed.values()), default=HEADER) + MARGIN + 24
    width = max(width, 760)
    left_out = len(story["nodes"]) - len(nodes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L10 5L0 10z" fill="#6b7280"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(
            MARGIN, 26, f"Incident {story['incidentId']}: {story['incidentName']}"[:140], 15, weight="bold"
        ),
        _text(MARGIN, 45, _subtitle(story, left_out), 11, "#4b5563"),
    ]
    told: set[tuple[str, str]] = set()
    for edge in edges:
        name = (edge["target"], edge["kind"])
        parts.append(_arrow(placed[edge["source"]], placed[edge["target"]], edge, name not in told))
        told.add(name)
    parts += [_box(each) for each in placed.values()]
    parts += _legend(height - 14)
    return "\n".join([*parts, "</svg>"]) + "\n"


def layout(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> dict[str, Placed]:
    """Each node's place by its id."""
    layers = _ordered(_layers(nodes, edges), edges)
    by_id = {node["id"]: node for node in nodes}
    tallest = max((len(layer) for layer in layers), default=0)
    found: dict[str, Placed] = {}
    for number, layer in enumerate(layers):
        # Shorter layers stand in the middle.
        top = HEADER + (tallest - len(layer)) * (HEIGHT + DOWN) / 2
        for place, name in enumerate(layer):
            x, y = MARGIN + number * (WIDTH + ACROSS), top + place * (HEIGHT + DOWN)
            found[name] = Placed(by_id[name], x, y)
    return found


def _layers(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Ids by layer: each one after all that lead to it. Edges that close a circle are not looked at."""
    onward: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        onward[edge["source"]].append(edge["target"])
    level: dict[str, int] = {}
    state: dict[str, int] = {}
    order: list[str] = []
    for root in (node["id"] for node in nodes):
        if root in state:
            continue
        # Depth first, without recursion: a tree of processes may be deep.
        stack = [(root, iter(onward[root]))]
        state[root] = 1
        while stack:
            name, left = stack[-1]
            following = next(left, None)
            if following is None:
                stack.pop()
                state[name] = 2
                order.append(name)
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(onward[following])))
    place = {name: number for number, name in enumerate(reversed(order))}
    for name in reversed(order):
        level.setdefault(name, 0)
        for target in onward[name]:
            if place[target] > place[name]:
                level[target] = max(level.get(target, 0), level[name] + 1)
    # What nothing leads to, such as an alert, stands right before the first that it leads to.
    led = {edge["target"] for edge in edges}
    for node in nodes:
        if node["kind"] != "device" and node["id"] not in led and onward[node["id"]]:
            level[node["id"]] = min(level[target] for target in onward[node["id"]]) - 1
    first = min(level.values(), default=0)
    layers: list[list[str]] = [[] for _ in range(max(level.values(), default=first - 1) - first + 1)]
    for node in nodes:
        layers[level[node["id"]] - first].append(node["id"])
    return layers


def _ordered(layers: list[list[str]], edges: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Layers with their nodes near their neighbours, so that fewer arrows cross."""
    near: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        near[edge["source"]].append(edge["target"])
        near[edge["target"]].append(edge["source"])
    for turn in range(PASSES):
        for layer in layers if turn % 2 == 0 else reversed(layers):
            place = {name: number / max(len(each), 1) for each in layers for number, name in enumerate(each)}
            middle = {
                name: sum(place[other] for other in near[name]) / len(near[name])
                if near[name]
                else place[name]
                for name in layer
            }
            layer.sort(key=lambda name: middle[name])
    return layers


def _subtitle(story: Mapping[str, Any], left_out: int) -> str:
    parts = [
        story["severity"],
        f"{len(story['alerts'])} alerts",
        f"{story['firstActivity']} to {story['lastActivity']}",
    ]
    if left_out or story["truncated"]:
        parts.append(f"{left_out} more not shown" if left_out else "more not shown")
    return "   ".join(parts)


def _box(placed: Placed) -> str:
    node = placed.node
    line, fill = COLOURS[node["kind"]]
    bad = node["verdict"] in BAD
    label = node["label"]
    shown = label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}…"
    time = (node["time"] or "")[11:19]
    # A title is what a reader sees who points to the box: all that the box has no room for.
    whole = "\n".join(
        filter(None, (label, node["time"], node["verdict"], str(node["details"].get("commandLine") or "")))
    )
    return (
        f"<g><title>{_escaped(whole)}</title>"
        f'<rect x="{placed.x:.0f}" y="{placed.y:.0f}" width="{WIDTH}" height="{HEIGHT}" '
        f'rx="{2 if node["kind"] == "process" else 9}" fill="{fill}" stroke="{"#dc2626" if bad else line}" '
        f'stroke-width="{2.5 if bad else 1.2}"/>'
        + _text(placed.x + 8, placed.y + 17, shown, 11.5, weight="bold")
        + _text(placed.x + 8, placed.y + 32, f"{SYMBOLS[node['kind']]}  {time}", 9.5, line)
        + "</g>"
    )


def _arrow(source: Placed, target: Placed, edge: Mapping[str, Any], named: bool) -> str:
    """An edge, with its name at the tip unless that says nothing new."""
    right = target.x > source.x
    x1, y1 = source.x + (WIDTH if right else 0), source.y + HEIGHT / 2
    x2, y2 = target.x + (0 if right else WIDTH), target.y + HEIGHT / 2
    bend = max(40.0, abs(x2 - x1) / 2) * (1 if right else -1)
    path = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    strong = edge["kind"] == "loggedOnTo"
    colour = "#dc2626" if strong else "#9ca3af"
    told = _escaped(f"{edge['kind']} {edge['time'] or ''}".strip())
    drawn = (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{2 if strong else 1.1}" '
        f'marker-end="url(#tip)"><title>{told}</title></path>'
    )
    if not named or edge["kind"] in ("raisedOn", "ran", "started"):
        return drawn
    x, anchor = (x2 - 9, "end") if right else (x2 + 9, "start")
    return drawn + _text(x, y2 - 5, edge["kind"], 8.5, "#6b7280", anchor=anchor)


def _legend(y: float) -> list[str]:
    parts, x = [], float(MARGIN)
    for kind, (line, fill) in COLOURS.items():
        parts.append(
            f'<rect x="{x:.0f}" y="{y - 9:.0f}" width="11" height="11" fill="{fill}" stroke="{line}"/>'
            + _text(x + 16, y, SYMBOLS[kind], 10, "#374151")
        )
        x += 78
    return [*parts, _text(x, y, "red frame: suspicious or malicious", 10, "#dc2626")]


def _text(
    x: float, y: float, text: str, size: float, colour: str = "#111827", *, weight: str = "", anchor: str = ""
) -> str:
    more = (f' font-weight="{weight}"' if weight else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}"{more}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """What XML 1.0 cannot hold is left out: names of files come from attackers."""
    kept = "".join(
        each
        for each in text
        if each in "\n\t" or " " <= each < "\ud800" or "\ue000" <= each <= "\ufffd" or each > "\uffff"
    )
    return escape(kept, {'"': "&quot;"})
