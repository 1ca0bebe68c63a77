"""Automated investigations: what a device's alerts touched, judged, and what is done about it."""
