"""The loop over tiles: fused E-step, and the densities of rows. Floor 0.

One thread, no interpreter lock, no heap inside the loop, one order of operations: the same rows and the same parameters give the
same bits. A row's numbers are never stored for all components beyond the tile that is in cache.
"""

__all__ = ["LOG_JOINT", "NOTHING", "RESPONSIBILITIES", "accumulate", "evaluate"]

import numpy as np

from streamgmm.kernels import gaussian_diag, gaussian_full  # noqa: F401  (they overload the two operations below)
from streamgmm.kernels.compiling import inlined, kernel
from streamgmm.kernels.dispatch import add_moments, log_joint_tile
from streamgmm.kernels.tile import TILE, clear_max, fill_tile, hard_tile, soft_tile

NOTHING, RESPONSIBILITIES, LOG_JOINT = 0, 1, 2

# Shares whose sum over a tile is below 1e-20 of the weight of a mean row of the tile change no bit of statistics that hold such a row.
# (Relative to the rows' weights, whose unit must not matter.)
NEGLIGIBLE = 1e-20 / TILE


@inlined()
def _largest(log_joint, n_components, largest):
    clear_max(largest)
    for k in range(n_components):
        for t in range(TILE):
            value = log_joint[k * TILE + t]
            largest[t] = value if value > largest[t] else largest[t]


@inlined(reassociate=True)
def _shares(joint, k, row_factor, share):
    total = 0.0
    for t in range(TILE):
        share[t] = joint[k * TILE + t] * row_factor[t]
        total += share[t]
    return total


@kernel
def accumulate(x, sample_weight, means, factors, constants, dims, hard, counts, first, second):
    """Add the rows' statistics about `means` to counts (K), first (K D) and second; return sum of weight * log-likelihood.

    x (n d); sample_weight (n); constants (K): log weight - D/2 log 2 pi - 1/2 log|V|; hard: assign each row to one component.
    """
    n_components = means.shape[0]
    tile = np.empty(len(dims) * TILE)
    work = np.empty((2 * len(dims) + 1) * TILE)
    joint = np.empty(n_components * TILE)
    largest, total, row_factor, share = np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE)
    log_likelihood = 0.0
    for start in range(0, x.shape[0], TILE):
        n = min(TILE, x.shape[0] - start)
        fill_tile(x, start, n, tile)
        log_joint_tile(tile, means, factors, constants, dims, joint, largest, work)
        _largest(joint, n_components, largest)
        if hard:
            hard_tile(joint, n_components, largest, total)
        else:
            soft_tile(joint, n_components, largest, total)
        tile_likelihood = 0.0
        tile_weight = 0.0
        for t in range(n):
            tile_weight += sample_weight[start + t]
            if sample_weight[start + t] > 0.0:
                tile_likelihood += sample_weight[start + t] * (largest[t] + np.log(total[t]))
            row_factor[t] = sample_weight[start + t] / total[t]
        log_likelihood += tile_likelihood
        for t in range(n, TILE):
            row_factor[t] = 0.0
        for k in range(n_components):
            tile_count = _shares(joint, k, row_factor, share)
            if tile_count > NEGLIGIBLE * tile_weight:
                counts[k] += tile_count
                add_moments(tile, share, k, means, factors, dims, work, first, second)
    return log_likelihood


@kernel
def evaluate(x, means, factors, constants, dims, what, score, label, matrix):
    """Log density (n) and most probable component (n) of every row; matrix (n K): nothing, responsibilities or log joint densities."""
    n_components = means.shape[0]
    tile = np.empty(len(dims) * TILE)
    work = np.empty((2 * len(dims) + 1) * TILE)
    joint = np.empty(n_components * TILE)
    largest, total = np.empty(TILE), np.empty(TILE)
    for start in range(0, x.shape[0], TILE):
        n = min(TILE, x.shape[0] - start)
        fill_tile(x, start, n, tile)
        log_joint_tile(tile, means, factors, constants, dims, joint, largest, work)
        _largest(joint, n_components, largest)
        for t in range(n):
            best = 0
            for k in range(1, n_components):
                if joint[k * TILE + t] > joint[best * TILE + t]:
                    best = k
            label[start + t] = best
            if what == LOG_JOINT:
                for k in range(n_components):
                    matrix[start + t, k] = joint[k * TILE + t]
        soft_tile(joint, n_components, largest, total)
        for t in range(n):
            score[start + t] = largest[t] + np.log(total[t])
            if what == RESPONSIBILITIES:
                for k in range(n_components):
                    matrix[start + t, k] = joint[k * TILE + t] / total[t]
