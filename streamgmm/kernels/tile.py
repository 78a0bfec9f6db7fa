"""What all densities share: a tile of rows laid out column by column, and the sum of densities over components. Floor 0.

A tile is TILE rows. Scratch arrays are flat: column i of row t stands at i*PITCH+t, component k of row t at k*TILE+t, so that every
inner loop runs over rows side by side in vector registers. The last tile of a block is padded with copies of its first row and
weight 0: every row is computed by the same instructions wherever it stands, and gets the same answer in any batch.
"""

__all__ = [
    "CUT",
    "CUT_SINGLE",
    "PITCH",
    "STRIP",
    "STRIPS",
    "TILE",
    "clear_max",
    "difference",
    "fill_absent",
    "fill_tile",
    "fill_weights",
    "hard_tile",
    "logarithms",
    "most_probable",
    "place_tile",
    "row_factors",
    "rows_of_strips",
    "soft_tile",
]

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import types

from streamgmm.kernels.compiling import inlined, intrinsic, overload
from streamgmm.kernels.lanes import Lanes, column_count, pointers

TILE = 256
STRIP = 16
STRIPS = TILE // STRIP
PITCH = TILE + 8  # from one column of a tile to the next: a power of two would put all of them into the same few sets of the cache

# Beside a row's largest responsibility a smaller one changes no bit of a sum that holds both: it counts as 0.
CUT = -46.0  # in doubles, ln(1e-20)
CUT_SINGLE = -26.0  # in floats: ln(5e-12)

WIDEST = 2.0**30  # of rows of floats, in units of the mixture's extent: squares of what they become in other units stay within float32

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238  # ln 2 in two parts, the first with trailing zero bits (Cody and Waite)
LN2_LOW = 1.9082149292705877e-10
SHIFTER = 1.5 * 2.0**52  # a number added to it is rounded to an integer, which stands in its lowest bits

# (e^f - 1 - f) / f^2 for |f| <= ln(2)/2 and (log((1+s)/(1-s)) - 2s) / s^3 in powers of s^2 for m = (1+s)/(1-s) from 1/sqrt(2) to
# sqrt(2): interpolation at Chebyshev nodes computed with 60 digits; relative errors of e^f 2e-17, of the logarithm 5e-18.
EXPONENTIAL = (
    0.5000000000000001,
    0.16666666666666669,
    0.04166666666662413,
    0.008333333333330062,
    0.0013888888917213717,
    0.00019841269863053618,
    2.4801521295954376e-05,
    2.7557268459997064e-06,
    2.7620088445409746e-07,
    2.510038549551032e-08,
)
EXPONENTIAL_SINGLE = (0.5, 0.1666657702559799, 0.041666554662050534, 0.008363173074513711, 0.001392617611993558)  # 1e-8, for floats
LOGARITHM = (
    0.666666666666667,
    0.39999999999899444,
    0.2857142862600327,
    0.22222211130259878,
    0.18182889455674947,
    0.15331710618210773,
    0.14616585424888623,
)
ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # of sqrt(1/2)
ONE_BITS = 0x3FF0000000000000
EXPONENT_BITS = 0x7FF0000000000000


class Reduction(NamedTuple):
    """How e^x is made of 2^n e^f in numbers of one kind."""

    shifter: float  # SHIFTER of that kind, plus the bias of its exponent
    mantissa: int  # bits
    ln2_high: float
    ln2_low: float
    polynomial: tuple[float, ...]


IN_DOUBLES = Reduction(SHIFTER + 1023.0, 52, LN2_HIGH, LN2_LOW, (1.0, 1.0, *EXPONENTIAL))
IN_FLOATS = Reduction(1.5 * 2.0**23 + 127.0, 23, 0.693359375, -0.00021219444005469057, (1.0, 1.0, *EXPONENTIAL_SINGLE))


def exponential(v: Lanes, x):
    """e^x for lanes in [CUT, 0], within 2 units in the last place. Even and odd powers are summed apart: they wait less."""
    by = IN_FLOATS if v.single else IN_DOUBLES
    shifted = v.fma(x, v.constant(LOG2_E), v.constant(by.shifter))
    n = v.b.fsub(shifted, v.constant(by.shifter))
    f = v.fma(n, v.constant(-by.ln2_low), v.fma(n, v.constant(-by.ln2_high), x))
    f2 = v.b.fmul(f, f)
    even, odd = (_horner(v, by.polynomial[first::2], f2) for first in (0, 1))
    p = v.fma(odd, f, even)
    power = v.numbers(v.b.shl(v.bits(shifted), v.integer(by.mantissa)))  # 2^n: n + bias put into the exponent's bits
    return v.b.fmul(p, power)


def _horner(v: Lanes, coefficients, x):
    p = v.constant(coefficients[-1])
    for one in coefficients[-2::-1]:
        p = v.fma(p, x, v.constant(one))
    return p


