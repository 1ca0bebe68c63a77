"""Helpers of the enforcement tests serve here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "enforcement"))  # importlib mode leaves it out
