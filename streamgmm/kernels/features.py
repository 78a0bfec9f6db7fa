"""Moments of several components at once, as one matrix product of their shares with features common to all of them. Floor 0.

Features of a row are 1, y_i and products of the y_i, with y the row less a centre that all components share; every feature is multiplied
by the row's weight over its total density beforehand. Sums of density times feature are then a plain product of two matrices, the
quickest thing a processor does. Going over to a component's own mean afterwards loses digits where that lies many of the component's
standard deviations away from the centre: such components are summed about their own means instead (`dispatch.add_moments`).
"""

__all__ = ["GROUP", "LARGEST", "MOST", "add_feature_sums", "diagonal_features", "feature_count", "product_features"]

from numba import types

from streamgmm.kernels.compiling import intrinsic
from streamgmm.kernels.lanes import Lanes, column_count, pointers
from streamgmm.kernels.tile import PITCH, TILE

GROUP = 4  # components of a product: with FEATURES each, 12 sums for 7 loads
FEATURES = 3
MOST = 100  # features: a tile's must stay in the second-level cache beside the densities
SUM_LANES = 4  # of doubles; floats are twice as many
FEATURE_LANES = 8
LARGEST = 1e280  # sums of squares beyond it are near to overflow: infinity times a share of nothing is not a number


def feature_count(d: int, *, dense: bool) -> int:
    """1, the columns, and their products with each other (dense) or with themselves."""
    return 1 + d + (d * (d + 1) // 2 if dense else d)


@intrinsic
def product_features(typing_context, tile, factor, centre, dims, features):
    """1, y_i, y_j y_i for i <= j (packed row by row), times the row's factor, to features[f*PITCH+t]; returns the sum of squares."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, factor, centre, _, features = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, FEATURE_LANES, tile)
        size = v.zeros(1)[0]
        with v.loop(TILE, v.n) as t:
            share = v.load(factor, t)
            v.store(share, features, t)
            y = [_y(v, tile, t, centre, j) for j in range(d)]
            for j in range(d):
                p = builder.fmul(share, y[j])
                v.store(p, features, v.plus(t, (1 + j) * PITCH))
                for i in range(j + 1):
                    product = builder.fmul(p, y[i])
                    v.store(product, features, v.plus(t, (1 + d + j * (j + 1) // 2 + i) * PITCH))
                v.add_to(size, product)
        return v.sum(builder.load(size))

    return types.float64(tile, factor, centre, dims, features), codegen


@intrinsic
def diagonal_features(typing_context, tile, factor, centre, dims, features):
    """1, y_i, y_i^2, times the row's factor, to features[f*PITCH+t]; returns the sum of squares."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, factor, centre, _, features = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, FEATURE_LANES, tile)
        size = v.zeros(1)[0]
        with v.loop(TILE, v.n) as t:
            share = v.load(factor, t)
            v.store(share, features, t)
            y = [_y(v, tile, t, centre, j) for j in range(d)]
            for j in range(d):
                p = builder.fmul(share, y[j])
                v.store(p, features, v.plus(t, (1 + j) * PITCH))
                square = builder.fmul(p, y[j])
                v.store(square, features, v.plus(t, (1 + d + j) * PITCH))
                v.add_to(size, square)
        return v.sum(builder.load(size))

    return types.float64(tile, factor, centre, dims, features), codegen


def _y(v: Lanes, tile, t, centre, i: int):
    return v.b.fsub(v.load(tile, v.plus(t, i * PITCH)), v.same(centre, v.index(i)))


@intrinsic
def add_feature_sums(typing_context, joint, k, features, n_features, sums):
    """Add sum_t joint[(k+a)*TILE+t] features[f*PITCH+t] to sums[(f*GROUP+a)] for the GROUP components from k on and all features."""

    def codegen(context, builder, signature, arguments):
        joint, group, features, n, sums = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, SUM_LANES, joint)
        rows = [builder.gep(joint, [v.times(v.plus(v.times(group, GROUP), a), TILE)]) for a in range(GROUP)]
        sums = builder.gep(sums, [v.times(builder.mul(group, n), GROUP)])
        whole = builder.mul(builder.udiv(n, v.index(FEATURES)), v.index(FEATURES))
        with v.loop(whole, FEATURES) as f:
            _add_block(v, rows, [v.plus(f, one) for one in range(FEATURES)], features, sums)
        with v.loop(builder.sub(n, whole)) as rest:
            _add_block(v, rows, [builder.add(whole, rest)], features, sums)
        return context.get_dummy_value()

    return types.void(joint, types.intp, features, types.intp, sums), codegen


def _add_block(v: Lanes, rows, columns, features, sums) -> None:
    totals = [v.zeros(GROUP) for _ in columns]
    places = [v.b.gep(features, [v.times(f, PITCH)]) for f in columns]
    with v.loop(TILE, v.n) as t:
        loaded = [v.load(place, t) for place in places]
        for a, row in enumerate(rows):
            share = v.load(row, t)
            for feature, total in zip(loaded, totals, strict=True):
                v.add_product_to(total[a], share, feature)
    for f, total in zip(columns, totals, strict=True):
        place = v.times(f, GROUP)
        four = v.sums_of([v.b.load(one) for one in total])
        here = Lanes(v.b, GROUP)
        here.store(v.b.fadd(here.load(sums, place), four), sums, place)
