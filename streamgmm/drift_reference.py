"""Slow drift: new batches under a mixture that learns no more, beside the batches that came after it was taken. Floor 3.

A mixture that learns follows a slow drift, the rows held out are few and grow with it: the two sums over them (drift_alarm.py) find it
late. So the mixture is taken as it is after so many batches; the mean log density of the next ones under it, which it has not learned
from, is the reference, known better than by rows held out; those that follow enter the same two sums. An alarm begins all of it anew.
"""

__all__ = ["LEARNED", "REFERENCE", "DriftReference"]

import math
from dataclasses import dataclass, field, replace

from streamgmm.arrays import ArrayN, ArrayND
from streamgmm.drift_alarm import Cusum, Summary, summary_of
from streamgmm.mixture import Mixture

LEARNED, REFERENCE = 30, 30  # batches before the mixture is taken, and those of the reference


@dataclass(frozen=True, eq=False)
class DriftReference:
    """batches: since the start or the last alarm. mixture: as it was after LEARNED of them. summary: of the REFERENCE ones after that."""

    batches: int = 0
    mixture: Mixture | None = None
    summary: Summary = Summary(0.0, 0.0, 0)
    cusum: Cusum = field(default_factory=Cusum)

    def after(self, current: Mixture, x: ArrayND, weight: ArrayN) -> "DriftReference":
        """With a batch that the current mixture has not learned from yet."""
        n = self.batches + 1
        if self.mixture is None:
            return replace(self, batches=n, mixture=current if n > LEARNED else None)
        found = summary_of(self.mixture.score_samples(x), weight)
        if n <= LEARNED + 1 + REFERENCE:
            return replace(self, batches=n, summary=together(self.summary, found))
        return replace(self, batches=n, cusum=self.cusum.after(self.summary, found))


def together(a: Summary, b: Summary) -> Summary:
    """Of two sets of rows; the first where the second has no mean or no error."""
    if not (math.isfinite(b.mean) and b.error > 0):
        return a
    n = a.rows + b.rows
    error = math.hypot(a.rows * a.error, b.rows * b.error) / n
    return Summary((a.rows * a.mean + b.rows * b.mean) / n, error, n)
