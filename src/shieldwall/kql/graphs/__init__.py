"""Graphs: their values, the patterns that are looked for in them, and the search, which runs in Python."""
