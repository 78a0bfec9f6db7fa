"""Where the contenders of a ladder start: fitted to a sample in memory, and dropped there where they cannot win. Floor 5.

Of the starts of one K, compared by the log densities l of the rows of the sample (each counted as the rows that it stands for):

* one whose l differ from those of a better start by less than SAME (root mean square) is the same optimum again: dropped;
* one that lies below the best by more than three standard errors of the paired difference is dropped, unless more steps of EM may
  close the gap: Aitken's extrapolation of its last three likelihoods, L + gain / (1 - ratio of gains), or a thousand such gains where
  that is less, reaches the best.

What is dropped never enters a pass over the table.

Seeds alone leave most K short of their optimum, and then a criterion chooses too many components. So the last start of each K, where it has
several, comes from above: far more components than the largest K are fitted to the sample, and pairs merged down through all K.
"""

__all__ = ["Dropped", "Start", "Starts", "from_above", "race"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayN
from streamgmm.block import Block
from streamgmm.mixture import Mixture
from streamgmm.sample_em import Fitted, weight_of

SAME = 0.01  # nats, root mean square over rows
ERRORS = 3.0

Fitter = Callable[[Mixture, Block], Fitted]


@dataclass(frozen=True, eq=False)
class Start:
    """A mixture to start from: the `number`-th one of its K."""

    n_components: int
    number: int
    mixture: Mixture


@dataclass(frozen=True)
class Dropped:
    """A start that was left behind on the sample; difference: mean log density less the best one's, and its standard error."""

    n_components: int
    number: int
    difference: float
    standard_error: float
    reason: str


@dataclass(frozen=True, eq=False)
class Starts:
    """Those that go on, by rising K, and those that do not."""

    kept: tuple[Start, ...]
    dropped: tuple[Dropped, ...]


def from_above(starts: Sequence[Start], path: Mapping[int, Mixture]) -> list[Start]:
    """The same starts with the last one of each K, where it has several, in the place that merging led to."""
    last = {start.n_components: start.number for start in starts}
    chosen = [start.number > 0 and start.number == last[start.n_components] and start.n_components in path for start in starts]
    return [replace(start, mixture=path[start.n_components]) if one else start for start, one in zip(starts, chosen, strict=True)]


def race(starts: Iterable[Start], sample: Block, fit: Fitter, threads: int = 1) -> Starts:
    """Fit all starts to the sample, and drop the hopeless ones of each K. The threads change no bit."""
    listed = sorted(starts, key=lambda start: (start.n_components, start.number))
    with threadpool_limits(1), ThreadPoolExecutor(threads, "streamgmm-starts") as pool:  # the limit is the whole process's
        fitted = list(pool.map(lambda start: fit(start.mixture, sample), listed))
    kept: list[Start] = []
    dropped: list[Dropped] = []
    for _, group in groupby(zip(listed, fitted, strict=True), key=lambda pair: pair[0].n_components):
        staying, leaving = _of_one_k(list(group), sample)
        kept += staying
        dropped += leaving
    return Starts(tuple(kept), tuple(dropped))


def _of_one_k(pairs: Sequence[tuple[Start, Fitted]], sample: Block) -> tuple[list[Start], list[Dropped]]:
    weight = weight_of(sample)
    densities = [one.mixture.score_samples(sample.x) for _, one in pairs]
    means = [float(np.average(values, weights=weight)) for values in densities]
    order = sorted(range(len(pairs)), key=lambda i: (-means[i], pairs[i][0].number))
    best, kept, dropped = order[0], [order[0]], []
    for i in order[1:]:
        mean, error = _paired(densities[i] - densities[best], weight)
        reason = _why_not(densities[i], [densities[j] for j in kept], weight)
        if not reason and mean < -ERRORS * error and pairs[i][1].at_the_end < means[best]:
            reason = f"below the best by more than {ERRORS:g} standard errors, and more EM does not close the gap"
        if reason:
            dropped.append(Dropped(pairs[i][0].n_components, pairs[i][0].number, mean, error, reason))
        else:
            kept.append(i)
    staying = [Start(pairs[i][0].n_components, pairs[i][0].number, pairs[i][1].mixture) for i in sorted(kept)]
    return staying, dropped


def _why_not(own: ArrayN, others: Sequence[ArrayN], weight: ArrayN) -> str:
    """Whether a better start is the same optimum."""
    nearest = min(float(np.sqrt(np.average((own - other) ** 2, weights=weight))) for other in others)
    return f"the same optimum as a better start (log densities {nearest:.2g} apart)" if nearest < SAME else ""


def _paired(differences: ArrayN, weight: ArrayN) -> tuple[float, float]:
    """Weighted mean of differences and its standard error."""
    mean = float(np.average(differences, weights=weight))
    return mean, float(np.sqrt((weight**2 * (differences - mean) ** 2).sum()) / weight.sum())
