"""Devices: who they are, how they enrolled, what they last said of themselves."""
