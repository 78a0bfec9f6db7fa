"""Tile kernels of Gaussians with independent columns (diag) or one variance for all columns (spherical). Floor 0.

Moments are taken about the component's current mean; spherical components keep the sum over columns only.
"""

__all__ = ["DiagFactors", "SphericalFactors"]

from typing import NamedTuple

from numba.core import types

from streamgmm.arrays import FloatArray
from streamgmm.kernels.compiling import inlined, overload
from streamgmm.kernels.dispatch import add_moments, log_joint_tile
from streamgmm.kernels.tile import TILE


class DiagFactors(NamedTuple):
    """Inverse standard deviations (K D)."""

    inverse_sd: FloatArray


class SphericalFactors(NamedTuple):
    """Inverse standard deviations (K 1): one for all columns of a component."""

    inverse_radius: FloatArray


@inlined()
def _diag_unrolled(tile, means, scale, constants, dims, log_joint):
    for k in range(means.shape[0]):
        for t in range(TILE):
            distance = 0.0
            for i in range(len(dims)):
                z = (tile[i * TILE + t] - means[k, i]) * scale[k, i]
                distance += z * z
            log_joint[k * TILE + t] = constants[k] - 0.5 * distance


@inlined()
def _spherical_unrolled(tile, means, scale, constants, dims, log_joint):
    for k in range(means.shape[0]):
        for t in range(TILE):
            distance = 0.0
            for i in range(len(dims)):
                z = (tile[i * TILE + t] - means[k, i]) * scale[k, 0]
                distance += z * z
            log_joint[k * TILE + t] = constants[k] - 0.5 * distance


@inlined()
def _looped(tile, means, scale, constants, dims, log_joint):
    step = 0 if scale.shape[1] == 1 else 1
    for k in range(means.shape[0]):
        out = log_joint[k * TILE : (k + 1) * TILE]
        for t in range(TILE):
            out[t] = 0.0
        for i in range(len(dims)):
            mean = means[k, i]
            factor = scale[k, i * step]
            for t in range(TILE):
                z = (tile[i * TILE + t] - mean) * factor
                out[t] += z * z
        for t in range(TILE):
            out[t] = constants[k] - 0.5 * out[t]


@inlined(reassociate=True)
def _moments(tile, share, k, means, dims, first, second):
    step = 0 if second.shape[1] == 1 else 1
    row = 0 if second.shape[0] == 1 else k
    for i in range(len(dims)):
        mean = means[k, i]
        total = 0.0
        square = 0.0
        for t in range(TILE):
            difference = tile[i * TILE + t] - mean
            part = share[t] * difference
            total += part
            square += part * difference
        first[k, i] += total
        second[row, i * step] += square


@overload(log_joint_tile)
def _log_joint_diag(tile, means, factors, constants, dims, log_joint, largest, work):
    if getattr(factors, "instance_class", None) is not DiagFactors:
        return None
    chosen = _diag_unrolled if isinstance(dims, types.BaseTuple) else _looped

    def implementation(tile, means, factors, constants, dims, log_joint, largest, work):
        chosen(tile, means, factors.inverse_sd, constants, dims, log_joint)

    return implementation


@overload(log_joint_tile)
def _log_joint_spherical(tile, means, factors, constants, dims, log_joint, largest, work):
    if getattr(factors, "instance_class", None) is not SphericalFactors:
        return None
    chosen = _spherical_unrolled if isinstance(dims, types.BaseTuple) else _looped

    def implementation(tile, means, factors, constants, dims, log_joint, largest, work):
        chosen(tile, means, factors.inverse_radius, constants, dims, log_joint)

    return implementation


@overload(add_moments)
def _add_moments(tile, share, k, means, factors, dims, work, first, second):
    if getattr(factors, "instance_class", None) not in (DiagFactors, SphericalFactors):
        return None

    def implementation(tile, share, k, means, factors, dims, work, first, second):
        _moments(tile, share, k, means, dims, first, second)

    return implementation
