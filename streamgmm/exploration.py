"""All starts on a sample in memory, and the few mixtures worth reading the table for. Floor 6.

Reads nothing. Starts of several kinds run some steps of EM on a part of the sample, the better half of them some more; the best that
differ go on, accelerated, on all of it, until what they may still gain there is small; then components are merged and split where that
helps (Ueda et al. 2000; which pair to merge: Runnalls 2007), and Newton's steps lead the best one off the plateaus of EM. One start in
three begins with three times the components and merges them down. A second mixture is kept only where the sample cannot tell it from the
best one. The same seed gives the same bits, whatever the number of threads.
"""

__all__ = ["MOST_SURVIVORS", "explore", "explored_rows", "parameters"]

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayN
from streamgmm.block import Block
from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.errors import StreamGMMError
from streamgmm.information import whitening_of
from streamgmm.initialisers._sample import Sample
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.initialisers.kmeans_plus_plus import KMeansPlusPlus
from streamgmm.merging import least_costly_pairs, merged
from streamgmm.mixture import Mixture
from streamgmm.over_fit import merged_path, too_many
from streamgmm.regularisation import Regularisation
from streamgmm.sample_em import Fitted, fit_on_sample, look_at, weight_of
from streamgmm.schedules.anderson import Anderson
from streamgmm.schedules.auto import Auto
from streamgmm.schedules.base import Look

