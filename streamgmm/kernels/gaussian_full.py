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
def _log_joint_unrolled(tile, means, factors, constants, dims, log_joint, largest, work):  # type: ignore[no-untyped-def]
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
def _log_joint_looped(tile, means, factors, constants, dims, log_joint, largest, work):  # type: ignore[no-untyped-def]
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
def _moments(tile, share, k, means, dims, work, first, second):  # type: ignore[no-untyped-def]
    d = len(dims)
    row = 0 if second.shape[0] == 1 else k
    for i in range(d):
        for t in range(TILE):
            work[i * TILE + t] = tile[i * TILE + t] - means[k, i]
    for j in range(d):
        total = 0.0
        for t in range(TILE):
            total += share[t] * work[j * TILE + t]
        first[k, j] += total
        for i in range(j + 1):
            product = 0.0
            for t in range(TILE):
                product += share[t] * work[j * TILE + t] * work[i * TILE + t]
            second[row, j * (j + 1) // 2 + i] += product


@overload(log_joint_tile)
def _log_joint(tile, means, factors, constants, dims, log_joint, largest, work):  # type: ignore[no-untyped-def]
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None
    chosen = _log_joint_unrolled if isinstance(dims, types.BaseTuple) else _log_joint_looped

    def implementation(tile, means, factors, constants, dims, log_joint, largest, work):  # type: ignore[no-untyped-def]
        chosen(tile, means, factors, constants, dims, log_joint, largest, work)

    return implementation


@overload(add_moments)
def _add_moments(tile, share, k, means, factors, dims, work, first, second):  # type: ignore[no-untyped-def]
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None

    def implementation(tile, share, k, means, factors, dims, work, first, second):  # type: ignore[no-untyped-def]
        _moments(tile, share, k, means, dims, work, first, second)

    return implementation
