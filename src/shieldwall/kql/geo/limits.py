"""Bounds of work."""


class TooMany(Exception):
    """There are more edges, points or cells than are worth the time."""