def logarithm(v: Lanes, x):
    """log x for positive normal lanes, within 2 units in the last place of the result or of 1e-16."""
    above = v.b.sub(v.bits(x), v.integer(ROOT_HALF_BITS - ONE_BITS))
    exponent = v.b.and_(above, v.integer(EXPONENT_BITS))
    m = v.numbers(v.b.add(v.b.sub(v.bits(x), exponent), v.integer(ONE_BITS)))  # from sqrt(1/2) to sqrt(2)
    biased = v.b.lshr(exponent, v.integer(52))
    n = v.b.fsub(v.numbers(v.b.or_(biased, v.bits(v.constant(SHIFTER)))), v.constant(SHIFTER + 1023.0))
    s = v.b.fdiv(v.b.fsub(m, v.constant(1.0)), v.b.fadd(m, v.constant(1.0)))
    z = v.b.fmul(s, s)
    p = _horner(v, LOGARITHM, z)
    small = v.fma(n, v.constant(LN2_LOW), v.b.fmul(v.b.fmul(s, z), p))
    return v.fma(n, v.constant(LN2_HIGH), v.fma(v.constant(2.0), s, small))


@inlined()
def fill_tile(x, first, n, dims, tile):
    """Copy n rows of x (n d) from row `first` on into the tile, column by column, padded with the first of them."""
    if n == TILE:
        _fill_whole_tile(x, first, dims, tile)
    else:
        for t in range(TILE):
            for i in range(len(dims)):
                tile[i * PITCH + t] = x[first + t if t < n else first, i]


@intrinsic
def _fill_whole_tile(typing_context, x, first, dims, tile):
    """Four rows by four columns at a time, turned over in registers; columns left over one by one."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        x, first, _, tile = pointers(context, builder, signature, arguments)
        v = Lanes(builder, 4)
        with v.loop(TILE, v.n) as t:
            row = v.times(builder.add(first, t), d)
            for i in range(0, d - d % v.n, v.n):
                square = [v.load(x, v.plus(row, a * d + i)) for a in range(v.n)]
                for b, column in enumerate(v.transposed(square)):
                    v.store(column, tile, v.plus(t, (i + b) * PITCH))
            for i in range(d - d % v.n, d):
                column = v.gathered(x, [v.plus(row, a * d + i) for a in range(v.n)])
                v.store(column, tile, v.plus(t, i * PITCH))
        return context.get_dummy_value()

    return types.void(x, types.intp, dims, tile), codegen


def place_tile(x, first, n, dims, tile, origin, scale, copy) -> bool:
    """Like `fill_tile`; a tile of floats gets (x - origin) * scale, computed in doubles. Returns whether all of it is within WIDEST.

    copy: scratch of D*PITCH doubles.
    """
    raise NotImplementedError


@overload(place_tile)
def _place_tile(x, first, n, dims, tile, origin, scale, copy):
    if tile.dtype == types.float64:

        def as_it_is(x, first, n, dims, tile, origin, scale, copy):
            fill_tile(x, first, n, dims, tile)
            return True

        return as_it_is

    def about_origin(x, first, n, dims, tile, origin, scale, copy):
        fill_tile(x, first, n, dims, copy)
        return _about_origin(copy, dims, origin, scale, tile)

    return about_origin


@intrinsic
def _about_origin(typing_context, copy, dims, origin, scale, tile):
    """(x - origin) * scale from one tile to another; returns whether all of it is within WIDEST."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        copy, _, origin, scale, tile = pointers(context, builder, signature, arguments)
        v = Lanes(builder, STRIP)
        widest = v.zeros(1)[0]
        for i in range(d):
            centre, unit = v.same(origin, v.index(i)), v.same(scale, v.index(i))
            with v.loop(TILE, v.n) as t:
                place = v.plus(t, i * PITCH)
                y = builder.fmul(builder.fsub(v.load(copy, place), centre), unit)
                v.store(y, tile, place)
                builder.store(v.maximum(builder.load(widest), v.maximum(y, builder.fneg(y))), widest)
        beyond = builder.fcmp_ordered(">", builder.load(widest), v.constant(WIDEST))
        return builder.not_(v.any(beyond))

    return types.boolean(copy, dims, origin, scale, tile), codegen


@inlined()
def fill_weights(sample_weight, first, n, weight):
    """Copy the weights of n rows from row `first` on, padded with 0."""
    for t in range(n):
        weight[t] = sample_weight[first + t]
    for t in range(n, TILE):
        weight[t] = 0.0


def difference(v: Lanes, tile, t, means, mean, i: int):
    """Column i of the tile's rows from t on, less the mean of a component, whose means begin at `mean`."""
    return v.b.fsub(v.load(tile, v.plus(t, i * PITCH)), v.same(means, v.plus(mean, i)))


def rows_of_strips(v: Lanes, strips, n) -> Iterator[Any]:
    """Where vectors of rows start: a loop over n listed strips, whose body is written once for each vector of a strip."""
    with v.loop(n) as a:
        strip = v.b.load(v.b.gep(strips, [a]))
        for offset in range(0, STRIP, v.n):
            yield v.plus(strip, offset)


