"""What a pass gains where neighbours in the table are neighbours in space, as in catalogues sorted by place on the sky.

    python -m benchmarks.order_of_rows --json order_of_rows.json

The same rows twice: as they were drawn, and sorted into boxes (halved along one column after the other, as in a k-d tree). A tile of
sorted rows lies in a small box, and components that its bounds show to be felt nowhere in it are left out (kernels/reach.py): nothing
of the answer changes by that, only by the order in which rows are summed. Rows are sorted by all fitted columns; a table sorted by some
of them gains less. `apart` stretches the standard mixture's means: at 1 most components overlap, and little is left out. One
thread; both orders take turns; the median of the turns' ratios is shown with its range.
"""

__all__ = ["main", "sorted_into_boxes"]

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import machine, markdown, say, write_json
from benchmarks.standard import Array, standard_mixture, standard_rows
from benchmarks.timed import mixture_of
from streamgmm.mixture import Mixture

CASES = ((64, 6), (100, 3), (400, 3), (500, 2))  # K, D
BOX = 256  # rows: a tile
HEAD = ("K x D", "apart", "s, as drawn", "s, sorted", "ns a row and component, sorted", "gain")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--apart", type=float, nargs="+", default=[1.0, 3.0, 10.0], help="the means' distances, in units of the standard's")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args()


def sorted_into_boxes(x: Array) -> Array:
    """The same rows, those of a box side by side."""

    def halves(rows: npt.NDArray[np.intp], depth: int) -> list[npt.NDArray[np.intp]]:
        if len(rows) <= BOX:
            return [rows]
        middle = len(rows) // 2
        by_column = rows[np.argpartition(x[rows, depth % x.shape[1]], middle)]
        return halves(by_column[:middle], depth + 1) + halves(by_column[middle:], depth + 1)

    return np.ascontiguousarray(x[np.concatenate(halves(np.arange(len(x)), 0))])


def seconds(mixture: Mixture, x: Array) -> float:
    """Of an E-step with its statistics."""
    weight = np.ones(len(x))
    began = time.perf_counter()
    mixture.components.accumulate(x, weight, mixture.weights.log_weights, hard=False)
    return time.perf_counter() - began


def measure(k: int, d: int, apart: float, given: argparse.Namespace) -> dict[str, Any]:
    """One case: both orders in turn; the first turn compiles and is left out."""
    standard = standard_mixture(k, d, 0)
    standard = standard._replace(means=standard.means * apart)
    drawn = standard_rows(standard, given.rows, 0)
    orders, mixture = (drawn, sorted_into_boxes(drawn)), mixture_of(standard)
    turns = [tuple(seconds(mixture, x) for x in orders) for _ in range(given.repeats + 1)][1:]
    say(f"K = {k}, D = {d}, {apart:g} apart: {turns}")
    return {"n_components": k, "n_features": d, "apart": apart, "rows": given.rows, "turns": turns}


def line(found: dict[str, Any]) -> tuple[object, ...]:
    """One row of the table."""
    drawn, ordered = (median(turn[which] for turn in found["turns"]) for which in (0, 1))
    gains = sorted(turn[0] / turn[1] for turn in found["turns"])
    ns = 1e9 * ordered / found["rows"] / found["n_components"]
    shape = f"{found['n_components']} x {found['n_features']}"
    gain = f"{median(gains):.2f} ({gains[0]:.2f} to {gains[-1]:.2f})"
    return shape, f"{found['apart']:g}", f"{drawn:.4f}", f"{ordered:.4f}", f"{ns:.2f}", gain


def main() -> int:
    """Measure and print."""
    given, before = options(), machine()
    found = [measure(k, d, apart, given) for k, d in CASES for apart in given.apart]
    print(markdown(HEAD, map(line, found)))
    write_json(given.json, {"options": vars(given), "before": before, "after": machine(), "found": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
