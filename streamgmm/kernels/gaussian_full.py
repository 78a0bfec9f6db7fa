"""Tile kernels of Gaussians with a lower triangular whitening factor each (full) or one for all (tied). Floor 0.

z = W (x - m) with W = L^-1 and L L^T = V; the squared distance is |z|^2 (no cancellation at any offset). W is packed row by row:
W[j, i] stands at j(j+1)/2 + i. Moments are taken about the component's current mean.
"""

__all__ = ["FullFactors"]

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from numba.core import types

from streamgmm.arrays import FloatArray
from streamgmm.kernels.compiling import inlined, intrinsic, overload
from streamgmm.kernels.dispatch import add_feature_moments, add_moments, find_reached, log_joint_tile, write_features
from streamgmm.kernels.features import GROUP, LARGEST, MOST, feature_count, product_features
from streamgmm.kernels.lanes import Lanes, column_count, pointers
from streamgmm.kernels.reach import reach_by
from streamgmm.kernels.tile import PITCH, STRIPS, TILE, difference, rows_of_strips

DENSITY_LANES = 8  # of doubles; floats are twice as many
MOMENT_LANES = 4
IN_REGISTERS = 8  # columns whose differences stay in registers while distances are summed
ROWS_OF_W = 5  # rows of the whitening factor that share the loads of a difference
EDGE = 3  # columns to a side of the blocks of pairs: 9 sums for 6 loads keep the multipliers busy
COLUMNS = 6  # columns whose sums stay in registers while their shares are written
UNROLLED = 16  # up to here every block of pairs has code of its own


class FullFactors(NamedTuple):
    """Packed whitening factors (K P), or (1 P) where all components share one."""

    whitening: FloatArray


def packed(v: Lanes, j, i):
    """Where entry (j, i), i <= j, of a lower triangle stands; j and i are values."""
    b = v.b
    return b.add(b.udiv(b.mul(j, v.plus(j, 1)), v.index(2)), i)


# ---- log densities -----------------------------------------------------------------------------------------------------


@intrinsic
def _log_joint_of(typing_context, tile, means, whitening, constant, k, w, dims, joint, largest, work):
    """Write constant - distance/2 of component k to joint[k*TILE...], and keep the largest of all components in `largest`."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, means, whitening, constant, k, w, _, joint, largest, work = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, DENSITY_LANES, tile)
        mean, factor, row = v.times(k, d), v.times(w, d * (d + 1) // 2), v.times(k, TILE)
        added = v.spread(constant)
        distance = _distance_in_registers if d <= IN_REGISTERS else _distance_through_memory
        with v.loop(TILE, v.n) as t:
            value = v.fma(distance(v, d, tile, t, means, mean, whitening, factor, work), v.constant(-0.5), added)
            v.store(value, joint, builder.add(row, t))
            v.store(v.maximum(v.load(largest, t), value), largest, t)
        return context.get_dummy_value()

    return types.void(tile, means, whitening, types.float64, types.intp, types.intp, dims, joint, largest, work), codegen


def _sum_of_squares(v: Lanes, z: Sequence[Any], before=None):
    for one in z:
        before = v.b.fmul(one, one) if before is None else v.fma(one, one, before)
    return before


def _distance_in_registers(v: Lanes, d: int, tile, t, means, mean, whitening, factor, work):
    y = [difference(v, tile, t, means, mean, i) for i in range(d)]
    sums: list[Any] = [None, None]  # two chains: each waits for itself only
    for j in range(d):
        z = None
        for i in range(j + 1):
            entry = v.same(whitening, v.plus(factor, j * (j + 1) // 2 + i))
            z = v.b.fmul(entry, y[i]) if z is None else v.fma(entry, y[i], z)
        sums[j % 2] = _sum_of_squares(v, [z], sums[j % 2])
    return sums[0] if sums[1] is None else v.b.fadd(sums[0], sums[1])


def _distance_through_memory(v: Lanes, d: int, tile, t, means, mean, whitening, factor, work):
    for i in range(d):
        v.store(difference(v, tile, t, means, mean, i), work, v.index(i * v.n))
    total = v.zeros(1)[0]
    whole = d - d % ROWS_OF_W
    with v.loop(whole, ROWS_OF_W) as first:  # a loop in the code too: unrolled, its sums would not find room in the registers
        _add_squares(v, ROWS_OF_W, first, whitening, factor, work, total)
    _add_squares(v, d - whole, v.index(whole), whitening, factor, work, total)
    return v.b.load(total)


def _add_squares(v: Lanes, n_rows: int, first, whitening, factor, work, total) -> None:
    """Add the squares of n_rows rows' products with the differences, from row `first` (a value) on, to the total."""
    z = v.zeros(n_rows)
    rows = [v.b.add(factor, packed(v, v.plus(first, j), v.index(0))) for j in range(n_rows)]
    with v.loop(first) as i:  # the columns that all these rows have
        y = v.load(work, v.times(i, v.n))
        for row, sum_j in zip(rows, z, strict=True):
            v.add_product_to(sum_j, v.same(whitening, v.b.add(row, i)), y)
    for i in range(n_rows):  # the triangle at their ends
        column = v.plus(first, i)
        y = v.load(work, v.times(column, v.n))
        for row, sum_j in zip(rows[i:], z[i:], strict=True):
            v.add_product_to(sum_j, v.same(whitening, v.b.add(row, column)), y)
    v.b.store(_sum_of_squares(v, [v.b.load(one) for one in z], v.b.load(total)), total)


