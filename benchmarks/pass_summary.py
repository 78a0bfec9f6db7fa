"""From measurements of the benchmark of exact passes to lines of its tables: medians over turns, ratios within a turn.

Plain data in, plain data out.
"""

__all__ = ["OURS", "Case", "Measurement", "Roof", "lines_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.cells import Cell

OURS = "streamgmm"
RIVALS = ("sklearn", "onedal")

Measurement = dict[str, Any]
Roof = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One line of a table before it is measured."""

    rows_type: str
    n_threads: int
    peer: str

    def beside(self, peer: str) -> "Case":
        """Another peer at the same."""
        return Case(self.rows_type, self.n_threads, peer)


def lines_of(
    cell: Cell, measured: Mapping[Case, Sequence[Measurement]], roofs: Mapping[tuple[str, int], Sequence[Roof]]
) -> list[Measurement]:
    """The lines of one cell. Every case has as many measurements as there are turns, and so have the roofs by type and threads."""
    return [_line(cell, case, measured, roofs[case.rows_type, case.n_threads]) for case in measured]


def _line(cell: Cell, case: Case, measured: Mapping[Case, Sequence[Measurement]], roofs: Sequence[Roof]) -> Measurement:
    turns = measured[case]
    seconds = [one["seconds_per_pass"] for one in turns]
    flops, row_bytes = cell.operations_per_pass(), cell.n_rows * cell.n_features * (4 if case.rows_type == "float32" else 8)
    rivals = {name: case.beside(name) for name in RIVALS} | {"fastest": _fastest(case, measured), "one_thread": _on_one_thread(case)}
    first = turns[0]
    return {
        "cell": cell.name,
        "rows_type": case.rows_type,
        "threads": case.n_threads,
        "peer": case.peer,
        **{name: first[name] for name in ("title", "version", "arithmetic", "own_start")},
        "seconds_per_pass": median(seconds),
        "processor_seconds_per_pass": median(one["processor_seconds_per_pass"] for one in turns),
        "rows_per_second": cell.n_rows / median(seconds),
        "times": {name: _ratio(measured.get(other, ()), turns) for name, other in rivals.items() if other},
        "fastest_peer": getattr(rivals["fastest"], "peer", None),
        "flops": flops / median(seconds),
        "share_of_products": _spread([flops / s / roof["flops"] for s, roof in zip(seconds, roofs, strict=True)]),
        "bytes_per_second": row_bytes / median(seconds),
        "share_of_copies": _spread([row_bytes / s / roof["copied_bytes_per_second"] for s, roof in zip(seconds, roofs, strict=True)]),
        "peak_bytes": max(one["peak_bytes"] for one in turns),
        "log_likelihood": first["log_likelihood"],
        "deviation": None if first["own_start"] else max(one["deviation"] for one in turns),
        "parameters_deviation": None if first["own_start"] else max(one["parameters_deviation"] for one in turns),
        "turns": list(turns),
    }


def _fastest(case: Case, measured: Mapping[Case, Sequence[Measurement]]) -> Case | None:
    """The fastest of the others than ours (in any arithmetic), at the same."""
    others = [other for other in measured if not other.peer.startswith(OURS) and other.beside("") == case.beside("")]
    return min(others, key=lambda other: median(one["seconds_per_pass"] for one in measured[other]), default=None)


def _on_one_thread(case: Case) -> Case:
    return Case(case.rows_type, 1, case.peer)


def _ratio(theirs: Sequence[Measurement], mine: Sequence[Measurement]) -> list[float] | None:
    """How many times faster mine is: median, least, most; None where theirs was not measured."""
    if not theirs:
        return None
    return _spread([other["seconds_per_pass"] / one["seconds_per_pass"] for other, one in zip(theirs, mine, strict=True)])


def _spread(values: Sequence[float]) -> list[float]:
    return [median(values), min(values), max(values)]
