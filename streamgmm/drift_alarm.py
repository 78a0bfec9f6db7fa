"""Whether new rows still follow the same law: two sums over the batches of a stream, and when they raise an alarm. Floor 0.

Both means below are taken under ONE mixture, the current one before it learns from the batch, so that learning is no alarm. The mean log
density of rows held out earlier is one number for many batches: its error does not average out, and ALLOWANCE of its standard errors are
taken off every difference. What is left, in standard errors of the batch's mean, enters Page's (1954) one-sided sums

    above: s <- max(0, s + (held - batch - allowance)/e - SLACK)      the batch is worse than the past: the rows have moved
    below: s <- max(0, s + (batch - held - allowance)/e - SLACK)      the past is worse than the batch: the mixture has moved with them

and either of them above LIMIT is the alarm. Siegmund (1985): with standard normal terms the mean number of batches until a false alarm
of one sum is (exp(2 k b) - 2 k b - 1)/(2 k^2), b = LIMIT + 1.166, k = SLACK. Slow drifts: drift_reference.py, with the same sums.
"""

__all__ = ["FEWEST_HELD", "LIMIT", "SLACK", "Cusum", "Summary", "run_length", "summary_of"]

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamgmm.arrays import ArrayN

SLACK, LIMIT, ALLOWANCE = 0.5, 10.0, 3.0
FEWEST_HELD = 50  # held-out rows: with fewer nobody knows the error of their mean


class Summary(NamedTuple):
    """Mean log density of some rows per unit of weight, its standard error, and how many rows."""

    mean: float
    error: float
    rows: int


def summary_of(log_densities: ArrayN, weight: ArrayN) -> Summary:
    """Of rows with weights (n); NaN where no row has weight. One row of density zero leaves no error that is known."""
    total = float(weight.sum())
    if total <= 0:
        return Summary(math.nan, math.nan, 0)
    mean = float(np.einsum("i,i->", weight, log_densities)) / total
    if not math.isfinite(mean):
        return Summary(mean, math.nan, int(np.count_nonzero(weight)))
    error = math.sqrt(float(np.einsum("i,i->", weight**2, (log_densities - mean) ** 2))) / total
    return Summary(mean, error, int(np.count_nonzero(weight)))


@dataclass(frozen=True)
class Cusum:
    """The two sums; `limit` is what either may reach."""

    above: float = 0.0
    below: float = 0.0
    limit: float = LIMIT

    def after(self, held: Summary, batch: Summary) -> "Cusum":
        """With one batch more; as it is where the two cannot be compared."""
        if held.rows < FEWEST_HELD or not batch.error > 0 or not math.isfinite(held.error):
            return self
        difference, off = (held.mean - batch.mean) / batch.error, ALLOWANCE * held.error / batch.error + SLACK
        return Cusum(max(0.0, self.above + difference - off), max(0.0, self.below - difference - off), self.limit)

    @property
    def value(self) -> float:
        """The larger of the two."""
        return max(self.above, self.below)

    @property
    def alarm(self) -> bool:
        """Whether the rows are said to have changed."""
        return self.value > self.limit


def run_length(limit: float = LIMIT, slack: float = SLACK) -> float:
    """Batches until a false alarm of one sum, on average (Siegmund's approximation)."""
    b = 2 * slack * (limit + 1.166)
    return (math.exp(b) - b - 1) / (2 * slack**2)
