"""Alerts of other products: read, put beside what our agents saw, kept current, and offered as indicators."""
