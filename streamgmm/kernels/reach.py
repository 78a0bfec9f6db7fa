"""Which components can be felt anywhere in a tile, told from the box that its rows lie in. Floor 0.

For whitened coordinates Y of the box's centre and rho of its half widths, a component's log density lies between constant - 1/2 sum
(|Y| + rho)^2 and constant - 1/2 sum max(|Y| - rho, 0)^2 everywhere in the box (Moore 1999). A component whose upper bound lies below
the largest lower bound by more than the cut of `tile` has no share in any row: it is left out, and no bit changes. That pays where
neighbours in the table are neighbours in space (catalogues sorted by place on the sky); where they are not, bounds are hardly tried.
"""

__all__ = ["LEAST_COMPONENTS", "UNTRIED", "find_reached"]

import numpy as np
from numba import types

from streamgmm.kernels.compiling import inlined, intrinsic
from streamgmm.kernels.dispatch import whitened_box
from streamgmm.kernels.lanes import Lanes, column_count, pointers
from streamgmm.kernels.tile import CUT, PITCH, STRIP, TILE

LEAST_COMPONENTS = 16  # for bounds to be tried
UNTRIED = 64  # tiles at most that are computed without bounds after bounds were of no use
WORTH = 8  # bounds that leave out fewer than one component in so many are of no use
MARGIN, OF_VALUE = 1.0, 1e-4  # nats, and of the bound: more than rounding makes of either, in float32 too


@intrinsic
def _box(typing_context, tile, dims, middle, half):
    """Centre and half widths (D) of the box that the rows of a tile lie in."""
    d = column_count(dims)

    def codegen(context, builder, signature, arguments):
        tile, _, middle, half = pointers(context, builder, signature, arguments)
        v = Lanes.of(builder, STRIP, tile)
        a_half = tile.type.pointee(0.5)
        for i in range(d):
            first = v.load(tile, v.index(i * PITCH))
            low, high = v.zeros(2)
            builder.store(builder.fneg(first), low)
            builder.store(first, high)
            with v.loop(TILE, STRIP) as t:
                x = v.load(tile, v.plus(t, i * PITCH))
                builder.store(v.maximum(builder.load(low), builder.fneg(x)), low)
                builder.store(v.maximum(builder.load(high), x), high)
            least, most = builder.fneg(v.largest(builder.load(low))), v.largest(builder.load(high))
            centre = builder.fadd(builder.fmul(least, a_half), builder.fmul(most, a_half))
            builder.store(centre, builder.gep(middle, [v.index(i)]))
            above, below = builder.fsub(most, centre), builder.fsub(centre, least)  # the centre is rounded: the wider of the two
            wider = builder.select(builder.fcmp_ordered(">", above, below), above, below)
            builder.store(wider, builder.gep(half, [v.index(i)]))
        return context.get_dummy_value()

    return types.void(tile, dims, middle, half), codegen


@inlined()
def find_reached(tile, means, factors, constants, dims, middle, half, upper, pace, reached):
    """Write to reached (K, True before the first call) whether each component may be felt in the tile.

    pace (2, zeros before the first call): tiles to wait until bounds are tried again, and the last such wait. middle, half (D) and
    upper (K) are scratch.
    """
    if pace[0] > 0:
        pace[0] -= 1
        return
    _box(tile, dims, middle, half)
    lower = -np.inf
    for k in range(means.shape[0]):
        nearest, farthest = whitened_box(middle, half, means, factors, k, dims)
        upper[k] = constants[k] - 0.5 * nearest
        lower = max(lower, constants[k] - 0.5 * farthest)
    floor = lower + CUT - MARGIN - OF_VALUE * abs(lower)
    left_out = 0
    for k in range(means.shape[0]):
        reached[k] = not upper[k] < floor  # what is no number is computed
        left_out += 0 if reached[k] else 1
    pace[1] = 0 if left_out * WORTH >= means.shape[0] else min(2 * pace[1] + 1, UNTRIED)
    pace[0] = pace[1]
    if pace[0] > 0:
        reached[:] = True
