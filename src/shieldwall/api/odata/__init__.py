"""OData query options: read into data, then compiled into SQLAlchemy expressions, never into text."""
