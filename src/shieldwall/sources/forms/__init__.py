"""How records of each source are written: SQL over raw JSON lines, a module for each family of sensors."""
