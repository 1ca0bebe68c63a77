"""An incident's attack story as text for graph tools: Mermaid and Graphviz DOT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Story = Mapping[str, Any]

COLOURS: Mapping[str, tuple[str, str]] = {
    "device": ("#1e3a5f", "#dbeafe"),
    "user": ("#5b21b6", "#ede9fe"),
    "process": ("#374151", "#f3f4f6"),
    "file": ("#92400e", "#fef3c7"),
    "ip": ("#065f46", "#d1fae5"),
    "domain": ("#065f46", "#d1fae5"),
    "registry": ("#6b21a8", "#f3e8ff"),
    "alert": ("#991b1b", "#fee2e2"),
}
"""Line and fill of each kind of node."""
BAD = ("Malicious", "Suspicious")

_SHAPES = {
    "device": ('[["', '"]]'),
    "user": ('(["', '"])'),
    "process": ('["', '"]'),
    "file": ('[/"', '"/]'),
    "ip": ('(("', '"))'),
    "domain": ('{{"', '"}}'),
    "registry": ('[("', '")]'),
    "alert": ('>"', '"]'),
}
_DOT_SHAPES = {
    "device": "box3d",
    "user": "oval",
    "process": "box",
    "file": "note",
    "ip": "circle",
    "domain": "hexagon",
    "registry": "cylinder",
    "alert": "octagon",
}


def mermaid(story: Story) -> str:
    """A Mermaid flowchart, in the order of the times."""
    names = _names(story)
    lines = ["flowchart LR"]
    for node in story["nodes"]:
        opened, closed = _SHAPES[node["kind"]]
        lines.append(f"  {names[node['id']]}{opened}{_safe(node['label'])}{closed}:::{node['kind']}")
    for edge in story["edges"]:
        text = _safe(edge["kind"])
        lines.append(f"  {names[edge['source']]} -->|{text}| {names[edge['target']]}")
    lines += [
        f"  classDef {kind} stroke:{line},fill:{fill},color:#111" for kind, (line, fill) in COLOURS.items()
    ]
    return "\n".join(lines) + "\n"


def dot(story: Story) -> str:
    """A Graphviz digraph, in the order of the times."""
    names = _names(story)
    title = _quoted(f"Incident {story['incidentId']}: {story['incidentName']}")
    lines = [
        "digraph incident {",
        f"  graph [rankdir=LR, label={title}, labelloc=t, fontname=Helvetica]",
        "  node [fontname=Helvetica, fontsize=10, style=filled]",
        "  edge [fontname=Helvetica, fontsize=8, color=gray40]",
    ]
    for node in story["nodes"]:
        line, fill = COLOURS[node["kind"]]
        pen = 2 if node["verdict"] in BAD else 1
        facts = f"label={_quoted(node['label'])}, shape={_DOT_SHAPES[node['kind']]}"
        told = _quoted(f"{node['kind']} {node['time'] or ''}".strip())
        lines.append(
            f"  {names[node['id']]} [{facts}, "
            f'color="{line}", fillcolor="{fill}", penwidth={pen}, tooltip={told}]'
        )
    for edge in story["edges"]:
        ends = f"{names[edge['source']]} -> {names[edge['target']]}"
        lines.append(f"  {ends} [label={_quoted(edge['kind'])}, tooltip={_quoted(edge['time'] or '')}]")
    return "\n".join([*lines, "}"]) + "\n"


def _names(story: Story) -> dict[str, str]:
    return {node["id"]: f"n{number}" for number, node in enumerate(story["nodes"])}


def _safe(text: str) -> str:
    """Text that Mermaid reads as nothing else, by its own entity codes."""
    return "".join(
        each if each.isalnum() or each in " ._-:/\\()@" else f"#{ord(each)};"
        for each in text
        if each.isprintable()
    )


def _quoted(text: str) -> str:
    plain = "".join(each for each in text if each.isprintable())
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
