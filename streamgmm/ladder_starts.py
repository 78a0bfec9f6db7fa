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

__all__ = ["Dropped", "Start", "Starts", "fit_on_sample", "from_above", "merged_path", "race", "too_many"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from streamgmm.arrays import ArrayN
from streamgmm.block import Block
from streamgmm.em import e_step, m_step
from streamgmm.errors import StreamGMMError
from streamgmm.merging import least_costly_pairs, merged
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS

STEPS = 30
SAME = 0.01  # nats, root mean square over rows
ERRORS = 3.0
FARTHEST = 1000.0
OVER_FIT = 3.0  # times the largest K: where the way down begins
MERGE_STEPS = 4  # of EM after some merges
ROWS_A_COMPONENT = 10  # and column, with one more: of the sample at least

Fitter = Callable[[Mixture, Block], "Fitted"]


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


@dataclass(frozen=True, eq=False)
class Fitted:
    """A mixture after some steps on the sample, and the mean log-likelihood before each of them."""

    mixture: Mixture
    log_likelihoods: tuple[float, ...]

    @property
    def at_the_end(self) -> float:
        """Where more steps would lead: Aitken's extrapolation, but no farther than FARTHEST steps like the last one."""
        if len(self.log_likelihoods) < 3:
            return np.inf
        before, last = np.diff(self.log_likelihoods[-3:])
        ratio = last / before if before > 0 else np.inf
        steps = ratio / (1 - ratio) if ratio < 1 else np.inf
        return float(self.log_likelihoods[-1] + max(last, 0.0) * min(max(steps, 0.0), FARTHEST))


def fit_on_sample(mixture: Mixture, sample: Block, regularisation: Regularisation, *, hard: bool = False, steps: int = STEPS) -> Fitted:
    """So many steps of EM in memory."""
    values: list[float] = []
    for _ in range(steps):
        (statistics,) = e_step((mixture,), sample, block_rows=DEFAULT_BLOCK_ROWS, hard=hard)
        values.append(statistics.mean_log_likelihood)
        mixture, _ = m_step(statistics, mixture, regularisation)
    return Fitted(mixture, tuple(values))


def from_above(starts: Sequence[Start], path: Mapping[int, Mixture]) -> list[Start]:
    """The same starts with the last one of each K, where it has several, in the place that merging led to."""
    last = {start.n_components: start.number for start in starts}
    chosen = [start.number > 0 and start.number == last[start.n_components] and start.n_components in path for start in starts]
    return [replace(start, mixture=path[start.n_components]) if one else start for start, one in zip(starts, chosen, strict=True)]


def too_many(largest_k: int, sample: Block) -> int:
    """Components that the way down begins with: no more than the sample can hold."""
    return max(1, min(int(OVER_FIT * largest_k), sample.n_rows // (ROWS_A_COMPONENT * (int(sample.x.shape[1]) + 1))))


def merged_path(
    start: Mixture, sample: Block, counts: Iterable[int], regularisation: Regularisation, *, hard: bool = False
) -> dict[int, Mixture]:
    """A mixture for each number of components below the start's, by merging; none for those on the way to which one collapses."""
    careful, found = replace(regularisation, on_singular="floor"), dict[int, Mixture]()
    try:
        mixture = fit_on_sample(start, sample, careful, hard=hard).mixture
        for k in sorted((k for k in counts if k < start.n_components), reverse=True):
            while mixture.n_components > k and (pairs := least_costly_pairs(mixture, max(1, (mixture.n_components - k) // 4))):
                mixture = fit_on_sample(merged(mixture, pairs), sample, careful, hard=hard, steps=MERGE_STEPS).mixture
            if mixture.n_components == k:
                found[k] = mixture
    except StreamGMMError:  # what ails the rows themselves is said where they are fitted to
        return found
    return found


def race(starts: Iterable[Start], sample: Block, fit: Fitter, threads: int = 1) -> Starts:
    """Fit all starts to the sample, and drop the hopeless ones of each K. The threads change no bit."""
    listed = sorted(starts, key=lambda start: (start.n_components, start.number))
    with ThreadPoolExecutor(threads, "streamgmm-starts") as pool:
        fitted = list(pool.map(lambda start: fit(start.mixture, sample), listed))
    kept: list[Start] = []
    dropped: list[Dropped] = []
    for _, group in groupby(zip(listed, fitted, strict=True), key=lambda pair: pair[0].n_components):
        staying, leaving = _of_one_k(list(group), sample)
        kept += staying
        dropped += leaving
    return Starts(tuple(kept), tuple(dropped))


def _of_one_k(pairs: Sequence[tuple[Start, Fitted]], sample: Block) -> tuple[list[Start], list[Dropped]]:
    weight = np.ones(sample.n_rows) if sample.sample_weight is None else sample.sample_weight
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
