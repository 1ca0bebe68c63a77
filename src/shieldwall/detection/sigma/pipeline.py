"""The pipeline of pySigma that prepares a rule: its log source becomes rows, its placeholders values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sigma.correlations import SigmaCorrelationRule
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import ValueListPlaceholderTransformation
from sigma.processing.transformations.base import PreprocessingTransformation
from sigma.rule import SigmaRule

from shieldwall.detection.sigma.backend import ROWS
from shieldwall.detection.sigma.logsources import rows_of

Placeholders = Mapping[str, Sequence[str]]
"""The values that a user gives for ``%name%`` of rules with the modifier ``expand``."""


@dataclass
class LogSourceTransformation(PreprocessingTransformation):
    """Puts the rows of the rule's log source into the state of the pipeline."""

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        super().apply(rule)
        if isinstance(rule, SigmaRule) and self._pipeline is not None:
            source = rule.logsource
            self._pipeline.state[ROWS] = rows_of(source.product, source.category, source.service)


def pipeline(placeholders: Placeholders) -> ProcessingPipeline:
    """Ours, with values for placeholders."""
    items = [
        ProcessingItem(ValueListPlaceholderTransformation(), identifier="placeholders"),
        ProcessingItem(LogSourceTransformation(), identifier="log source"),
    ]
    return ProcessingPipeline(items, vars={name: list(values) for name, values in placeholders.items()})
