"""What a set of trials found."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """A promise put to the test: how often, how often broken, and what else was seen."""

    promise: str
    trials: int
    violations: int
    remarks: dict[str, Any] = field(default_factory=dict)
