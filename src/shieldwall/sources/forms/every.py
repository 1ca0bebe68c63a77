"""Every form by the name that ``POST /ingest/{source}`` has for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shieldwall.sources.forms.form import Form
from shieldwall.sources.forms.windows import WINDOWS

FORMS: Mapping[str, Form] = MappingProxyType({"windows": WINDOWS})
