"""Tile kernels of Gaussians with independent columns (diag) or one variance for all columns (spherical). Floor 0.

Moments are taken about the component's current mean; spherical components keep the sum over columns only.
"""

__all__ = ["DiagFactors", "SphericalFactors"]

from collections.abc import Iterator
from typing import Any, NamedTuple

from numba.core import types

from streamgmm.arrays import FloatArray
from streamgmm.kernels.compiling import inlined, intrinsic, overload
from streamgmm.kernels.dispatch import add_feature_moments, add_moments, find_reached, log_joint_tile, write_features
from streamgmm.kernels.features import GROUP, LARGEST, MOST, diagonal_features, feature_count
from streamgmm.kernels.lanes import Lanes, column_count, pointers
from streamgmm.kernels.reach import reach_by
from streamgmm.kernels.tile import STRIPS, TILE, difference, rows_of_strips

DENSITY_LANES = 16  # of doubles; floats are twice as many
MOMENT_LANES = 4
COLUMNS = 5  # two sums each, and the count: registers hold them beside what they are made of


class DiagFactors(NamedTuple):
    """Inverse standard deviations (K D)."""

    inverse_sd: FloatArray


class SphericalFactors(NamedTuple):
    """Inverse standard deviations (K 1): one for all columns of a component."""

    inverse_radius: FloatArray


@intrinsic
def _log_joint_of(typing_context, tile, means, scale, constant, k, step, dims, joint, largest):
    """Write constant - distance/2 of component k to joint[k*TILE...], and keep the largest of all components in `largest`.

    scale (K D), step 1: of every column; scale (K 1), step 0: of all columns.
    """
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, means, scale, constant, k, step, _, joint, largest = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, DENSITY_LANES, tile)
        mean, row, added = v.times(k, d), v.times(k, TILE), v.spread(constant)
        scale = builder.gep(scale, [builder.mul(k, v.plus(v.times(step, d - 1), 1))])
        scales = [v.same(scale, v.times(step, i)) for i in range(d)]
        with v.loop(TILE, v.n) as t:
            distance = v.constant(0.0)
            for i in range(d):
                z = builder.fmul(difference(v, tile, t, means, mean, i), scales[i])
                distance = v.fma(z, z, distance)
            value = v.fma(distance, v.constant(-0.5), added)
            v.store(value, joint, builder.add(row, t))
            v.store(v.maximum(v.load(largest, t), value), largest, t)
        return context.get_dummy_value()

    return types.void(tile, means, scale, types.float64, types.intp, types.intp, dims, joint, largest), codegen


@inlined()
def _log_joint(tile, means, scale, step, constants, dims, reached, joint, largest):
    for k in range(means.shape[0]):
        if reached[k]:
            _log_joint_of(tile, means, scale, constants[k], k, step, dims, joint, largest)


def _intervals(v: Lanes, d: int, middle, half, means, scale, step, k) -> Iterator[tuple[Any, Any]]:
    """For `reach`. step as for densities."""
    mean, scale = v.b.gep(means, [v.times(k, d)]), v.b.gep(scale, [v.b.mul(k, v.plus(v.times(step, d - 1), 1))])
    with v.loop(d) as i:
        unit = v.double_at(scale, v.b.mul(step, i))
        y = v.b.fsub(v.double_at(middle, i), v.double_at(mean, i))
        yield v.b.fmul(v.magnitude(y), unit), v.b.fmul(v.double_at(half, i), unit)


_reach = reach_by(_intervals)


