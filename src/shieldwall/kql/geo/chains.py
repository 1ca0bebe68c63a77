"""Loops and lines put together of directed pieces, each where and as the shapes that it came from had it."""

from __future__ import annotations

from collections.abc import Mapping

from shieldwall.kql.geo.faces import Faces, Pair


def rotated(path: list[Pair], ids: Mapping[Pair, int]) -> list[Pair]:
    """A loop turned so that its piece with the highest number is the last one."""
    place, gap = 0, False
    for number in range(1, len(path)):
        difference = ids[path[number]] - ids[path[place]]
        if difference < 0:
            gap = True
        elif difference > 0 or not gap:
            place, gap = number, False
    place = (place + 1) % len(path)
    return path[place:] + path[:place]


def loops(faces: Faces, ids: Mapping[Pair, int]) -> list[list[int]]:
    """Simple loops of all the pieces, as numbers of points; where there is a choice they turn left."""
    left_turn: dict[Pair, Pair] = {pair: _left_turn(faces, pair, ids) for pair in ids}
    found: list[list[Pair]] = []
    for start in sorted(ids):
        path: list[Pair] = []
        places: dict[int, int] = {}
        pair = start
        while (after := left_turn.pop(pair, None)) is not None:
            places[pair[0]] = len(path)
            path.append(pair)
            begin = places.get(pair[1])
            if begin is not None:
                loop = path[begin:]
                del path[begin:]
                for piece in loop:
                    del places[piece[0]]
                found.append(rotated(loop, ids))
            pair = after
    found.sort(key=lambda loop: ids[loop[0]])
    return [[u for u, _ in loop] for loop in found if len(loop) > 2]


def _left_turn(faces: Faces, pair: Pair, ids: Mapping[Pair, int]) -> Pair:
    """The next piece of ``ids`` clockwise around the end of a piece."""
    u, v = pair
    around = faces.neighbours[v]
    place = around.index(u)
    for step in range(1, len(around) + 1):
        after = v, around[place - step]
        if after in ids:
            return after
    return v, u


def lines(pieces: Mapping[Pair, int], *, directed: bool = True) -> list[list[int]]:
    """Lines as long as there is no choice which way to go on, as numbers of points.

    Pieces that are not ``directed`` may be run through either way, rather the way that they have.
    """
    outgoing: dict[int, list[Pair]] = {}
    entering: dict[int, int] = {}
    order = sorted(pieces, key=lambda pair: (pieces[pair], pair))
    if not directed:
        order += [(v, u) for u, v in order]
    for pair in order:
        outgoing.setdefault(pair[0], []).append(pair)
        entering[pair[1]] = entering.get(pair[1], 0) + 1
    straight = 1 if directed else 2

    def inner(point: int) -> bool:
        return len(outgoing.get(point, ())) == straight == entering.get(point)

    used: set[Pair] = set()
    found: list[list[Pair]] = []

    def follow(pair: Pair) -> list[Pair]:
        path = [pair]
        while True:
            used.update((pair,) if directed else (pair, (pair[1], pair[0])))
            if not inner(pair[1]) or pair[1] == path[0][0]:
                return path
            after = next((other for other in outgoing[pair[1]] if other not in used), None)
            if after is None:
                return path
            path.append(after)
            pair = after

    for pair in order:
        if pair not in used and not inner(pair[0]):
            found.append(follow(pair))
    for pair in order:
        if pair not in used:
            found.append(rotated(follow(pair), {**{(v, u): _LAST for u, v in pieces}, **pieces}))
    found.sort(key=lambda path: pieces.get(path[0], _LAST))
    return [[path[0][0], *(end for _, end in path)] for path in found]


_LAST = 1 << 60
"""The number of a piece that runs the other way."""
