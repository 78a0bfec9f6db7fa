"""How soon the drift alarm fires on a stream whose means move, and how often on streams that stay as they are.

    python -m benchmarks.drift --streams 100 --json drift.json

Streams of batches drawn from a random mixture. Before the change nothing moves; then all means jump by a step, or go on moving by so much
per 100,000 rows, each in a direction of its own, in units of a component's standard deviation. Half of the stationary streams have a
window. The drift limit and the expected number of batches until a false alarm are in streamgmm/drift_alarm.py.
"""

__all__ = ["Case", "Told", "law_of", "main", "told_of"]

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.reporting import machine, markdown, say, write_json
from benchmarks.standard import Array, Parameters, standard_mixture
from streamgmm.drift_alarm import LIMIT, SLACK, run_length
from streamgmm.live import LiveMixture

HEAD = ("stream", "window", "held out", "streams", "alarms before", "found", "median rows", "90 %", "most rows")


@dataclass(frozen=True)
class Case:
    """step: jump of the means; slope: how far they move in 100,000 rows; both in standard deviations. calm, after: batches."""

    step: float = 0.0
    slope: float = 0.0
    window: float | None = None
    hold_out: float = 0.01
    calm: int = 100
    after: int = 100
    batch_rows: int = 1000
    n_components: int = 4
    n_features: int = 3

    @property
    def name(self) -> str:
        """In words."""
        if self.step:
            return f"step {self.step:g} sd"
        return f"slope {self.slope:g} sd / 100,000 rows" if self.slope else "stationary"


@dataclass(frozen=True)
class Told:
    """early: alarms before the change (all of them where nothing changes). delay: rows from the change to the first alarm, -1 for none."""

    early: int
    delay: int


def law_of(case: Case, seed: int) -> tuple[Parameters, Array]:
    """The mixture of a stream and the direction (K D) in which each mean moves, one standard deviation long."""
    mixture = standard_mixture(case.n_components, case.n_features, seed)
    direction = np.random.default_rng([seed, 1]).standard_normal(mixture.means.shape)
    direction /= np.sqrt(np.einsum("kd,kde,ke->k", direction, np.linalg.inv(mixture.covariances), direction))[:, None]
    return mixture, direction


def batches(case: Case, seed: int) -> Iterator[Array]:
    """The rows of a stream."""
    mixture, direction = law_of(case, seed)
    factors, rng = np.linalg.cholesky(mixture.covariances), np.random.default_rng([seed, 2])
    for number in range(case.calm + case.after):
        beyond = np.maximum(0, (number - case.calm) * case.batch_rows + np.arange(case.batch_rows))
        moved = case.step * (number >= case.calm) + case.slope * beyond / 1e5
        label = rng.choice(case.n_components, case.batch_rows, p=mixture.weights)
        noise = np.einsum("nde,ne->nd", factors[label], rng.standard_normal((case.batch_rows, case.n_features)))
        yield mixture.means[label] + moved[:, None] * direction[label] + noise


def told_of(case: Case, seed: int) -> Told:
    """One stream, from a start of its own first rows."""
    live, early, delay = LiveMixture(case.n_components, window=case.window, hold_out=case.hold_out, seed=seed), 0, -1
    changes = case.step or case.slope
    for number, rows in enumerate(batches(case, seed)):
        if live.feed(rows).alarm:
            if number >= case.calm and changes:
                delay = (number + 1 - case.calm) * case.batch_rows
                break
            early += 1
    return Told(early, delay)


WINDOWS = (None, 20_000.0)
CASES = (
    *(Case(window=window) for window in WINDOWS),
    *(Case(step=step, window=window) for step in (1.0, 2.0) for window in WINDOWS),
    *(Case(step=step, hold_out=0.05) for step in (0.5, 1.0)),
    *(Case(slope=slope, window=window) for slope in (1.0, 2.0) for window in WINDOWS),
)


def row_of(case: Case, told: list[Told]) -> tuple[object, ...]:
    """A line of the table."""
    delays = [one.delay for one in told if one.delay >= 0]
    changes = case.step or case.slope
    quantiles = [f"{np.quantile(delays, q):,.0f}" for q in (0.5, 0.9, 1.0)] if delays else ["-"] * 3
    window = "none" if case.window is None else f"{case.window:,.0f}"
    found = f"{len(delays)}" if changes else "-"
    return case.name, window, f"{case.hold_out:.0%}", len(told), sum(one.early for one in told), found, *quantiles


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100, help="streams for each case")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    asked = parser.parse_args()
    lines, found = [], []
    for case in CASES:
        told = [told_of(case, seed) for seed in range(asked.streams)]
        lines.append(row_of(case, told))
        found.append({**asdict(case), "told": [asdict(one) for one in told]})
        say(" | ".join(map(str, lines[-1])))
    print(markdown(HEAD, lines, n_words=3))
    print(f"\nlimit {LIMIT:g}, slack {SLACK:g}: a false alarm of one sum every {run_length():,.0f} batches on average (Siegmund)")
    write_json(asked.json, {"machine": machine(), "limit": LIMIT, "run_length": run_length(), "cases": found})


if __name__ == "__main__":
    main()