@intrinsic
def _add_moments(typing_context, tile, joint, factor, k, row, step, strips, n_strips, means, dims, counts, first, second):
    """Add component k's moments over the strips in which it takes part; the squares to line `row`, of each column (step 1) or of all."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, joint, factor, k, row, step, strips, n, means, _, counts, first, second = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, MOMENT_LANES, tile)
        strips = builder.gep(strips, [v.times(k, STRIPS)])
        joint = builder.gep(joint, [v.times(k, TILE)])
        mean, line = v.times(k, d), builder.mul(row, v.plus(v.times(step, d - 1), 1))
        for start in range(0, d, COLUMNS):
            columns = range(start, min(d, start + COLUMNS))
            sums, squares, count = v.zeros(len(columns)), v.zeros(len(columns)), v.zeros(1)[0]
            for t in rows_of_strips(v, strips, n):
                share = builder.fmul(v.load(joint, t), v.load(factor, t))
                if start == 0:
                    v.add_to(count, share)
                for i, total, square in zip(columns, sums, squares, strict=True):
                    y = difference(v, tile, t, means, mean, i)
                    p = builder.fmul(share, y)
                    v.add_to(total, p)
                    v.add_product_to(square, p, y)
            for i, total, square in zip(columns, sums, squares, strict=True):
                v.add_sum_at(first, v.plus(mean, i), total)
                v.add_sum_at(second, builder.add(line, v.times(step, i)), square)
            if start == 0:
                v.add_sum_at(counts, k, count)
        return context.get_dummy_value()

    size = types.intp
    return types.void(tile, joint, factor, size, size, size, strips, size, means, dims, counts, first, second), codegen


@inlined()
def _moments(tile, joint, factor, k, strips, n_strips, means, dims, counts, first, second):
    row = 0 if second.shape[0] == 1 else k
    step = 0 if second.shape[1] == 1 else 1
    _add_moments(tile, joint, factor, k, row, step, strips, n_strips, means, dims, counts, first, second)


@inlined()
def _add_feature_moments(sums, centre, means, dims, counts, first, second):
    d = len(dims)
    step = 0 if second.shape[1] == 1 else 1
    for k in range(sums.shape[0] * GROUP):
        mine = sums[k // GROUP, :, k % GROUP]
        row = 0 if second.shape[0] == 1 else k
        counts[k] += mine[0]
        for j in range(d):
            offset = means[k, j] - centre[j]
            about_mean = mine[1 + j] - mine[0] * offset
            first[k, j] += about_mean
            second[row, j * step] += mine[1 + d + j] - offset * (mine[1 + j] + about_mean)


@overload(log_joint_tile)
def _log_joint_tile(tile, means, factors, constants, dims, reached, joint, largest, work):
    family = getattr(factors, "instance_class", None)
    if family is DiagFactors:

        def diag(tile, means, factors, constants, dims, reached, joint, largest, work):
            _log_joint(tile, means, factors.inverse_sd, 1, constants, dims, reached, joint, largest)

        return diag
    if family is SphericalFactors:

        def spherical(tile, means, factors, constants, dims, reached, joint, largest, work):
            _log_joint(tile, means, factors.inverse_radius, 0, constants, dims, reached, joint, largest)

        return spherical
    return None


@overload(find_reached)
def _find_reached(tile, means, factors, constants, dims, bounded, first, work, joint, pace, reached):
    family = getattr(factors, "instance_class", None)
    if family is DiagFactors:

        def diag(tile, means, factors, constants, dims, bounded, first, work, joint, pace, reached):
            _reach(tile, means, factors.inverse_sd, 1, constants, means.shape[0], dims, bounded, first, work, joint, pace, reached)

        return diag
    if family is SphericalFactors:

        def spherical(tile, means, factors, constants, dims, bounded, first, work, joint, pace, reached):
            _reach(tile, means, factors.inverse_radius, 0, constants, means.shape[0], dims, bounded, first, work, joint, pace, reached)

        return spherical
    return None


@overload(add_moments)
def _add_moments_of(tile, joint, factor, k, strips, n_strips, means, factors, dims, work, counts, first, second):
    if getattr(factors, "instance_class", None) not in (DiagFactors, SphericalFactors):
        return None

    def implementation(tile, joint, factor, k, strips, n_strips, means, factors, dims, work, counts, first, second):
        _moments(tile, joint, factor, k, strips, n_strips, means, dims, counts, first, second)

    return implementation


@overload(write_features)
def _features(tile, factor, centre, factors, dims, features):
    if getattr(factors, "instance_class", None) not in (DiagFactors, SphericalFactors):
        return None
    if feature_count(column_count(dims), dense=False) > MOST:
        return lambda tile, factor, centre, factors, dims, features: LARGEST

    def implementation(tile, factor, centre, factors, dims, features):
        return diagonal_features(tile, factor, centre, dims, features)

    return implementation


@overload(add_feature_moments)
def _feature_moments(sums, centre, means, factors, dims, counts, first, second):
    if getattr(factors, "instance_class", None) not in (DiagFactors, SphericalFactors):
        return None

    def implementation(sums, centre, means, factors, dims, counts, first, second):
        _add_feature_moments(sums, centre, means, dims, counts, first, second)

    return implementation