@inlined()
def fill_absent(joint, reached, first, last, value):
    """Give the components from `first` to below `last` that are not reached the same value in all rows of the tile."""
    for k in range(first, last):
        if not reached[k]:
            for t in range(TILE):
                joint[k * TILE + t] = value


@inlined()
def clear_max(largest):
    """Start of a running maximum over components."""
    for t in range(TILE):
        largest[t] = -np.inf


@intrinsic
def soft_tile(typing_context, joint, k, largest, total, strips):
    """Turn log joint densities l of component k into e^(l - max), or 0 below the cut, in place, and add them to total (TILE).

    Returns the number of strips in which the component takes part at all, and writes where they start to strips[k*STRIPS...]. A row
    whose densities are all -inf keeps max = -inf and gets equal shares, so that nothing turns into NaN.
    """

    def codegen(context, builder, signature, arguments):
        joint, k, largest, total, strips = pointers(context, builder, signature, arguments)
        v = Lanes.of(builder, STRIP, joint)
        cut = v.constant(CUT_SINGLE if v.single else CUT)
        row, listed = v.times(k, TILE), v.times(k, STRIPS)
        count = v.counter()
        with v.loop(TILE, STRIP) as t:
            place = builder.add(row, t)
            x = builder.fsub(v.load(joint, place), v.load(largest, t))
            within = builder.fcmp_unordered(">=", x, cut)  # unordered: of a row of nothing but -inf, x is NaN
            with builder.if_else(v.any(within)) as (taking_part, absent):
                with taking_part:
                    e = builder.select(within, exponential(v, v.larger(x, cut)), v.constant(0.0))
                    v.store(e, joint, place)
                    v.store(builder.fadd(v.load(total, t), e), total, t)
                    n = builder.load(count)
                    builder.store(t, builder.gep(strips, [builder.add(listed, n)]))
                    builder.store(v.plus(n, 1), count)
                with absent:
                    v.store(v.constant(0.0), joint, place)
        return builder.load(count)

    return types.intp(joint, types.intp, largest, total, strips), codegen


@inlined()
def hard_tile(joint, n_components, largest, total, strips, n_strips):
    """Hard assignment: 1 for the first component of largest density, 0 for the rest, in place."""
    for t in range(TILE):
        total[t] = 1.0
        open_row = True
        for k in range(n_components):
            chosen = open_row and not joint[k * TILE + t] < largest[t]
            joint[k * TILE + t] = 1.0 if chosen else 0.0
            open_row = open_row and not chosen
    for k in range(n_components):
        n = 0
        for start in range(0, TILE, STRIP):
            some = 0.0
            for t in range(start, start + STRIP):
                some += joint[k * TILE + t]
            if some > 0.0:
                strips[k * STRIPS + n] = start
                n += 1
        n_strips[k] = n


@intrinsic
def logarithms(typing_context, total, largest, score):
    """Log densities of the rows of a tile to score (TILE): the maximum plus the logarithm of the sum."""

    def codegen(context, builder, signature, arguments):
        total, largest, score = pointers(context, builder, signature, arguments)
        v = Lanes(builder, STRIP)
        with v.loop(TILE, STRIP) as t:
            v.store(builder.fadd(v.load(largest, t), logarithm(v, v.load(total, t))), score, t)
        return context.get_dummy_value()

    return types.void(total, largest, score), codegen


@intrinsic
def row_factors(typing_context, weight, total, largest, factor):
    """Weight / total of a tile's rows to factor (TILE); returns the sum of weight * log density.

    Rows of weight 0 leave no trace in it, whatever their density. Computed in doubles, of whatever kind the arrays are.
    """

    def codegen(context, builder, signature, arguments):
        weight, total, largest, factor = pointers(context, builder, signature, arguments)
        v = Lanes(builder, STRIP)
        log_likelihood = v.zeros(1)[0]
        with v.loop(TILE, STRIP) as t:
            w, sum_over_components = v.load(weight, t), v.load(total, t)
            v.store(builder.fdiv(w, sum_over_components), factor, t)
            score = builder.fadd(v.load(largest, t), logarithm(v, sum_over_components))
            weighs = builder.fcmp_ordered(">", w, v.constant(0.0))
            v.add_to(log_likelihood, builder.select(weighs, builder.fmul(w, score), v.constant(0.0)))
        return v.sum(builder.load(log_likelihood))

    return types.float64(weight, total, largest, factor), codegen


@inlined()
def most_probable(joint, n_components, label, start, n):
    """The first component of largest density of n rows, to label from `start` on."""
    best = np.empty(TILE)
    which = np.zeros(TILE, np.int32)
    for t in range(TILE):
        best[t] = joint[t]
    for k in range(1, n_components):
        for t in range(TILE):
            value = joint[k * TILE + t]
            which[t] = k if value > best[t] else which[t]
            best[t] = value if value > best[t] else best[t]
    for t in range(n):
        label[start + t] = which[t]
