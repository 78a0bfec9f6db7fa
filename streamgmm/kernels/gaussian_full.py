"""Tile kernels of Gaussians with a lower triangular whitening factor each (full) or one for all (tied). Floor 0.

z = W (x - m) with W = L^-1 and L L^T = V; the squared distance is |z|^2 (no cancellation at any offset). W is packed row by row:
W[j, i] stands at j(j+1)/2 + i. Moments are taken about the component's current mean.
"""

__all__ = ["FullFactors"]

from typing import NamedTuple

from numba.core import types

from streamgmm.arrays import FloatArray
from streamgmm.kernels.compiling import inlined, overload
from streamgmm.kernels.dispatch import add_moments, log_joint_tile
from streamgmm.kernels.tile import TILE


class FullFactors(NamedTuple):
    """Packed whitening factors (K P), or (1 P) where all components share one."""

    whitening: FloatArray


@inlined()
def _log_joint_unrolled(tile, means, factors, constants, dims, log_joint, largest, work):
    d = len(dims)
    shared = factors.whitening.shape[0] == 1
    for k in range(means.shape[0]):
        w = 0 if shared else k
        for t in range(TILE):
            distance = 0.0
            for j in range(d):
                z = 0.0
                for i in range(j + 1):
                    z += factors.whitening[w, j * (j + 1) // 2 + i] * (tile[i * TILE + t] - means[k, i])
                distance += z * z
            log_joint[k * TILE + t] = constants[k] - 0.5 * distance


@inlined()
def _log_joint_looped(tile, means, factors, constants, dims, log_joint, largest, work):
    d = len(dims)
    shared = factors.whitening.shape[0] == 1
    z = work[d * TILE : (d + 1) * TILE]
    for k in range(means.shape[0]):
        w = 0 if shared else k
        out = log_joint[k * TILE : (k + 1) * TILE]
        for t in range(TILE):
            out[t] = 0.0
        for i in range(d):
            for t in range(TILE):
                work[i * TILE + t] = tile[i * TILE + t] - means[k, i]
        for j in range(d):
            for t in range(TILE):
                z[t] = 0.0
            for i in range(j + 1):
                factor = factors.whitening[w, j * (j + 1) // 2 + i]
                for t in range(TILE):
                    z[t] += factor * work[i * TILE + t]
            for t in range(TILE):
                out[t] += z[t] * z[t]
        for t in range(TILE):
            out[t] = constants[k] - 0.5 * out[t]


@inlined(reassociate=True)
def _pair(p, q, work, second, row, j, i):
    """Add sum_t p_j x_i for one pair of columns; p at work[p+...], x at work[q+...]."""
    total = 0.0
    for t in range(TILE):
        total += work[p + j * TILE + t] * work[q + i * TILE + t]
    second[row, j * (j + 1) // 2 + i] += total


@inlined(reassociate=True)
def _nine_pairs(p, q, work, second, row, j, i, diagonal):
    """The 3 x 3 pairs from (j, i) on: nine sums per six loads keep the multipliers busy, single pairs would wait for memory."""
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = 0.0
    for t in range(TILE):
        p0, p1, p2 = work[p + j * TILE + t], work[p + (j + 1) * TILE + t], work[p + (j + 2) * TILE + t]
        q0, q1, q2 = work[q + i * TILE + t], work[q + (i + 1) * TILE + t], work[q + (i + 2) * TILE + t]
        s00 += p0 * q0
        s01 += p0 * q1
        s02 += p0 * q2
        s10 += p1 * q0
        s11 += p1 * q1
        s12 += p1 * q2
        s20 += p2 * q0
        s21 += p2 * q1
        s22 += p2 * q2
    row0, row1, row2 = j * (j + 1) // 2 + i, (j + 1) * (j + 2) // 2 + i, (j + 2) * (j + 3) // 2 + i
    second[row, row0] += s00
    second[row, row1] += s10
    second[row, row1 + 1] += s11
    second[row, row2] += s20
    second[row, row2 + 1] += s21
    second[row, row2 + 2] += s22
    if not diagonal:  # above the diagonal of a block on it, pairs stand twice
        second[row, row0 + 1] += s01
        second[row, row0 + 2] += s02
        second[row, row1 + 2] += s12


@inlined(reassociate=True)
def _moments(tile, share, k, means, dims, work, first, second):
    d = len(dims)
    row = 0 if second.shape[0] == 1 else k
    p = d * TILE  # differences stand from 0 on in `work`, the same times their shares from p on
    for i in range(d):
        column = work[i * TILE : (i + 1) * TILE]
        weighted = work[p + i * TILE : p + (i + 1) * TILE]
        mean = means[k, i]
        for t in range(TILE):
            column[t] = tile[i * TILE + t] - mean
        total = 0.0
        for t in range(TILE):
            weighted[t] = share[t] * column[t]
            total += weighted[t]
        first[k, i] += total
    whole = d - d % 3
    for j in range(0, whole, 3):
        for i in range(0, j + 1, 3):
            _nine_pairs(p, 0, work, second, row, j, i, i == j)
    for j in range(whole, d):
        for i in range(j + 1):
            _pair(p, 0, work, second, row, j, i)


@overload(log_joint_tile)
def _log_joint(tile, means, factors, constants, dims, log_joint, largest, work):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None
    chosen = _log_joint_unrolled if isinstance(dims, types.BaseTuple) else _log_joint_looped

    def implementation(tile, means, factors, constants, dims, log_joint, largest, work):
        chosen(tile, means, factors, constants, dims, log_joint, largest, work)

    return implementation


@overload(add_moments)
def _add_moments(tile, share, k, means, factors, dims, work, first, second):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None

    def implementation(tile, share, k, means, factors, dims, work, first, second):
        _moments(tile, share, k, means, dims, work, first, second)

    return implementation
