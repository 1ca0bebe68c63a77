"""Prometheus counters, one place so that names stay coherent; labels never carry user data."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

events = Counter("shieldwall_events", "Events by the stage they reached", ["stage", "table"])
"""Stages: what is ``received`` is ``stored``, ``rejected`` or ``failed`` (to come again); ``duplicate``
was stored before, ``matched`` touched an indicator, ``dropped`` is what agents say they lost."""
records = Counter(
    "shieldwall_source_records", "Records of other sensors by what they tell of", ["source", "kind", "stage"]
)
"""Kind is empty for records that went to SourceEvents alone."""
batches = Counter("shieldwall_batches", "Agent batches by outcome", ["outcome"])
ingest_pending = Gauge("shieldwall_ingest_pending_bytes", "Bytes accepted and not yet stored")
ingest_lag = Histogram(
    "shieldwall_ingest_lag_seconds",
    "From the oldest event of a batch to its storage",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600, 86400),
)
ingest_flush = Histogram("shieldwall_ingest_flush_seconds", "Time to store one group of batches")
hunts = Counter("shieldwall_hunts", "Hunting queries by outcome", ["outcome"])
"""Outcomes: answered, refused, throttled."""
alerts = Counter("shieldwall_alerts", "Alerts raised", ["source", "severity"])
requests = Counter("shieldwall_http_requests", "Requests by route and status", ["route", "status"])
request_seconds = Histogram("shieldwall_http_request_seconds", "Request time", ["route"])
agents_polling = Gauge("shieldwall_agents_polling", "Agents holding a long poll now")
actions = Counter("shieldwall_machine_actions", "Machine actions by type and status", ["type", "status"])
