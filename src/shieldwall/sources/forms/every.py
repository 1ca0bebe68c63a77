"""Every form by the name that ``POST /ingest/{source}`` has for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shieldwall.sources.forms.form import Form
from shieldwall.sources.forms.generic import GENERIC
from shieldwall.sources.forms.linux import AUDITD, FALCO, OSQUERY, TETRAGON
from shieldwall.sources.forms.network import SURICATA, ZEEK
from shieldwall.sources.forms.windows import WINDOWS

FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "windows": WINDOWS,
        "auditd": AUDITD,
        "osquery": OSQUERY,
        "falco": FALCO,
        "tetragon": TETRAGON,
        "zeek": ZEEK,
        "suricata": SURICATA,
        "json": GENERIC,
    }
)
