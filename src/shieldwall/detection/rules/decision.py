"""What somebody decides about a rule, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Decision:
    """Changes of a tuning, as `rule_set.Tuning` has it; what is ``...`` stays as it is."""

    enabled: Any = ...
    severity: Any = ...
    device_groups: Any = ...
    actions: Any = ...

    @property
    def empty(self) -> bool:
        return all(getattr(self, item.name) is ... for item in fields(self))
