"""The step that EM on the sample in memory leads to, corrected by what all rows have just said. Floor 4.

With M(x) the mixture that EM makes of x, as a vector (coordinates.py), from all rows and M_S(x) from the sample, one pass gives M(x_t).
The step goes to the fixed point of M_S(x) + M(x_t) - M_S(x_t), found in memory: the sample stands in for the curvature only. Where x_t
is its own fixed point, it is EM's over all rows. Near one the step is Newton's with the sample's information (remaining_error.py), of
which no matrix is made, so that it fits any number of parameters. This is the surrogate likelihood of Jordan, Lee & Yang (2019, arXiv
1605.07689), solved by EM as in Chen, Zhu, Teh & Zhang (2018), with corrections that leave every covariance positive definite.
"""

__all__ = ["ROWS_A_PARAMETER", "anchored_step"]

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from streamgmm.arrays import FloatArray
from streamgmm.block import Block
from streamgmm.coordinates import from_vector, scale_of, to_vector
from streamgmm.em import MixtureStatistics, e_step, m_step
from streamgmm.errors import ConfigError
from streamgmm.implied import gaussian
from streamgmm.mixture import Mixture
from streamgmm.remaining_error import NewtonStep, decrement_towards
from streamgmm.schedules.anderson import extrapolated, history
from streamgmm.schedules.base import Look
from streamgmm.weights.free import FreeWeights

ROWS_A_PARAMETER = 200  # of the sample: its curvature must be that of all rows
ROWS_A_MOMENT = 50  # the same of one component; one with fewer takes EM's step
MOST_STEPS = 300  # of EM in memory
ENOUGH = 1e-4  # of the first residual: a smaller one ends them
ASTRAY = 10.0  # times the least residual: extrapolation begins anew
CHUNKS = 8  # of the sample, looked at side by side, and added in their order

Law = Callable[[Mixture], Mixture]


def anchored_step(look: Look) -> NewtonStep | None:
    """The step and what it is expected to gain; None where the sample is too small for either, or EM on it fails."""
    sample, mixture = look.sample, look.mixture
    if sample is None or sample.n_rows < ROWS_A_PARAMETER * mixture.n_parameters:
        return None
    image, repairs = m_step(look.statistics, mixture, look.regularisation)
    thin = _thin(mixture, sample)
    if repairs or thin.all():
        return None
    with threadpool_limits(1), ThreadPoolExecutor(look.threads, "streamgmm-anchored") as pool:
        chunks = _chunks(sample)

        def on_sample(one: Mixture) -> Mixture:
            return _maximised(one, chunks, look, pool)

        try:
            shift = to_vector(image) - to_vector(on_sample(mixture))
            found, solved = _fixed_point(lambda one: _with(thin, from_vector(to_vector(on_sample(one)) + shift, one), image), mixture)
        except ConfigError:
            return None
    decrement = decrement_towards(mixture, look.statistics.components, found)
    is_guess = bool(thin.any()) or not solved  # EM's own step is shorter than Newton's, and its decrement smaller
    return NewtonStep(decrement, decrement / 2, found, is_guess) if decrement > 0 else None  # else downhill: no fixed point was found


def _fixed_point(law: Law, start: Mixture) -> tuple[Mixture, bool]:
    """Of the images seen, that of least residual, and whether it is one."""
    mixture, best, least, first = start, start, np.inf, np.inf
    kept: dict[str, FloatArray] = {}
    scale = scale_of(start)
    for _ in range(MOST_STEPS):
        image = law(mixture)
        x, y = to_vector(mixture), to_vector(image)
        residual = float(np.linalg.norm((y - x) * scale))
        first = min(first, residual) if np.isinf(first) else first
        if residual < least:
            best, least = image, residual
        if least <= ENOUGH * first:
            return best, True
        if not residual <= ASTRAY * least:
            mixture, kept = best, {}
            continue
        points, images = history(kept, x, y)
        kept = {"points": points, "images": images}
        mixture = extrapolated(points, images, start) or image
    return best, False


def _maximised(mixture: Mixture, chunks: list[Block], look: Look, pool: Executor) -> Mixture:
    """EM's step from the sample. Raises ConfigError where a component has to be repaired there."""
    parts = pool.map(lambda rows: e_step([mixture], rows, block_rows=max(1, rows.n_rows))[0], chunks)
    statistics: MixtureStatistics = reduce(lambda a, b: a.merge(b), parts)
    image, repairs = m_step(statistics, mixture, replace(look.regularisation, on_singular="floor"))
    if repairs or not (image.weights.proportions > 0).all():
        raise ConfigError("a component collapses on the sample")
    return image


def _chunks(sample: Block) -> list[Block]:
    edges = np.linspace(0, sample.n_rows, CHUNKS + 1).astype(int)
    weight = sample.sample_weight
    return [Block(0, 0, sample.x[a:b], None if weight is None else weight[a:b]) for a, b in pairwise(edges) if b > a]


def _thin(mixture: Mixture, sample: Block) -> npt.NDArray[np.bool_]:
    """Components of which the sample holds too few rows, counted as equally weighted ones."""
    total, squares = np.zeros(mixture.n_components), np.zeros(mixture.n_components)
    for rows in _tiles(sample):
        r = mixture.responsibilities(rows.x)
        r *= 1.0 if rows.sample_weight is None else rows.sample_weight[:, None]
        total += r.sum(axis=0)
        squares += (r**2).sum(axis=0)
    d = mixture.n_features
    return np.asarray(total**2 < ROWS_A_MOMENT * (d + 1) * (d + 2) / 2 * squares)


def _tiles(sample: Block, rows: int = 8192) -> list[Block]:
    weight = sample.sample_weight
    at = range(0, sample.n_rows, rows)
    return [Block(0, 0, sample.x[i : i + rows], None if weight is None else weight[i : i + rows]) for i in at]


def _with(thin: npt.NDArray[np.bool_], mixture: Mixture, image: Mixture) -> Mixture:
    """The mixture with EM's image in place of the thin components."""
    if not thin.any():
        return mixture
    components, other, weights = gaussian(mixture), gaussian(image), mixture.weights
    means = np.where(thin[:, None], other.means, components.means)
    covariances = components.covariances
    if not components.structure.shared:
        covariances = np.where(thin.reshape(-1, *[1] * (covariances.ndim - 1)), other.covariances, covariances)
    if isinstance(weights, FreeWeights):
        theirs, own = image.weights.proportions, weights.proportions
        shares = np.where(thin, theirs, own * (1 - theirs[thin].sum()) / own[~thin].sum())
        weights = FreeWeights(shares / shares.sum())
    return Mixture(type(components)(means, covariances), weights)
