"""All formats by name."""

from __future__ import annotations

from shieldwall.detection.external.formats import cef, falco, leef, ocsf, ours, stix, suricata, wazuh, zeek
from shieldwall.detection.external.formats.base import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (ours, suricata, zeek, wazuh, falco, ocsf, stix, cef, leef)
}
