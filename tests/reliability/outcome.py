"""What a trial set found."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """trials made, violations of the promise among them, and figures worth printing."""

    promise: str
    trials: int
    violations: int
    remarks: dict[str, Any]
