"""The relational state: engine, sessions, tenant scope and migrations. Domain parts own their tables."""
