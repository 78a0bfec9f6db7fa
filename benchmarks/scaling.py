"""How the time of a pass grows with rows, components, columns, threads and Dask workers, and the law that it follows.

    python -m benchmarks.scaling --json scaling.json
    python -m benchmarks.scaling --rows 100000 1000000 10000000 100000000      N up to 1e8 (a virtual table: no disk, no memory)
    python -m benchmarks.scaling --dask-rows 50000000                          only 2 Dask workers against 2 threads, the judge
    python -m benchmarks.scaling --questions                                   predict, predict_proba, score_samples beside a pass

One thing varies at a time about a base case (1e6 rows, K = 16, D = 6, 2 threads). Every measurement is a process of its own; rows are
virtual (benchmarks/virtual_source.py). The law, for the base's threads,

    seconds = a + N (b + c D + K (d0 + d1 D + d2 D^2))

is fitted by least squares on relative errors with no negative coefficient, and its error shown at every point. Exits 1 where two Dask
workers of one thread take more than 1.05 of two threads (--dask-rows), or a question more than 1.5 of a pass per row (--questions).
"""

__all__ = ["main"]

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.laws import Law, fit_law
from benchmarks.processes import run_module
from benchmarks.reporting import machine, markdown, say, write_json

OF_THREADS, OF_PASS = 1.05, 1.5
ROWS_AT_MOST = 400_000_000  # of all passes of a point
TERMS = ("a", "b N", "c N D", "d0 N K", "d1 N K D", "d2 N K D^2")
HEAD = ("varied", "rows", "K", "D", "executor", "workers", "s per pass", "ns per row and component", "law", "law's error")
QUESTION_HEAD = ("question", "ns per row", "of a pass")


@dataclass(frozen=True)
class Point:
    """One line of the table before it is measured. varied: what differs from the base."""

    varied: str
    rows: int
    n_components: int
    n_features: int
    executor: str
    workers: int


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-rows", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--components", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--features", type=int, nargs="*", default=[1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--dask", type=int, nargs="*", default=[1, 2], help="Dask workers of one thread")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="turns through all points; the median counts")
    parser.add_argument("--dask-rows", type=int, metavar="N", help="only compare 2 Dask workers with 2 threads on so many rows, K = 16")
    parser.add_argument("--questions", action="store_true", help="only measure predict, predict_proba and score_samples")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args()


def points(given: argparse.Namespace) -> list[Point]:
    """The base and its variations."""
    base = Point("base", given.base_rows, 16, 6, "threads", 2)
    varied = [
        *(replace(base, varied="N", rows=n) for n in given.rows),
        *(replace(base, varied="K", n_components=k) for k in given.components),
        *(replace(base, varied="D", n_features=d) for d in given.features),
        *(replace(base, varied="threads", workers=n) for n in given.threads),
        *(replace(base, varied="Dask workers", executor="dask", workers=n) for n in given.dask),
    ]
    return [base, *(point for point in varied if replace(point, varied="base") != base)]


