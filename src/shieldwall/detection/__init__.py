"""Indicators and how stored events are matched against them."""
