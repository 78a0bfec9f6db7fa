"""Which components can be felt anywhere in a tile, told from the box that its rows lie in. Floor 0.

For whitened coordinates Y of the box's centre and rho of its half widths, a component's log density lies between constant - 1/2 sum
(|Y| + rho)^2 and constant - 1/2 sum max(|Y| - rho, 0)^2 everywhere in the box (Moore 1999). A component whose upper bound lies below
the largest lower bound by more than the cut of `tile` has no share in any row: it is left out, and no bit changes. That pays where
neighbours in the table are neighbours in space (catalogues sorted by place on the sky); where they are not, bounds are hardly tried.
Rows are finite: a row that is not has no number of any component that is reached, and leaves those that are not as they are.
Written out in LLVM's language: numba takes a second and a half longer for the same in Python.
"""

__all__ = ["LEAST_COMPONENTS", "UNTRIED", "pays", "reach_by"]

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from streamgmm.kernels.compiling import intrinsic
from streamgmm.kernels.lanes import DOUBLE, Lanes, column_count, pointers
from streamgmm.kernels.tile import CUT, PITCH, STRIP, TILE

LEAST_COMPONENTS = 16
UNTRIED = 64  # tiles at most that are computed without bounds after bounds were of no use
WORTH = 8  # bounds that leave out fewer than one component in so many are of no use
MARGIN = 1.0  # nats
OF_VALUE = 1e-3  # of the bound: more than rounding makes of two squared distances, in floats of the widest stretch too


def pays(n_components: int) -> bool:
    """Whether bounds are tried at all for so many components."""
    return n_components >= LEAST_COMPONENTS


def reach_by(intervals: Callable[..., Any]) -> Any:
    """An intrinsic for a family: writes to reached (K) whether each component may be felt in a tile, 1 or 0.

    intervals(v, d, middle, half, means, array, step, k) generates (|Y_j|, rho_j) as doubles, its body a loop over columns j; array, step:
    the family's factors, as its intrinsic for densities takes them. first: of the tile's rows, 0 where a block begins. bounded: whether
    bounds may be tried; without, all are reached. pace (2) is kept from tile to tile: how many to wait until bounds are tried again, and
    the last such wait. work and joint are scratch.
    """

    @intrinsic
    def reach(typing_context, tile, means, array, step, constants, n_components, dims, bounded, first, work, joint, pace, reached):
        d = column_count(dims)

        def codegen(context, b, signature, arguments):
            tile, means, array, step, constants, n, _, *others = pointers(context, b, signature, arguments)
            bounded, first, work, joint, pace, reached = others
            v = Lanes.of(b, STRIP, tile)
            with b.if_then(b.icmp_signed("==", first, v.index(0))):
                _wait(v, pace, v.index(0))
                _reach_all(v, n, reached)
            with b.if_then(bounded):
                waiting = b.load(pace)
                with b.if_else(b.icmp_signed(">", waiting, v.index(0)), likely=True) as (wait, attempt):
                    with wait:
                        b.store(v.plus(waiting, -1), pace)
                    with attempt:
                        middle, half = work, b.gep(work, [v.index(d)])
                        _box(v, d, tile, middle, half)
                        lower = _bounds(v, n, constants, joint, lambda k: intervals(v, d, middle, half, means, array, step, k))
                        _leave_out(v, n, lower, joint, pace, reached)
            return context.get_dummy_value()

        size = types.intp
        return types.void(tile, means, array, size, constants, size, dims, types.boolean, size, work, joint, pace, reached), codegen

    return reach


def _wait(v: Lanes, pace, tiles) -> None:
    v.b.store(tiles, pace)
    v.b.store(tiles, v.b.gep(pace, [v.index(1)]))


def _reach_all(v: Lanes, n, reached) -> None:
    with v.loop(n) as k:
        v.b.store(v.index(1), v.b.gep(reached, [k]))


def _box(v: Lanes, d: int, tile, middle, half) -> None:
    """Centre and half widths (D) of the box that the rows of a tile lie in."""
    a_half = ir.Constant(v.element, 0.5)
    with v.loop(d) as i:
        column = v.b.gep(tile, [v.times(i, PITCH)])
        low, high = v.zeros(2)
        v.b.store(v.b.fneg(v.load(column, v.index(0))), low)
        v.b.store(v.load(column, v.index(0)), high)
        with v.loop(TILE, STRIP) as t:
            x = v.load(column, t)
            v.b.store(v.maximum(v.b.load(low), v.b.fneg(x)), low)
            v.b.store(v.maximum(v.b.load(high), x), high)
        least, most = v.b.fneg(v.largest(v.b.load(low))), v.largest(v.b.load(high))
        centre = v.b.fadd(v.b.fmul(least, a_half), v.b.fmul(most, a_half))
        v.b.store(centre, v.b.gep(middle, [i]))
        above, below = v.b.fsub(most, centre), v.b.fsub(centre, least)  # the centre is rounded: the wider of the two
        v.b.store(v.b.select(v.b.fcmp_ordered(">", above, below), above, below), v.b.gep(half, [i]))


def _bounds(v: Lanes, n, constants, joint, intervals):
    """Write every component's upper bound to its first place in joint; returns the largest lower bound."""
    b, zero, minus_half = v.b, ir.Constant(DOUBLE, 0.0), ir.Constant(DOUBLE, -0.5)
    lower = v.variable(-np.inf)
    with v.loop(n) as k:
        nearest, farthest = v.variable(0.0), v.variable(0.0)
        for centre, width in intervals(k):
            inside, outside = b.fsub(centre, width), b.fadd(centre, width)
            inside = b.select(b.fcmp_ordered(">", inside, zero), inside, zero)
            b.store(b.fadd(b.load(nearest), b.fmul(inside, inside)), nearest)
            b.store(b.fadd(b.load(farthest), b.fmul(outside, outside)), farthest)
        constant = v.double_at(constants, k)
        upper = b.fadd(constant, b.fmul(minus_half, b.load(nearest)))
        b.store(v.as_element(upper), b.gep(joint, [v.times(k, TILE)]))
        here = b.fadd(constant, b.fmul(minus_half, b.load(farthest)))
        b.store(b.select(b.fcmp_ordered(">", here, b.load(lower)), here, b.load(lower)), lower)
    return b.load(lower)


def _leave_out(v: Lanes, n, lower, joint, pace, reached) -> None:
    """Those whose upper bound is too far below; and all are reached, until bounds are tried again, where these are too few."""
    b = v.b
    slack = b.fadd(ir.Constant(DOUBLE, MARGIN - CUT), b.fmul(ir.Constant(DOUBLE, OF_VALUE), v.magnitude(lower)))
    floor, left_out = b.fsub(lower, slack), v.counter()
    with v.loop(n) as k:
        out = b.fcmp_ordered("<", v.double_at(joint, v.times(k, TILE)), floor)  # what is no number is computed
        b.store(b.select(out, v.index(0), v.index(1)), b.gep(reached, [k]))
        b.store(b.add(b.load(left_out), b.select(out, v.index(1), v.index(0))), left_out)
    useful = b.icmp_signed(">=", v.times(b.load(left_out), WORTH), n)
    longer = v.plus(v.times(b.load(b.gep(pace, [v.index(1)])), 2), 1)
    longer = b.select(b.icmp_signed("<", longer, v.index(UNTRIED)), longer, v.index(UNTRIED))
    _wait(v, pace, b.select(useful, v.index(0), longer))
    with b.if_then(b.not_(useful)):
        _reach_all(v, n, reached)
