"""The two operations that a family of densities gives to the tile loop, chosen by the type of its factors. Floor 0.

A family file defines a NamedTuple of factors and overloads both functions for it; numba then compiles `e_step.py` once per family,
dtype and number of columns, with everything inlined.
"""

__all__ = ["UNROLLED", "add_moments", "dims_of", "log_joint_tile"]

from typing import Any

import numpy as np

UNROLLED = 16  # up to here loops over columns are unrolled by the compiler (30 of 40 GFLOP/s at 12 columns); beyond, registers run out


def dims_of(n_features: int) -> Any:
    """The number of columns as a type: a tuple of that length (known when compiling), or an array of that length (known when run)."""
    return (0,) * n_features if n_features <= UNROLLED else np.zeros(n_features, np.int8)


def log_joint_tile(tile, means, factors, constants, dims, log_joint, largest, work) -> None:
    """Write constants[k] - 1/2 distance(row t, component k) to log_joint[k*TILE+t]. work: scratch of (2d+1)*TILE."""
    raise NotImplementedError


def add_moments(tile, share, k, means, factors, dims, work, first, second) -> None:
    """Add the first and second moments of component k, rows weighted by share (TILE), about means[k]."""
    raise NotImplementedError