@inlined()
def _log_joint_full(tile, means, whitening, constants, dims, reached, joint, largest, work):
    for k in range(means.shape[0]):
        w = 0 if whitening.shape[0] == 1 else k
        if reached[k]:
            _log_joint_of(tile, means, whitening, constants[k], k, w, dims, joint, largest, work)


def _intervals(v: Lanes, d: int, middle, half, means, whitening, step, k) -> Iterator[tuple[Any, Any]]:
    """For `reach`. step: 1, or 0 where all components share one factor."""
    mean, factor = v.b.gep(means, [v.times(k, d)]), v.b.gep(whitening, [v.times(v.b.mul(k, step), d * (d + 1) // 2)])
    with v.loop(d) as j:
        centre, width = v.variable(0.0), v.variable(0.0)
        with v.loop(v.plus(j, 1)) as i:
            entry = v.double_at(factor, packed(v, j, i))
            y = v.b.fsub(v.double_at(middle, i), v.double_at(mean, i))
            v.b.store(v.b.fadd(v.b.load(centre), v.b.fmul(entry, y)), centre)
            v.b.store(v.b.fadd(v.b.load(width), v.b.fmul(v.magnitude(entry), v.double_at(half, i))), width)
        yield v.magnitude(v.b.load(centre)), v.b.load(width)


_reach = reach_by(_intervals)


# ---- moments -----------------------------------------------------------------------------------------------------------


@intrinsic
def _add_moments(typing_context, tile, joint, factor, k, row, strips, n_strips, means, dims, work, counts, first, second):
    """Add component k's moments over the strips in which it takes part; its second moments go to line `row`."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, joint, factor, k, row, strips, n, means, _, work, counts, first, second = pointers(context, builder, signature, arguments)
        v = Lanes.as_wide(builder, MOMENT_LANES, tile)
        over = Rows(builder.gep(strips, [v.times(k, STRIPS)]), n, tile, builder.gep(means, [v.times(k, d)]), work)
        joint = builder.gep(joint, [v.times(k, TILE)])
        first, second = builder.gep(first, [v.times(k, d)]), builder.gep(second, [v.times(row, d * (d + 1) // 2)])
        count = builder.gep(counts, [k])
        for start in range(0, d, COLUMNS):
            columns = range(start, min(d, start + COLUMNS))
            _weigh(v, over, columns, joint, factor, first, None if start else count)
        (_some_pairs if d <= UNROLLED else _many_pairs)(v, over, d, second)
        return context.get_dummy_value()

    size = types.intp
    return types.void(tile, joint, factor, size, size, strips, size, means, dims, work, counts, first, second), codegen


class Rows(NamedTuple):
    """Values: strips and how many, the tile, a component's means, and the scratch for its rows' shares of differences."""

    strips: Any
    n_strips: Any
    tile: Any
    means: Any
    work: Any


def _weigh(v: Lanes, over: Rows, columns, joint, factor, first, count) -> None:
    """Write share * (x_i - m_i) of some columns to work, and add their sums to the first moments; the sum of shares to the count."""
    sums, total = v.zeros(len(columns)), v.zeros(1)[0]
    centre = [v.same(over.means, v.index(i)) for i in columns]
    for t in rows_of_strips(v, over.strips, over.n_strips):
        share = v.b.fmul(v.load(joint, t), v.load(factor, t))
        v.add_to(total, share)
        for i, m, sum_i in zip(columns, centre, sums, strict=True):
            p = v.b.fmul(share, v.b.fsub(v.load(over.tile, v.plus(t, i * PITCH)), m))
            v.store(p, over.work, v.plus(t, i * PITCH))
            v.add_to(sum_i, p)
    for i, sum_i in zip(columns, sums, strict=True):
        v.add_sum_at(first, v.index(i), sum_i)
    if count is not None:
        v.add_sum_at(count, v.index(0), total)


def _sum_pairs(v: Lanes, over: Rows, pairs, second) -> None:
    """Add the sums of share (x_j - m_j)(x_i - m_i) for pairs (j, i) of columns; both are values."""
    sums = v.zeros(len(pairs))
    rows, columns = ({str(pair[side]): pair[side] for pair in pairs} for side in (0, 1))
    centre = {name: v.same(over.means, i) for name, i in columns.items()}
    for t in rows_of_strips(v, over.strips, over.n_strips):
        p = {name: v.load(over.work, v.b.add(v.times(j, PITCH), t)) for name, j in rows.items()}
        y = {name: v.b.fsub(v.load(over.tile, v.b.add(v.times(i, PITCH), t)), centre[name]) for name, i in columns.items()}
        for (j, i), total in zip(pairs, sums, strict=True):
            v.add_product_to(total, p[str(j)], y[str(i)])
    for (j, i), total in zip(pairs, sums, strict=True):
        v.add_sum_at(second, packed(v, j, i), total)


def _some_pairs(v: Lanes, over: Rows, d: int, second) -> None:
    """All pairs of few columns: code of its own for every block."""
    spans = [range(a, min(d, a + EDGE)) for a in range(0, d, EDGE)]
    for at, js in enumerate(spans):
        for span in spans[: at + 1]:
            _sum_pairs(v, over, [(v.index(j), v.index(i)) for j in js for i in span if i <= j], second)


def _many_pairs(v: Lanes, over: Rows, d: int, second) -> None:
    """All pairs of many columns: loops over whole blocks, and the columns left over."""
    whole = d - d % EDGE
    with v.loop(whole, EDGE) as j:
        _row_of_blocks(v, over, [v.plus(j, one) for one in range(EDGE)], j, second)
    if whole < d:
        _row_of_blocks(v, over, [v.index(j) for j in range(whole, d)], whole, second)


def _row_of_blocks(v: Lanes, over: Rows, js, before, second) -> None:
    """The blocks of rows js and all columns up to them; `before` of these columns stand before the first of js."""
    with v.loop(before, EDGE) as i:
        _sum_pairs(v, over, [(j, v.plus(i, one)) for j in js for one in range(EDGE)], second)
    _sum_pairs(v, over, [(j, i) for at, j in enumerate(js) for i in js[: at + 1]], second)


@inlined()
def _add_feature_moments(sums, centre, means, dims, counts, first, second):
    d = len(dims)
    for k in range(sums.shape[0] * GROUP):
        mine = sums[k // GROUP, :, k % GROUP]
        row = 0 if second.shape[0] == 1 else k
        counts[k] += mine[0]
        for j in range(d):
            offset = means[k, j] - centre[j]
            first[k, j] += mine[1 + j] - mine[0] * offset
            for i in range(j + 1):
                about_mean = mine[1 + i] - mine[0] * (means[k, i] - centre[i])
                p = j * (j + 1) // 2 + i
                second[row, p] += mine[1 + d + p] - mine[1 + j] * (means[k, i] - centre[i]) - offset * about_mean


# ---- chosen by the type of the factors ---------------------------------------------------------------------------------


@overload(log_joint_tile)
def _log_joint(tile, means, factors, constants, dims, reached, joint, largest, work):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None

    def implementation(tile, means, factors, constants, dims, reached, joint, largest, work):
        _log_joint_full(tile, means, factors.whitening, constants, dims, reached, joint, largest, work)

    return implementation


@overload(find_reached)
def _find_reached(tile, means, factors, constants, dims, bounded, first, work, joint, pace, reached):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None

    def implementation(tile, means, factors, constants, dims, bounded, first, work, joint, pace, reached):
        step = 0 if factors.whitening.shape[0] == 1 else 1
        _reach(tile, means, factors.whitening, step, constants, means.shape[0], dims, bounded, first, work, joint, pace, reached)

    return implementation


@overload(add_moments)
def _moments(tile, joint, factor, k, strips, n_strips, means, factors, dims, work, counts, first, second):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None

    def implementation(tile, joint, factor, k, strips, n_strips, means, factors, dims, work, counts, first, second):
        row = 0 if second.shape[0] == 1 else k
        _add_moments(tile, joint, factor, k, row, strips, n_strips, means, dims, work, counts, first, second)

    return implementation


@overload(write_features)
def _features(tile, factor, centre, factors, dims, features):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None
    if feature_count(column_count(dims), dense=True) > MOST:
        return lambda tile, factor, centre, factors, dims, features: LARGEST

    def implementation(tile, factor, centre, factors, dims, features):
        return product_features(tile, factor, centre, dims, features)

    return implementation


@overload(add_feature_moments)
def _feature_moments(sums, centre, means, factors, dims, counts, first, second):
    if getattr(factors, "instance_class", None) is not FullFactors:
        return None

    def implementation(sums, centre, means, factors, dims, counts, first, second):
        _add_feature_moments(sums, centre, means, dims, counts, first, second)

    return implementation
