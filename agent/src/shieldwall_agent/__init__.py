"""Shieldwall endpoint agent for Linux. Imports nothing of the server."""

__version__ = "0.1.0"
