"""The exponential and the tile: what all densities share."""

import math

import numba
import numpy as np
import pytest
from numba import types

from streamgmm.kernels.compiling import STRICT, intrinsic
from streamgmm.kernels.lanes import Lanes, pointers
from streamgmm.kernels.tile import CUT, CUT_SINGLE, STRIP, TILE, exponential, logarithm


def _lane_by_lane(function):
    """A compiled function over arrays whose length is a multiple of 16."""

    @intrinsic
    def apply(typing_context, x, out, n):
        def codegen(context, builder, signature, arguments):
            x, out, n = pointers(context, builder, signature, arguments)
            v = Lanes.of(builder, STRIP, x)
            with v.loop(n, STRIP) as t:
                v.store(function(v, v.load(x, t)), out, t)
            return context.get_dummy_value()

        return types.void(x, out, n), codegen

    @numba.njit(fastmath=STRICT)
    def over(x, out):
        apply(x, out, x.size)

    def whole(x):
        padded = np.full(-(-x.size // STRIP) * STRIP, x[0], x.dtype)
        padded[: x.size] = x
        out = np.empty_like(padded)
        over(padded, out)
        return out[: x.size]

    return whole


_exponentials = _lane_by_lane(exponential)
_logarithms = _lane_by_lane(logarithm)


def _units_in_the_last_place(x):
    expected = np.exp(x)
    return np.abs(_exponentials(x) - expected) / np.spacing(expected)


def test_exponential_is_within_two_units_in_the_last_place():
    assert _units_in_the_last_place(np.linspace(CUT, 0.0, 400_001)).max() <= 2


def test_exponential_around_the_edges_of_its_reduction():
    halves = (np.arange(-66, 1) + 0.5) * math.log(2)
    edges = np.concatenate([np.nextafter(halves, -np.inf), halves, np.nextafter(halves, 0)])
    assert _units_in_the_last_place(edges[(edges <= 0) & (edges >= CUT)]).max() <= 2


def test_exponential_of_tiny_arguments():
    x = -(10.0 ** -np.arange(1, 320.0))
    x = np.append(x, 0.0)
    assert _units_in_the_last_place(x).max() <= 2


def test_exponential_of_floats_is_within_two_units_in_the_last_place():
    x = np.append(np.linspace(CUT_SINGLE, 0.0, 400_001), -(10.0 ** -np.arange(1, 40.0))).astype(np.float32)
    expected = np.exp(x.astype(np.float64))
    found = _exponentials(x)
    assert found.dtype == np.float32
    assert (np.abs(found - expected) / np.spacing(expected.astype(np.float32))).max() <= 2
    assert found[400_000] == 1


@pytest.mark.parametrize("x", [0.0, -0.0])
def test_exponential_of_zero_is_exactly_one(x):
    assert _exponentials(np.array([x]))[0] == 1.0


def test_logarithm_is_within_two_units_in_the_last_place_or_of_one():
    x = np.concatenate([np.geomspace(1e-304, 1e4, 400_001), 1 + np.linspace(-1e-3, 1e-3, 40_001), 2.0 ** np.arange(-1000, 1000)])
    expected = np.log(x)
    assert (np.abs(_logarithms(x) - expected) / np.maximum(np.spacing(np.abs(expected)), 1e-16)).max() <= 2


def test_logarithm_of_one_is_exactly_zero():
    assert _logarithms(np.array([1.0]))[0] == 0.0


def test_tile_is_a_multiple_of_any_vector_register():
    assert TILE % STRIP == 0
    assert STRIP % 16 == 0
