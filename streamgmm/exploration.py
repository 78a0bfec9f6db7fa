"""All starts on a sample in memory, and the few mixtures worth reading the table for. Floor 6.

Reads nothing. Starts of several kinds run some steps of EM on a part of the sample; the best go on, accelerated, on all of it, until
what they may still gain there is small; then components are merged and split where that helps (Ueda et al. 2000; which pair to merge:
Runnalls 2007). One start in three begins with three times the components and merges them down. A second mixture is kept only where the
sample cannot tell it from the best one. The same seed gives the same bits, whatever the number of threads.
"""

__all__ = ["MOST_SURVIVORS", "explore", "explored_rows", "parameters"]

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.errors import StreamGMMError
from streamgmm.initialisers._sample import Sample
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.initialisers.kmeans_plus_plus import KMeansPlusPlus
from streamgmm.merging import least_costly_pairs, merged
from streamgmm.mixture import Mixture
from streamgmm.over_fit import merged_path, too_many
from streamgmm.regularisation import Regularisation
from streamgmm.sample_em import Fitted, fit_on_sample, look_at, weight_of
from streamgmm.schedules.anderson import Anderson
from streamgmm.schedules.base import Look

MOST_SURVIVORS = 2
EXPLORED_ROWS, EXPLORED_ROWS_A_PARAMETER = 200_000, 200  # of a sample
MOST_EXPLORED = 1 << 29  # its bytes
LEAST_STARTS = 10
FIRST_STEPS = 30  # of EM, for every start
FINALISTS = 3
LAST_STEPS = 150  # accelerated ones, at most
LEFT = 1e-3  # nats a parameter, as the sample counts them: a smaller gain ends the accelerated steps
MOVES = 6  # merges and splits tried on the winner
MOVE_STEPS = 12
PART_ROWS, ROWS_A_PARAMETER = 20_000, 40  # of the sample, for first steps and moves
SAME = 2.0  # standard errors of the paired difference within which two mixtures count as equal

Law = Callable[[Mixture], Mixture]


def parameters(structure: Structure, k: int, d: int) -> int:
    """Free parameters p of k components over d columns; were the weights given, there would be k - 1 fewer: sizes that p decides stay."""
    return k - 1 + structure.n_parameters(k, d)