def measure(point: Point, n_passes: int) -> dict[str, Any]:
    """One process. Of very long tables fewer passes."""
    n_passes = max(1, min(n_passes, ROWS_AT_MOST // point.rows))
    arguments = ("compute", point.rows, point.n_components, point.n_features, n_passes, point.executor, point.workers)
    found = run_module("benchmarks.pass_process", arguments, 1 if point.executor == "dask" else point.workers)
    shape = f"N={point.rows:,}, K={point.n_components}, D={point.n_features}"
    say(f"{shape}, {point.workers} {point.executor}: {found['seconds_per_pass']:.4f} s per pass")
    return found


def terms(point: Point) -> list[float]:
    """Of the law."""
    n, k, d = point.rows, point.n_components, point.n_features
    return [1.0, n, n * d, n * k, n * k * d, n * k * d * d]


def law_of(measured: dict[Point, float]) -> Law:
    """Fitted to the points that share the base's executor."""
    base = next(point for point in measured if point.varied == "base")
    fitted = [p for p in measured if (p.executor, p.workers) == (base.executor, base.workers)]
    seconds = np.array([measured[p] for p in fitted])
    return fit_law(TERMS, np.array([terms(p) for p in fitted], dtype=np.float64), seconds, nonnegative=True)


def table(measured: dict[Point, float], law: Law) -> str:
    """Markdown; the law is shown for the points that it was fitted to."""
    base = next(point for point in measured if point.varied == "base")
    return markdown(
        HEAD, (table_line(p, s, law if p.workers == base.workers and p.executor == "threads" else None) for p, s in measured.items())
    )


def table_line(point: Point, seconds: float, law: Law | None) -> tuple[object, ...]:
    """One row."""
    said = ("", "") if law is None else (f"{law.seconds(terms(point)):.4f}", f"{law.seconds(terms(point)) / seconds - 1:+.0%}")
    shape = (point.varied, f"{point.rows:,}", point.n_components, point.n_features, point.executor, point.workers)
    return (*shape, f"{seconds:.4f}", f"{1e9 * seconds / point.rows / point.n_components:.2f}", *said)


def run_points(given: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """All points, and the law."""
    turns: dict[Point, list[float]] = {point: [] for point in points(given)}
    for _ in range(given.repeats):
        for point, found in turns.items():
            found.append(measure(point, given.passes)["seconds_per_pass"])
    measured = {point: median(found) for point, found in turns.items()}
    law = law_of(measured)
    print(table(measured, law))
    print("\nseconds =", " + ".join(f"{c:.3g} [{name}]" for name, c in zip(law.names, law.coefficients, strict=True)))
    print(f"Largest error of the law {law.largest_error:.0%}, in the mean (root of squares) {np.sqrt(np.mean(law.errors**2)):.0%}.")
    lines = [{**asdict(p), "seconds": turns[p], "law": law.seconds(terms(p))} for p in turns]
    coefficients = dict(zip(law.names, law.coefficients.tolist(), strict=True))
    return {"lines": lines, "coefficients": coefficients, "largest_error": law.largest_error}, 0


def run_dask(given: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """The judge: 2 workers of one thread against 2 threads, in turns."""
    threads = Point("Dask", given.dask_rows, 16, 6, "threads", 2)
    pairs = [
        (measure(threads, given.passes)["seconds_per_pass"], measure(replace(threads, executor="dask"), given.passes)["seconds_per_pass"])
        for _ in range(given.repeats)
    ]
    ratio = median(dask / own for own, dask in pairs)
    head = ("rows", "K", "D", "s, 2 threads", "s, 2 Dask workers of 1 thread", "ratio")
    seconds = (f"{median(values):.3f}" for values in zip(*pairs, strict=True))
    print(markdown(head, [(f"{given.dask_rows:,}", 16, 6, *seconds, f"{ratio:.3f}")], 0))
    if ratio > OF_THREADS:
        say(f"two Dask workers take {ratio:.3f} of two threads, {OF_THREADS} is the limit")
    return {"rows": given.dask_rows, "pairs": pairs, "ratio": ratio}, int(ratio > OF_THREADS)


def run_questions(given: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Per row, on a table in memory."""
    turns = [run_module("benchmarks.question_process", [given.base_rows, 16, 6, 2], 2) for _ in range(given.repeats)]
    seconds = {name: median(turn[name] for turn in turns) for name in turns[0]}
    ratios = {name: median(turn[name] / turn["pass"] for turn in turns) for name in turns[0]}
    print(markdown(QUESTION_HEAD, [(name, f"{1e9 * s / given.base_rows:.1f}", f"{ratios[name]:.2f}") for name, s in seconds.items()]))
    slow = [name for name in seconds if ratios[name] > OF_PASS]
    for name in slow:
        say(f"{name} takes {ratios[name]:.2f} of a pass per row, {OF_PASS} is the limit")
    return {"rows": given.base_rows, "turns": turns, "of_a_pass": ratios}, int(bool(slow))


def main() -> int:
    """Measure, print, judge."""
    given, before = options(), machine()
    found, status = (run_dask if given.dask_rows else run_questions if given.questions else run_points)(given)
    write_json(given.json, {"options": vars(given), "before": before, "after": machine(), **found})
    return status


if __name__ == "__main__":
    sys.exit(main())
