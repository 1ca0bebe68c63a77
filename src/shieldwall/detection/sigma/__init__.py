"""Sigma rules as rules of ours: read, converted to KQL, checked against the hunting tables."""
