"""Components left out of a tile because its box shows that they are felt nowhere in it: the same bits, and fewer of them computed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.components import _gaussian, _single
from streamgmm.kernels.compiling import kernel
from streamgmm.kernels.dispatch import dims_of, find_reached
from streamgmm.kernels.reach import UNTRIED
from streamgmm.kernels.tile import CUT, PITCH, TILE, fill_tile
from streamgmm.mixture import Mixture
from tests.making import FAMILIES, random_mixture

MANY = 20
NEVER = 10**9


def moved(mixture, offset):
    """The same mixture elsewhere."""
    old, weights = mixture.components, mixture.weights
    return Mixture(type(old).from_dense(old.means + offset, old.dense_covariances(), weights.proportions), weights)


def neighbours(x):
    """Rows in an order in which neighbours in the table are near in space, as far as two columns go."""
    cells = np.floor(x[:, 0] / max(np.ptp(x[:, 0]), 1e-300) * 8)
    return np.ascontiguousarray(x[np.lexsort((x[:, -1], cells))])


def everything(mixture, x, weight):
    """What all kernels that may leave out components say of some rows."""
    found = []
    for hard, arithmetic in ((False, "float64"), (True, "float64"), (False, "float32")):
        likelihood, moments = mixture.components.accumulate(x, weight, mixture.weights.log_weights, hard=hard, arithmetic=arithmetic)
        found += [np.array(likelihood), moments.n, moments.first, moments.second]
    return [*found, mixture.score_samples(x), mixture.predict(x), mixture.responsibilities(x), mixture.log_joint(x)]


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    d=st.sampled_from((1, 3)),
    seed=st.integers(0, 2**16),
    spread=st.sampled_from((2.0, 60.0, 2e3)),
    offset=st.sampled_from((0.0, 1e6)),
)
def test_bounds_change_no_bit(family, d, seed, spread, offset):
    """Of rows in the order of space, of which they leave out much, and of rows as they come."""
    rng = np.random.default_rng(seed)
    mixture = random_mixture(family, MANY, d, rng, spread=spread)
    x = mixture.sample(3 * TILE + 5, rng)[0]
    mixture = moved(mixture, offset)
    weight = rng.uniform(0.0, 2.0, len(x))
    for rows in (neighbours(x) + offset, x + offset):
        with pytest.MonkeyPatch.context() as patch:
            for module in (_gaussian, _single):
                patch.setattr(module, "LEAST_COMPONENTS", NEVER)
            expected = everything(mixture, rows, weight)
        for a, b in zip(everything(mixture, rows, weight), expected, strict=True):
            assert a.tobytes() == b.tobytes()


@kernel
def reached_in_tile(x, means, factors, constants, dims):
    """(K) of the first tile of x."""
    tile = np.empty(len(dims) * PITCH)
    fill_tile(x, 0, min(TILE, x.shape[0]), dims, tile)
    reached, pace = np.empty(means.shape[0], np.intp), np.empty(2, np.intp)
    work, joint = np.empty(len(dims) * PITCH), np.empty(means.shape[0] * TILE)
    find_reached(tile, means, factors, constants, dims, True, 0, work, joint, pace, reached)
    return reached > 0, pace


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("d", [1, 3])
def test_what_is_left_out_is_far_below_the_cut_in_every_row_and_much_is(family, d, rng):
    mixture = random_mixture(family, MANY, d, rng, spread=200.0)
    x = neighbours(mixture.sample(40 * TILE, rng)[0])
    components = mixture.components
    left_out = 0
    for start in range(0, len(x), TILE):
        rows = x[start : start + TILE]
        constants = components._constants(mixture.weights.log_weights)
        reached, _ = reached_in_tile(rows, components.means, components.factors(), constants, dims_of(d))
        joint = mixture.log_joint(rows)
        assert (joint[:, ~reached].max(initial=-np.inf, axis=1) < joint.max(axis=1) + CUT).all()
        left_out += (~reached).sum()
    assert left_out > 0.3 * MANY * len(x) / TILE


def test_bounds_that_are_of_no_use_are_tried_less_and_less(rng):
    mixture = random_mixture("gaussian_full", MANY, 2, rng)
    components = mixture.components
    constants = components._constants(mixture.weights.log_weights)
    x = mixture.sample(TILE, rng)[0]
    reached, pace = reached_in_tile(x, components.means, components.factors(), constants, dims_of(2))
    assert reached.all()
    assert 0 < pace[0] == pace[1] <= UNTRIED
