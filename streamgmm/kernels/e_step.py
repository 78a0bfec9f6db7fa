"""The loop over tiles: fused E-step, and the densities of rows. Floor 0.

One thread, no interpreter lock, no heap inside the loop, one order of operations: the same rows and the same parameters give the
same bits. A row's numbers are never stored for all components beyond the tile that is in cache.
"""

__all__ = ["LABELS", "LOG_JOINT", "RESPONSIBILITIES", "SCORES", "accumulate", "evaluate"]

import numpy as np

from streamgmm.kernels import gaussian_diag, gaussian_full  # noqa: F401  (they overload the operations below)
from streamgmm.kernels.compiling import kernel
from streamgmm.kernels.dispatch import add_feature_moments, add_moments, find_reached, log_joint_tile, write_features
from streamgmm.kernels.features import GROUP, LARGEST, add_feature_sums
from streamgmm.kernels.tile import (
    PITCH,
    STRIPS,
    TILE,
    clear_max,
    fill_absent,
    fill_tile,
    fill_weights,
    hard_tile,
    logarithms,
    most_probable,
    place_tile,
    row_factors,
    soft_tile,
)

MANY = GROUP * STRIPS // 2  # strips that a group must be felt in for a product over all of them to pay

LABELS, SCORES, RESPONSIBILITIES, LOG_JOINT = 0, 1, 2, 3


@kernel
def accumulate(
    x, sample_weight, means, factors, constants, dims, hard, bounded, centre, n_groups, n_features, origin, scale, counts, first, second
):
    """Add the rows' statistics about `means` to counts (K), first (K D) and second; return the sum of weight * log-likelihood.

    x (n d); sample_weight (n); constants (K): log weight - D/2 log 2 pi - 1/2 log|V|; hard: assign each row to one component.
    bounded: leave out components that the box of a tile's rows shows to be felt nowhere in it: the same bits.
    The first n_groups * GROUP components may be summed together, as n_features features about `centre` (D), where most rows feel them.

    With means of float32 (and factors, constants) the arithmetic within a tile is in float32, on rows as (x - origin) * scale, whose
    statistics these are then. Sums over tiles are in float64. Returned is NaN where a row is too far off for it.
    """
    kind = means.dtype
    n_components = means.shape[0]
    sums = np.zeros((n_groups, n_features, GROUP))
    tile, work, features = np.empty(len(dims) * PITCH, kind), np.empty(len(dims) * PITCH, kind), np.empty(n_features * PITCH, kind)
    joint, copy = np.empty(n_components * TILE, kind), np.empty(len(dims) * PITCH)
    largest, total, weight, factor = np.empty(TILE, kind), np.empty(TILE, kind), np.empty(TILE), np.empty(TILE, kind)
    strips, n_strips = np.empty(n_components * STRIPS, np.intp), np.empty(n_components, np.intp)
    pace, reached = np.empty(2, np.intp), np.empty(n_components, np.intp)
    log_likelihood = 0.0
    for start in range(0, x.shape[0], TILE):
        n = min(TILE, x.shape[0] - start)
        if not place_tile(x, start, n, dims, tile, origin, scale, copy):
            return np.nan
        fill_weights(sample_weight, start, n, weight)
        clear_max(largest)
        find_reached(tile, means, factors, constants, dims, bounded, start, work, joint, pace, reached)
        log_joint_tile(tile, means, factors, constants, dims, reached, joint, largest, work)
        if hard:
            fill_absent(joint, reached, 0, n_components, -np.inf)
            hard_tile(joint, n_components, largest, total, strips, n_strips)
        else:
            total[:] = 0.0
            for k in range(n_components):
                n_strips[k] = soft_tile(joint, k, largest, total, strips) if reached[k] else 0
        log_likelihood += row_factors(weight, total, largest, factor)
        grouped = n_groups > 0 and write_features(tile, factor, centre, factors, dims, features) < LARGEST
        for k in range(0, n_components, GROUP):
            felt = n_strips[k : k + GROUP].sum()
            if grouped and k < n_groups * GROUP and felt > MANY:
                fill_absent(joint, reached, k, k + GROUP, 0.0)
                add_feature_sums(joint, k // GROUP, features, n_features, sums)
            else:
                for a in range(k, min(k + GROUP, n_components)):
                    if n_strips[a] > 0:
                        add_moments(tile, joint, factor, a, strips, n_strips[a], means, factors, dims, work, counts, first, second)
    add_feature_moments(sums, centre, means, factors, dims, counts, first, second)
    return log_likelihood


@kernel
def evaluate(x, means, factors, constants, dims, bounded, what, score, label, matrix):
    """Most probable component (n) of every row; and its log density (n); and (n K) responsibilities or log joint densities.

    `what` says how much of it is wanted: LABELS only; SCORES too; a matrix too. bounded: as above, but for log joint densities.
    """
    n_components = means.shape[0]
    tile, work = np.empty(len(dims) * PITCH), np.empty(len(dims) * PITCH)
    joint = np.empty(n_components * TILE)
    largest, total, density = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    strips = np.empty(n_components * STRIPS, np.intp)
    pace, reached = np.empty(2, np.intp), np.empty(n_components, np.intp)
    for start in range(0, x.shape[0], TILE):
        n = min(TILE, x.shape[0] - start)
        fill_tile(x, start, n, dims, tile)
        clear_max(largest)
        find_reached(tile, means, factors, constants, dims, bounded and what != LOG_JOINT, start, work, joint, pace, reached)
        log_joint_tile(tile, means, factors, constants, dims, reached, joint, largest, work)
        fill_absent(joint, reached, 0, n_components, -np.inf)
        most_probable(joint, n_components, label, start, n)
        if what == LABELS:
            continue
        if what == LOG_JOINT:
            for t in range(n):
                for k in range(n_components):
                    matrix[start + t, k] = joint[k * TILE + t]
        total[:] = 0.0
        for k in range(n_components):
            soft_tile(joint, k, largest, total, strips)
        logarithms(total, largest, density)
        for t in range(n):
            score[start + t] = density[t]
        if what == RESPONSIBILITIES:
            for t in range(n):
                for k in range(n_components):
                    matrix[start + t, k] = joint[k * TILE + t] / total[t]
