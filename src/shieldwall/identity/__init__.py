"""Tenants, applications, their secrets and tokens, and the audit log."""
