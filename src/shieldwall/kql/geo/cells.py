"""S2 cells: six squares around the sphere, each divided into four again and again, on one curve."""

from __future__ import annotations

from math import ldexp, sqrt

from shieldwall.kql.geo.sphere import Point, unit

MAX_LEVEL = 30
_SIZE = 1 << MAX_LEVEL
_MASK = (1 << 64) - 1
_SWAP, _INVERT = 1, 2
_POSITION_TO_IJ = ((0, 1, 3, 2), (0, 2, 3, 1), (3, 2, 0, 1), (3, 1, 0, 2))
"""By orientation and position along the curve: which of the four children, as 2 i + j."""
_IJ_TO_POSITION = tuple(tuple(row.index(ij) for ij in range(4)) for row in _POSITION_TO_IJ)
_TURN = (_SWAP, 0, 0, _INVERT | _SWAP)
"""How the orientation changes in the child at a position."""


def face_of(point: Point) -> int:
    x, y, z = abs(point[0]), abs(point[1]), abs(point[2])
    axis = (0 if x > z else 2) if x > y else (1 if y > z else 2)
    return axis + 3 if point[axis] < 0 else axis


def face_frame(face: int) -> tuple[Point, Point, Point]:
    """The directions of u, of v and of the middle of a face."""
    return _FRAMES[face]


_FRAMES: tuple[tuple[Point, Point, Point], ...] = (
    ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    ((0, 0, -1), (0, -1, 0), (-1, 0, 0)),
    ((0, 0, -1), (1, 0, 0), (0, -1, 0)),
    ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
)


def _uv(face: int, point: Point) -> tuple[float, float]:
    x, y, z = point
    if face == 0:
        return y / x, z / x
    if face == 1:
        return -x / y, z / y
    if face == 2:
        return -x / z, -y / z
    if face == 3:
        return z / x, y / x
    if face == 4:
        return z / y, -x / y
    return -y / z, -x / z


def from_uv(face: int, u: float, v: float) -> Point:
    """Not of unit length."""
    return (
        (1.0, u, v),
        (-u, 1.0, v),
        (-u, -v, 1.0),
        (-1.0, -v, -u),
        (v, -1.0, -u),
        (v, u, -1.0),
    )[face]


def _st(u: float) -> float:
    """Where a line on a face lies when cells of a level are nearly of one size."""
    return 0.5 * sqrt(1 + 3 * u) if u >= 0 else 1 - 0.5 * sqrt(1 - 3 * u)


def line_at(st: float) -> float:
    """The other way round."""
    if st >= 0.5:
        return (1 / 3.0) * (4 * st * st - 1)
    return (1 / 3.0) * (1 - 4 * (1 - st) * (1 - st))


def leaf(point: Point) -> int:
    """The smallest cell that holds a point."""
    face = face_of(point)
    u, v = _uv(face, point)
    return from_ij(face, _step(u), _step(v))


def _step(u: float) -> int:
    # Rounded half to even below the middle of the square, as the nearest integer is.
    return max(0, min(_SIZE - 1, round(_SIZE * _st(u) - 0.5)))


def from_ij(face: int, i: int, j: int, level: int = MAX_LEVEL) -> int:
    """The cell of a level that holds a leaf."""
    number, orientation = face, face & _SWAP
    for bit in range(MAX_LEVEL - 1, MAX_LEVEL - 1 - level, -1):
        position = _IJ_TO_POSITION[orientation][((i >> bit & 1) << 1) | (j >> bit & 1)]
        number = number << 2 | position
        orientation ^= _TURN[position]
    return ((number << 1) | 1) << (2 * (MAX_LEVEL - level))


def level_of(cell: int) -> int:
    return MAX_LEVEL - ((cell & -cell).bit_length() - 1) // 2


def parent(cell: int, level: int) -> int:
    bit = 1 << (2 * (MAX_LEVEL - level))
    return (cell & -bit & _MASK) | bit


def face_ij(cell: int) -> tuple[int, int, int, int]:
    """The face of a cell, i and j of its corner nearest to the origin, and its level."""
    face, orientation, i, j = cell >> 61, (cell >> 61) & _SWAP, 0, 0
    level = level_of(cell)
    for bit in range(level):
        position = cell >> (59 - 2 * bit) & 3
        ij = _POSITION_TO_IJ[orientation][position]
        i, j = i << 1 | ij >> 1, j << 1 | ij & 1
        orientation ^= _TURN[position]
    return face, i << (MAX_LEVEL - level), j << (MAX_LEVEL - level), level


def bounds(cell: int) -> tuple[int, float, float, float, float]:
    """The face of a cell, and its least and greatest u and v."""
    face, i, j, level = face_ij(cell)
    size = 1 << (MAX_LEVEL - level)
    u0, u1, v0, v1 = (line_at(ldexp(step, -MAX_LEVEL)) for step in (i, i + size, j, j + size))
    return face, u0, u1, v0, v1


def corners(cell: int) -> list[Point]:
    """Counter-clockwise, from that with the least u and v."""
    face, u0, u1, v0, v1 = bounds(cell)
    return [unit(from_uv(face, u, v)) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))]


def centre(cell: int) -> Point:
    face, i, j, level = face_ij(cell)
    half = 0.5 * (1 << (MAX_LEVEL - level))
    return unit(from_uv(face, line_at(ldexp(i + half, -MAX_LEVEL)), line_at(ldexp(j + half, -MAX_LEVEL))))


def neighbours(cell: int) -> list[int]:
    """The cells of the same level that share an edge or a corner with a cell."""
    face, i, j, level = face_ij(cell)
    size = 1 << (MAX_LEVEL - level)
    below, above = j - size >= 0, j + size < _SIZE
    left, right = i - size >= 0, i + size < _SIZE
    around = (
        (i + size, j + size, above and right),
        (i - size, j - size, below and left),
        (i + size, j - size, below and right),
        (i, j - size, below),
        (i, j + size, above),
        (i + size, j, right),
        (i - size, j, left),
        (i - size, j + size, above and left),
    )
    found = [_wrapped(face, near_i, near_j, level, same) for near_i, near_j, same in around]
    return list(dict.fromkeys(found))


def _wrapped(face: int, i: int, j: int, level: int, same: bool) -> int:
    """The cell at i and j, which may lie beyond the edge of the face."""
    if same and 0 <= i < _SIZE and 0 <= j < _SIZE:
        return from_ij(face, i, j, level)
    i, j = max(-1, min(_SIZE, i)), max(-1, min(_SIZE, j))
    limit = 1.0 + 2.0**-52
    u = max(-limit, min(limit, 2.0 / _SIZE * (i - _SIZE // 2 + 0.5)))
    v = max(-limit, min(limit, 2.0 / _SIZE * (j - _SIZE // 2 + 0.5)))
    point = from_uv(face, u, v)
    other = face_of(point)
    u, v = _uv(other, point)
    return from_ij(other, _linear_step(u), _linear_step(v), level)


def _linear_step(u: float) -> int:
    return max(0, min(_SIZE - 1, round(_SIZE * 0.5 * (u + 1) - 0.5)))


def token(cell: int) -> str:
    return f"{cell:016x}".rstrip("0") or "X"


def from_token(text: str) -> int | None:
    """The cell that a token names, if it does."""
    if not 0 < len(text) <= 16 or not set(text) <= _DIGITS:
        return None
    cell = int(text.ljust(16, "0"), 16)
    lowest = cell & -cell
    valid = cell >> 61 < 6 and lowest & 0x1555555555555555
    return cell if valid else None


_DIGITS = frozenset("0123456789abcdefABCDEF")
