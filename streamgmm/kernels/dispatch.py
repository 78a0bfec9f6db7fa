"""The operations that a family of densities gives to the tile loop, chosen by the type of its factors. Floor 0.

A family file defines a NamedTuple of factors and overloads these functions for it; numba then compiles `e_step.py` once per family,
dtype and number of columns, with everything inlined.
"""

__all__ = ["add_feature_moments", "add_moments", "dims_of", "find_reached", "log_joint_tile", "write_features"]

from typing import Any


def dims_of(n_features: int) -> Any:
    """The number of columns as a type, a tuple of that length: kernels know it when they are compiled."""
    return (0,) * n_features


def log_joint_tile(tile, means, factors, constants, dims, reached, joint, largest, work) -> None:
    """Write constants[k] - 1/2 distance(row t, component k) to joint[k*TILE+t], and their maximum over k to largest[t].

    Of components that are not `reached` (K) nothing is written. work: scratch of D*PITCH.
    """
    raise NotImplementedError


def find_reached(tile, means, factors, constants, dims, bounded, first, work, joint, pace, reached) -> None:
    """Write to reached (K) which components may be felt in a tile; see `reach`."""
    raise NotImplementedError


def add_moments(tile, joint, factor, k, strips, n_strips, means, factors, dims, work, counts, first, second) -> None:
    """Add component k's count, first and second moments about means[k] over the strips listed for it.

    A row's share is joint[k*TILE+t] * factor[t].
    """
    raise NotImplementedError


def write_features(tile, factor, centre, factors, dims, features) -> float:
    """Write what this family's moments are made of, features of rows about a common centre times the rows' factors; see `features`."""
    raise NotImplementedError


def add_feature_moments(sums, centre, means, factors, dims, counts, first, second) -> None:
    """Add sums of features (G F GROUP) about the common centre to the moments, about the components' own means.

    n, a, A about c become n, a - n e, A - a e^T - e a^T + n e e^T about m, with e = m - c.
    """
    raise NotImplementedError
