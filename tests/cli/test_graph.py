"""Attack stories written as Mermaid, DOT, SVG and as a tree."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.console import Console

from shieldwall.cli.graph_svg import HEIGHT, NODES_LIMIT, WIDTH, layout, svg
from shieldwall.cli.graph_text import dot, mermaid
from shieldwall.cli.incident import story_tree

HOSTILE = 'a"]; click "x\n</title><script>alert(1)</script> \x00\ud800 [bold]&amp;'


def node(name: str, kind: str = "process", **more: Any) -> dict[str, Any]:
    values = {
        "id": name,
        "kind": kind,
        "label": name,
        "time": "2026-01-02T03:04:05Z",
        "verdict": None,
        "alertIds": ["1"],
        "details": {},
    }
    return values | more


def edge(source: str, target: str, kind: str = "started") -> dict[str, Any]:
    return {"source": source, "target": target, "kind": kind, "time": None, "alertId": "1"}


def a_story(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> dict[str, Any]:
    alert = {
        "alertId": "1",
        "title": HOSTILE.replace("\ud800", ""),
        "severity": "High",
        "computerDnsName": None,
        "machineId": None,
        "firstActivity": "2026-01-02T03:04:05Z",
        "movedBy": "ann",
        "reasons": [{"alertId": "1", "score": 1.0, "shared": [{"kind": "file", "value": "x", "score": 1.0}]}],
    }
    return {
        "incidentId": 7,
        "incidentName": HOSTILE,
        "severity": "High",
        "status": "Active",
        "firstActivity": "2026-01-02T03:04:05Z",
        "lastActivity": "2026-01-02T03:04:05Z",
        "alerts": [alert],
        "nodes": nodes,
        "edges": edges,
        "truncated": False,
    }


CHAIN = a_story(
    [
        node("pc", "device"),
        node("sh"),
        node("evil", verdict="Malicious"),
        node("1.2.3.4", "ip"),
        node("alert", "alert"),
    ],
    [
        edge("pc", "sh", "ran"),
        edge("sh", "evil"),
        edge("evil", "1.2.3.4", "connectedTo"),
        edge("alert", "evil"),
    ],
)


def test_arrows_go_right_and_an_alert_stands_before_what_it_is_about() -> None:
    placed = layout(CHAIN["nodes"], CHAIN["edges"])
    assert placed["pc"].x < placed["sh"].x < placed["evil"].x < placed["1.2.3.4"].x
    assert placed["alert"].x == placed["sh"].x


def test_no_two_boxes_overlap_even_where_the_graph_has_a_circle() -> None:
    names = [f"n{number}" for number in range(60)]
    edges = [edge(names[n], names[(n * 7 + 3) % 60]) for n in range(60)] + [
        edge("n0", "n0"),
        edge("n5", "n4"),
    ]
    placed = list(layout([node(name) for name in names], edges).values())
    assert len(placed) == 60
    for number, one in enumerate(placed):
        for other in placed[number + 1 :]:
            assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT


def test_a_picture_is_bounded_and_says_what_it_leaves_out() -> None:
    nodes = [node(f"n{number}") for number in range(NODES_LIMIT + 25)]
    edges = [edge(f"n{number}", f"n{number + 1}") for number in range(NODES_LIMIT + 24)]
    drawn = svg(a_story(nodes, edges))
    assert "25 more not shown" in drawn
    assert drawn.count("<g>") == NODES_LIMIT


@pytest.mark.parametrize("kind", ["device", "user", "process", "file", "ip", "domain", "registry", "alert"])
def test_names_that_attackers_chose_stay_text(kind: str) -> None:
    story = a_story([node("a", kind, label=HOSTILE), node("b")], [edge("a", "b")])
    root = ET.fromstring(svg(story))
    assert not [each for each in root.iter() if each.tag.endswith("script")]
    text = mermaid(story)
    assert len(text.splitlines()) == 4 + 8
    assert "script>" not in text
    assert '"]; click' not in text
    written = dot(story)
    assert '\\"]; click' in written
    assert written.count("\n") == 4 + 2 + 1 + 1


def test_empty_stories_are_drawn() -> None:
    nothing = a_story([], [])
    ET.fromstring(svg(nothing))
    assert mermaid(nothing).startswith("flowchart LR\n")
    assert dot(nothing).endswith("}\n")


def test_the_tree_shows_each_alert_with_its_reason() -> None:
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(story_tree(CHAIN))
    text = captured.get()
    assert "[bold]" in text, "names are no markup"
    assert "by file x" in text
    assert "put here by ann" in text
    assert "process evil" in text
