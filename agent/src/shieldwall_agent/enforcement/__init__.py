"""Refusing executions, connections and names on the indicator list, and isolating the device."""