MOST_SURVIVORS = 2
EXPLORED_ROWS, EXPLORED_ROWS_A_PARAMETER = 200_000, 200  # of a sample
MOST_EXPLORED = 1 << 29  # its bytes
LEAST_STARTS = 10
FIRST_STEPS, SECOND_STEPS = 10, 20  # of EM, for every start, and for the better half of them
FINALISTS = 3
SAME_OPTIMUM = 0.1  # mean square of the parameters' differences in standard errors of the part: mixtures this near lead to one optimum
LAST_STEPS, NEWTON_STEPS = 60, 40  # accelerated ones, at most
SETTLED = 0.02  # mean square of the remaining error in standard errors of the sample
LEFT = 1e-3  # nats a parameter, as the sample counts them: a smaller gain ends the accelerated steps
MOVES = 6  # merges and splits tried on the winner
MOVE_STEPS = 12
PART_ROWS, ROWS_A_PARAMETER = 20_000, 40  # of the sample, for first steps and moves
FELT = 1e-9  # of a row: a smaller share of it makes no component look less like a Gaussian
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
                start = _merged_down(small, family, n_components, careful, rng)
            else:
                maker = initialiser if number == 0 else KMeansPlusPlus()
                start = maker.start(family, small, n_components, rng)
            return None if start is None else fit_on_sample(law(start), part, careful, steps=FIRST_STEPS)
        except StreamGMMError:  # a start that collapses is no start; what ails the rows themselves ends all of them
            return None

    def go_on(one: Fitted) -> Fitted:
        try:
            return fit_on_sample(one.mixture, part, careful, steps=SECOND_STEPS)
        except StreamGMMError:
            return one

    # The limit is the whole process's: set here once, it cannot be lifted by one thread while another one counts on it.
    with threadpool_limits(1), ThreadPoolExecutor(threads, "streamgmm-explore") as pool:
        found = [one for one in pool.map(begin, range(len(generators))) if one is not None]
        if not found:
            return [law(initialiser.start(family, sample, n_components, np.random.default_rng(seed)))]
        found = list(pool.map(go_on, _ranked(found)[: max(FINALISTS, (len(found) + 1) // 2)]))
        chosen = _distinct(_ranked(found), part)
        ended = list(pool.map(lambda one: _accelerated(one.mixture, whole, careful, Anderson(), LAST_STEPS), chosen))
        best = max(ended, key=lambda one: one.value)
        if n_components > 2 and best.mixture.weights.n_parameters:  # given weights belong to their components
            best = _polished(best, whole, part, careful)
        others = [one for one in ended if one is not best]
        best = _accelerated(best.mixture, whole, careful, Auto(), NEWTON_STEPS, part, threads)
    return [best.mixture, *_rivals(best, others, whole)]


def _for_sample(regularisation: Regularisation, whole: Block) -> Regularisation:
    """A component must hold more rows of the sample than it takes to span its columns: fewer are a needle."""
    stands_for = float(weight_of(whole).sum()) / whole.n_rows
    least = (whole.x.shape[1] + 1) * stands_for if stands_for > 1 else 0.0
    return replace(regularisation, occupancy_floor=max(regularisation.occupancy_floor, least), on_singular="floor")


def _part(whole: Block, n_parameters: int) -> Block:
    every = max(1, whole.n_rows // max(PART_ROWS, ROWS_A_PARAMETER * n_parameters))
    return Block(0, 0, np.ascontiguousarray(whole.x[::every]), np.ascontiguousarray(weight_of(whole)[::every]) * every)


def _ranked(found: Sequence[Fitted]) -> list[Fitted]:
    return sorted(found, key=lambda one: -one.value)


def _distinct(ranked: Sequence[Fitted], part: Block) -> list[Fitted]:
    """The best few of them, but for those on the way to the optimum of a better one, and those that will not come near the best one.

    Rows have the same densities under mixtures on the way to one optimum. Where more steps would lead is Aitken's guess.
    """
    chosen: list[Fitted] = []
    densities: list[ArrayN] = []
    for one in ranked[:FINALISTS]:
        density = one.mixture.score_samples(part.x)
        apart = [density - other for other in densities]
        same = any(float(np.sum(difference**2)) < SAME_OPTIMUM * one.mixture.n_parameters for difference in apart)
        error = float(np.std(apart[0])) / np.sqrt(part.n_rows) if apart else 0.0
        hopeless = ranked[0].value - one.at_the_end > SAME * error
        if not (same or hopeless):
            chosen.append(one)
            densities.append(density)
    return chosen


def _accelerated(
    mixture: Mixture,
    rows: Block,
    regularisation: Regularisation,
    schedule: Anderson,
    steps: int,
    sample: Block | None = None,
    threads: int = 1,
) -> Fitted:
    """The best mixture of so many steps, fewer where two of them one after the other gain next to nothing, counted in rows.

    sample: for a schedule that takes Newton's steps, which ends when the remaining error is small beside what rows leave anyway.
    """
    tol = SETTLED * float(weight_of(rows).sum()) / rows.n_rows
    look, small_gains = Look(mixture, look_at(mixture, rows), regularisation, tol=tol, sample=sample, threads=threads), 0
    best = Fitted(mixture, (look.statistics.mean_log_likelihood,))
    for _ in range(steps):
        step = schedule.update(look)
        if step.converged:
            break
        values = (*look.log_likelihoods, look.statistics.mean_log_likelihood)
        look = replace(look, mixture=step.mixture, statistics=look_at(step.mixture, rows), memory=step.memory, log_likelihoods=values)
        value = look.statistics.mean_log_likelihood
        gain = (value - best.value) * rows.n_rows
        if gain > 0:
            best = Fitted(step.mixture, (value,))
        small_gains = small_gains + 1 if 0 <= gain < LEFT * mixture.n_parameters else 0
        if small_gains == 2:
            break
    return best


def _merged_down(
    small: Sample, family: type[AbstractGaussian], k: int, regularisation: Regularisation, rng: np.random.Generator
) -> Mixture | None:
    """From too many components down to k; None where one collapses on the way."""
    start = KMeansPlusPlus().start(family, small, max(k, too_many(k, small.block)), rng)
    return start if start.n_components == k else merged_path(start, small.block, [k], regularisation).get(k)


def _polished(best: Fitted, whole: Block, part: Block, regularisation: Regularisation) -> Fitted:
    """Merge the cheapest pair, split another component in its place, and keep what the whole sample likes better."""
    before = fit_on_sample(best.mixture, part, regularisation, steps=MOVE_STEPS).value
    tried = [fit_on_sample(one, part, regularisation, steps=MOVE_STEPS) for one in _moves(best.mixture, part)]
    better = [one for one in tried if one.value > before]
    if not better:
        return best
    ended = _accelerated(max(better, key=lambda one: one.value).mixture, whole, regularisation, Anderson(), LAST_STEPS)
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
    w, d = whitening_of(components), components.n_features
    off = np.empty(mixture.n_components)
    for k in range(mixture.n_components):
        mine = np.flatnonzero(r[:, k] > FELT)
        share = r[mine, k]
        square = (((rows.x[mine] - components.means[k]) @ w[k].T) ** 2).sum(axis=1)
        n = max(float(share.sum()), 1e-300)
        off[k] = n * abs(float(share @ square**2) / n / (d * (d + 2)) - 1)
    return [int(k) for k in np.argsort(-off, kind="stable")]


def _rivals(best: Fitted, others: Sequence[Fitted], whole: Block) -> list[Mixture]:
    """The next best mixture, where it is another one and its rows' likelihoods differ from the best one's by chance only."""
    if not others:
        return []
    rival = max(others, key=lambda one: one.value)
    difference = best.mixture.score_samples(whole.x) - rival.mixture.score_samples(whole.x)
    weight = weight_of(whole)
    mean = float(np.average(difference, weights=weight))
    error = float(np.sqrt(np.average((difference - mean) ** 2, weights=weight) / whole.n_rows))
    same = abs(mean) * whole.n_rows < LEFT * best.mixture.n_parameters
    return [] if same or mean > SAME * error else [rival.mixture]
