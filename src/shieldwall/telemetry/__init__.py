"""Hunting tables in ClickHouse: their declaration, storage, ingestion and tenant-scoped reading."""
