"""Agents: enrolment, event batches, the message channel and action results."""