def explored_rows(structure: Structure, k: int, d: int) -> int:
    """Rows of the sample that mixtures of k components over d columns are explored on."""
    wanted = max(EXPLORED_ROWS, EXPLORED_ROWS_A_PARAMETER * parameters(structure, k, d))
    return int(min(wanted, MOST_EXPLORED // (8 * (d + 1))))


def explore(
    sample: Sample,
    family: type[AbstractGaussian],
    initialiser: AbstractInitialiser,
    n_components: int,
    n_starts: int,
    regularisation: Regularisation,
    seed: int,
    law: Law = lambda mixture: mixture,
    threads: int = 1,
) -> list[Mixture]:
    """The best mixture found on the sample, and the next best where the sample cannot tell the two apart.

    initialiser: of the first start; k-means++ seeds and merged over-fits make the others. law: puts the weights' law on a start.
    threads: how many work; they change no bit.
    """
    whole = sample.block
    careful = _for_sample(regularisation, whole)
    part = _part(whole, parameters(family.structure, n_components, sample.x.shape[1]))
    small = replace(sample, x=part.x, weight=weight_of(part))
    generators = np.random.default_rng(seed).spawn(max(LEAST_STARTS, n_starts))

    def begin(number: int) -> Fitted | None:
        rng = generators[number]
        try:
            if number % 3 == 2 and n_components > 1:
                start: Mixture | None = _merged_down(small, part, family, n_components, careful, rng)
            else:
                maker = initialiser if number == 0 else KMeansPlusPlus()
                start = maker.start(family, small, n_components, rng)
            return None if start is None else fit_on_sample(law(start), part, careful, steps=FIRST_STEPS)
        except StreamGMMError:  # a start that collapses is no start; what ails the rows themselves ends all of them
            return None

    # The limit is the whole process's: set here once, it cannot be lifted by one thread while another one counts on it.
    with threadpool_limits(1), ThreadPoolExecutor(threads, "streamgmm-explore") as pool:
        found = [one for one in pool.map(begin, range(len(generators))) if one is not None]
        if not found:
            return [law(initialiser.start(family, sample, n_components, np.random.default_rng(seed)))]
        finalists = sorted(found, key=lambda one: -one.value)[:FINALISTS]
        ended = list(pool.map(lambda one: _accelerated(one.mixture, whole, careful), finalists))
    best = max(ended, key=lambda one: one.value)
    if n_components > 2 and best.mixture.weights.n_parameters:  # given weights belong to their components
        best = _polished(best, whole, part, careful)
    return [best.mixture, *_rivals(best, ended, whole)]


def _for_sample(regularisation: Regularisation, whole: Block) -> Regularisation:
    """A component must hold more rows of the sample than it takes to span its columns: fewer are a needle."""
    stands_for = float(weight_of(whole).sum()) / whole.n_rows
    least = (whole.x.shape[1] + 1) * stands_for if stands_for > 1 else 0.0
    return replace(regularisation, occupancy_floor=max(regularisation.occupancy_floor, least), on_singular="floor")


def _part(whole: Block, n_parameters: int) -> Block:
    every = max(1, whole.n_rows // max(PART_ROWS, ROWS_A_PARAMETER * n_parameters))
    return Block(0, 0, np.ascontiguousarray(whole.x[::every]), np.ascontiguousarray(weight_of(whole)[::every]) * every)


def _accelerated(mixture: Mixture, rows: Block, regularisation: Regularisation) -> Fitted:
    """EM with Anderson's extrapolation, until two steps one after the other gain next to nothing, counted in rows of the sample."""
    schedule, look, small_gains = Anderson(), Look(mixture, look_at(mixture, rows), regularisation), 0
    best = Fitted(mixture, (look.statistics.mean_log_likelihood,))
    for _ in range(LAST_STEPS):
        step = schedule.update(look)
        look = Look(step.mixture, look_at(step.mixture, rows), regularisation, step.memory)
        value = look.statistics.mean_log_likelihood
        gain = (value - best.value) * rows.n_rows
        if gain > 0:
            best = Fitted(step.mixture, (value,))
        small_gains = small_gains + 1 if 0 <= gain < LEFT * mixture.n_parameters else 0
        if small_gains == 2:
            break
    return best


def _merged_down(
    small: Sample, part: Block, family: type[AbstractGaussian], k: int, regularisation: Regularisation, rng: np.random.Generator
) -> Mixture | None:
    """From too many components down to k; None where one collapses on the way."""
    start = KMeansPlusPlus().start(family, small, max(k, too_many(k, part)), rng)
    return start if start.n_components == k else merged_path(start, part, [k], regularisation).get(k)


def _polished(best: Fitted, whole: Block, part: Block, regularisation: Regularisation) -> Fitted:
    """Merge the cheapest pair, split another component in its place, and keep what the whole sample likes better."""
    before = fit_on_sample(best.mixture, part, regularisation, steps=MOVE_STEPS).value
    tried = [fit_on_sample(one, part, regularisation, steps=MOVE_STEPS) for one in _moves(best.mixture, part)]
    better = [one for one in tried if one.value > before]
    if not better:
        return best
    ended = _accelerated(max(better, key=lambda one: one.value).mixture, whole, regularisation)
    return ended if ended.value > best.value else best


def _moves(mixture: Mixture, rows: Block) -> list[Mixture]:
    pairs = least_costly_pairs(mixture, 2)
    moves = []
    misfits = _misfits(mixture, rows)
    for pair in pairs:
        joined = merged(mixture, [pair], keep=True)
        moves += [joined.split(donor, pair[1]) for donor in [k for k in misfits if k not in pair][: MOVES // 2]]
    return moves


def _misfits(mixture: Mixture, rows: Block) -> Sequence[int]:
    """Components, those first whose rows look least like a Gaussian: the mean of |z|^4 against D (D + 2), times their weight."""
    components = mixture.components
    assert isinstance(components, AbstractGaussian)
    r = mixture.responsibilities(rows.x)
    d = components.n_features
    off = np.empty(mixture.n_components)
    for k in range(mixture.n_components):
        one = mixture.select([k]).components
        square = -2 * one.evaluate(rows.x, np.zeros(1))[0]
        square -= -2 * float(one.evaluate(np.ascontiguousarray(components.means[k : k + 1]), np.zeros(1))[0][0])
        n = max(float(r[:, k].sum()), 1e-300)
        off[k] = n * abs(float(r[:, k] @ square**2) / n / (d * (d + 2)) - 1)
    return [int(k) for k in np.argsort(-off, kind="stable")]


def _rivals(best: Fitted, ended: Sequence[Fitted], whole: Block) -> list[Mixture]:
    """The next best mixture, where it is another one and its rows' likelihoods differ from the best one's by chance only."""
    others = [one for one in ended if one is not best]
    if not others:
        return []
    rival = max(others, key=lambda one: one.value)
    difference = best.mixture.score_samples(whole.x) - rival.mixture.score_samples(whole.x)
    weight = weight_of(whole)
    mean = float(np.average(difference, weights=weight))
    error = float(np.sqrt(np.average((difference - mean) ** 2, weights=weight) / whole.n_rows))
    same = abs(mean) * whole.n_rows < LEFT * best.mixture.n_parameters
    return [] if same or mean > SAME * error else [rival.mixture]
