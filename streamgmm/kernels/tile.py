"""What all densities share: a tile of rows laid out column by column, the exponential, log-sum-exp over components. Floor 0.

A tile is TILE rows. Scratch arrays are flat: column i of row t stands at i*TILE+t, component k of row t at k*TILE+t, so that every
inner loop runs over rows side by side in vector registers. The last tile of a block is padded with copies of its first row and
weight 0: every row is computed by the same instructions wherever it stands, and gets the same answer in any batch.
"""

__all__ = ["TILE", "clear_max", "fill_tile", "hard_tile", "soft_tile"]

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from streamgmm.kernels.compiling import inlined, intrinsic

TILE = 256

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238  # ln 2 in two parts, the first with trailing zero bits (Cody and Waite)
LN2_LOW = 1.9082149292705877e-10
SMALLEST_EXPONENT = -700.0  # e^-700 is the reach of the shortcut below; such a term is lost beside 1 anyway


@intrinsic
def _nearest_integer(typing_context, x):
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.nearbyint.f64"), args)

    return types.float64(types.float64), codegen


@intrinsic
def _power_of_two(typing_context, n):
    """2.0**n for a float holding an integer from -1022 to 1023: the integer is put into the exponent bits."""

    def codegen(context, builder, signature, args):
        bits = ir.IntType(64)
        biased = builder.fadd(args[0], ir.Constant(ir.DoubleType(), 1.5 * 2.0**52 + 1023.0))
        exponent = builder.shl(builder.bitcast(biased, bits), ir.Constant(bits, 52))
        return builder.bitcast(exponent, ir.DoubleType())

    return types.float64(types.float64), codegen


@inlined()
def exponential(x):
    """e^x for x in [-700, 0], within 2 units in the last place; libm's exp would not run in vector registers."""
    n = _nearest_integer(x * LOG2_E)
    f = (x - n * LN2_HIGH) - n * LN2_LOW  # |f| <= ln(2)/2: 13 terms of the Taylor series reach double precision
    p = 1.0 / 479001600.0
    p = p * f + 1.0 / 39916800.0
    p = p * f + 1.0 / 3628800.0
    p = p * f + 1.0 / 362880.0
    p = p * f + 1.0 / 40320.0
    p = p * f + 1.0 / 5040.0
    p = p * f + 1.0 / 720.0
    p = p * f + 1.0 / 120.0
    p = p * f + 1.0 / 24.0
    p = p * f + 1.0 / 6.0
    p = p * f + 0.5
    p = p * f + 1.0
    p = p * f + 1.0
    return p * _power_of_two(n)


@inlined()
def fill_tile(x, first, n, tile):
    """Copy n rows of x (n d) from row `first` on into the tile, column by column, padded with the first of them."""
    for i in range(x.shape[1]):
        for t in range(n):
            tile[i * TILE + t] = x[first + t, i]
        for t in range(n, TILE):
            tile[i * TILE + t] = x[first, i]


@inlined()
def clear_max(largest):
    """Start of a running maximum over components."""
    for t in range(TILE):
        largest[t] = -np.inf


@inlined()
def soft_tile(log_joint, n_components, largest, total):
    """Turn log joint densities (K TILE) into e^(l - max) in place; total (TILE) gets their sums over components.

    A row whose densities are all -inf keeps max = -inf and gets equal shares, so that nothing turns into NaN.
    """
    for t in range(TILE):
        total[t] = 0.0
        largest[t] = largest[t] if largest[t] > -np.inf else np.inf  # l - inf = -inf, cut below
    for k in range(n_components):
        for t in range(TILE):
            x = log_joint[k * TILE + t] - largest[t]
            e = exponential(x if x > SMALLEST_EXPONENT else SMALLEST_EXPONENT)
            log_joint[k * TILE + t] = e
            total[t] += e
    for t in range(TILE):
        largest[t] = largest[t] if largest[t] < np.inf else -np.inf


@inlined()
def hard_tile(log_joint, n_components, largest, total):
    """Hard assignment: 1 for the first component of largest density, 0 for the rest, in place."""
    for t in range(TILE):
        total[t] = 1.0
        open_row = True
        for k in range(n_components):
            chosen = open_row and not log_joint[k * TILE + t] < largest[t]
            log_joint[k * TILE + t] = 1.0 if chosen else 0.0
            open_row = open_row and not chosen
