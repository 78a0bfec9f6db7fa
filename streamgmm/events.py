"""What happens during a fit, as data. Floor 0.

Observers (observers/) turn events into bars, lines and files; the loop only makes them. No event holds a row's values.
"""

__all__ = ["Event", "ignore"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened; details: strict JSON values.

    kind: start, reading, pass, commit, fall, floor, reseed, drop, skipped, retry, warning, finish, held_out; of clusters worker_lost,
    worker_added, suspect, refused; of executors waiting, which goes no further than the loop.
    """

    kind: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


def ignore(event: Event) -> None:
    """The observer that does nothing."""
    del event
