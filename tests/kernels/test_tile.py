"""The exponential and the tile: what all densities share."""

import math

import numba
import numpy as np
import pytest

from streamgmm.kernels.compiling import STRICT
from streamgmm.kernels.tile import SMALLEST_EXPONENT, TILE, exponential


@numba.njit(fastmath=STRICT)
def _exponentials(x):
    out = np.empty_like(x)
    for t in range(x.size):
        out[t] = exponential(x[t])
    return out


def _units_in_the_last_place(x):
    expected = np.exp(x)
    return np.abs(_exponentials(x) - expected) / np.spacing(expected)


def test_exponential_is_within_two_units_in_the_last_place():
    assert _units_in_the_last_place(np.linspace(SMALLEST_EXPONENT, 0.0, 400_001)).max() <= 2


def test_exponential_around_the_edges_of_its_reduction():
    halves = (np.arange(-1009, 1) + 0.5) * math.log(2)
    edges = np.concatenate([np.nextafter(halves, -np.inf), halves, np.nextafter(halves, 0)])
    assert _units_in_the_last_place(edges[(edges <= 0) & (edges >= SMALLEST_EXPONENT)]).max() <= 2


def test_exponential_of_tiny_arguments():
    x = -(10.0 ** -np.arange(1, 320.0))
    assert _units_in_the_last_place(x).max() <= 2


@pytest.mark.parametrize("x", [0.0, -0.0])
def test_exponential_of_zero_is_exactly_one(x):
    assert _exponentials(np.array([x]))[0] == 1.0


def test_the_cut_stays_in_the_normal_range():
    smallest = _exponentials(np.array([SMALLEST_EXPONENT]))[0]
    assert np.finfo(np.float64).tiny < smallest < 1e-300


def test_tile_is_a_multiple_of_any_vector_register():
    assert TILE % 16 == 0
