"""What the exact pass is asked to reach, and whether it did: one entry for each floor, cell, type of rows and number of threads."""

__all__ = ["AGREEMENT", "floors_of", "floors_text"]

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.pass_summary import OURS, Measurement

AGREEMENT = 1e-10  # relative, of the log-likelihood

TIMES: tuple[tuple[str, str, Mapping[int, float]], ...] = (
    ("AB", "onedal", {1: 4.0, 2: 4.0}),
    ("AB", "sklearn", {1: 40.0, 2: 60.0}),
    ("CE", "fastest", {1: 2.0, 2: 2.0}),
    ("ABCDE", "one_thread", {2: 1.85}),
)
TIMES_IN_D, SHARE_IN_D, SHARE_IN_B = 1.5, 0.7, 1.0
NOTE = "The floors are asked of rows in float64. With rows in float32 the peers compute in float32, streamgmm in float64."
NAMES = {"onedal": "oneDAL", "sklearn": "scikit-learn", "fastest": "the fastest peer", "one_thread": "1 thread"}


def floors_of(lines: Sequence[Measurement]) -> list[dict[str, Any]]:
    """All floors that concern what was measured."""
    ours = [line for line in lines if line["peer"] == OURS]
    return [floor for line in ours for floor in _floors_of_line(line)]


def floors_text(floors: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    head = ["| cell | rows | threads | floor | measured | |", "|---|---|---:|---|---|---|"]
    body = [f"| {x['cell']} | {x['rows_type']} | {x['threads']} | {x['floor']} | {x['measured']} | {_verdict(x['met'])} |" for x in floors]
    return "\n".join([*head, *body, *(["", NOTE] if any(x["rows_type"] == "float32" for x in floors) else [])])


def _verdict(met: bool | None) -> str:
    return "not measured" if met is None else "met" if met else "NOT met"


def _floors_of_line(line: Measurement) -> Iterator[dict[str, Any]]:
    cell, n_threads = line["cell"], line["threads"]
    for cells, rival, least in TIMES:
        if cell in cells and n_threads in least:
            yield _entry(line, f"{least[n_threads]:g} x {NAMES[rival]}", *_reached(line["times"].get(rival), least[n_threads]))
    share = line["share_of_products"][0]
    if cell == "B":
        yield _entry(line, f"{SHARE_IN_B:.0%} of dgemm", f"{share:.0%}", share >= SHARE_IN_B)
    if cell == "D":
        text, enough = _reached(line["times"].get("fastest"), TIMES_IN_D)
        met = True if share >= SHARE_IN_D else enough
        yield _entry(line, f"{TIMES_IN_D} x the fastest peer, or {SHARE_IN_D:.0%} of dgemm", f"{text}; {share:.0%}", met)
    yield _entry(line, f"likelihood within {AGREEMENT:.0e}", f"{line['deviation']:.0e}", line["deviation"] <= AGREEMENT)


def _entry(line: Measurement, floor: str, measured: str, met: bool | None) -> dict[str, Any]:
    return {**{name: line[name] for name in ("cell", "rows_type", "threads")}, "floor": floor, "measured": measured, "met": met}


def _reached(ratio: Sequence[float] | None, least: float) -> tuple[str, bool | None]:
    """The ratio with its range over the turns, and whether its median is enough."""
    if ratio is None:
        return "-", None
    return f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})", ratio[0] >= least
