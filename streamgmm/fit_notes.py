"""What the estimator keeps of a fit's events: lines for who asked for them, warnings at the end. Floor 6."""

__all__ = ["FitNotes"]

import sys
import warnings
from collections import defaultdict
from dataclasses import dataclass, field

from streamgmm.errors import DegenerateFitWarning, PrecisionWarning
from streamgmm.events import Event
from streamgmm.observers.plain_lines import PlainLines

REPAIRS = ("floor", "reseed", "drop")
MOST_LISTED = 8


@dataclass(eq=False)
class FitNotes:
    """An observer. verbose: 0 for silence, else lines go to standard error, of the passes every `interval`-th."""

    verbose: int
    interval: int
    repairs: list[Event] = field(default_factory=list)
    cautions: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lines = PlainLines(sys.stderr) if self.verbose else None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind in REPAIRS:
            self.repairs.append(event)
        elif event.kind in ("warning", "fall"):
            self.cautions.append(event)
        if self._lines is not None and not (event.kind == "pass" and event.details["pass"] % self.interval):
            self._lines(event)

    def warn(self, start: int, stacklevel: int) -> None:
        """The warnings that are due; one for all that is degenerate, and of the repairs those of the winning start."""
        for caution in self.cautions:
            if caution.details.get("about") != "distinct_rows":
                category = PrecisionWarning if caution.details.get("about") == "precision" else UserWarning
                warnings.warn(caution.message, category, stacklevel=stacklevel + 1)
        degenerate = [f"{caution.message}." for caution in self.cautions if caution.details.get("about") == "distinct_rows"]
        mine = [event for event in self.repairs if event.details["start"] == start]
        if mine:
            degenerate.append(_summary(mine))
        if degenerate:
            warnings.warn(" ".join(degenerate), DegenerateFitWarning, stacklevel=stacklevel + 1)


def _summary(repairs: list[Event]) -> str:
    grouped: dict[tuple[int, str, str], list[Event]] = defaultdict(list)
    for event in repairs:
        grouped[event.details["component"], event.kind, event.details["kind"]].append(event)
    said = [_one(*key, events) for key, events in sorted(grouped.items())]
    more = f"; and {len(said) - MOST_LISTED} more" if len(said) > MOST_LISTED else ""
    return (
        f"Components were repaired: {'; '.join(said[:MOST_LISTED])}{more}. Look for constant or collinear columns and for repeated rows,"
        " use fewer components, or raise reg_covar or variance_floor."
    )


def _one(component: int, action: str, kind: str, events: list[Event]) -> str:
    last = events[-1].details
    whom = "the shared covariance" if component < 0 else f"component {component}"
    what = f"{last['value']:.3g} rows" if kind == "occupancy" else f"relative variance {last['value']:.3g}"
    return f"{whom} ({action} in {len(events)} pass(es) from pass {events[0].details['pass']} on, last with {what})"
