"""Components left out of a tile because its box shows that they are felt nowhere in it: the same bits, and fewer of them computed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.components import _gaussian
from streamgmm.kernels import reach
from streamgmm.kernels.compiling import kernel
from streamgmm.kernels.dispatch import dims_of, find_reached
from streamgmm.kernels.reach import LEAST_COMPONENTS, UNTRIED
from streamgmm.kernels.tile import CUT, PITCH, TILE, fill_tile
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights
from tests.making import FAMILIES, family_of, random_mixture

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


def assert_bounds_change_no_bit(mixture, rows, weight):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "LEAST_COMPONENTS", NEVER)
        expected = everything(mixture, rows, weight)
    for a, b in zip(everything(mixture, rows, weight), expected, strict=True):
        assert a.tobytes() == b.tobytes()


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
        assert_bounds_change_no_bit(mixture, rows, weight)


def test_bounds_change_no_bit_of_components_that_are_summed_together(rng):
    """Of a group of four some are felt in most of a tile and others nowhere: what the tile before left there must not be counted."""
    shares = FreeWeights(np.full(MANY, 1 / MANY))
    some_left_out = 0
    for k in range(MANY):
        covariances = 0.12 * rng.uniform(0.8, 2.0, (MANY, 1, 1)) * np.eye(3)
        components = family_of("gaussian_full").from_dense(rng.normal(scale=3.5, size=(MANY, 3)), covariances, shares.proportions)
        mixture, x = Mixture(components, shares), rng.normal(scale=0.6, size=(8 * TILE, 3)) + components.means[k]
        assert components._grouping.n_groups > 0
        some_left_out += not reached_of(mixture, x).all()
        assert_bounds_change_no_bit(mixture, x, np.ones(len(x)))
    assert some_left_out > MANY / 2


@pytest.mark.parametrize("family", ["gaussian_full", "gaussian_tied", "gaussian_diag"])
def test_bounds_change_no_bit_of_many_columns_and_weights_of_zero(family, rng):
    """Distances that pass through memory; components without any weight; sixteen components are enough."""
    mixture = random_mixture(family, LEAST_COMPONENTS, 17, rng, spread=40.0)
    shares = np.where(np.arange(LEAST_COMPONENTS) % 5 == 0, 0.0, 1.0)
    mixture = Mixture(mixture.components, FreeWeights(shares / shares.sum()))
    x = mixture.components.means[np.repeat(np.arange(1, 5), TILE)] + rng.normal(size=(4 * TILE, 17))
    assert not reached_of(mixture, x).all()
    assert_bounds_change_no_bit(mixture, x, np.arange(4 * TILE) % 3.0)


@kernel
def reached_tile_by_tile(x, means, factors, constants, dims):
    """For every tile of x the components that are reached (T K), and how many tiles bounds then wait for (T)."""
    tile, work, joint = np.empty(len(dims) * PITCH), np.empty(len(dims) * PITCH), np.empty(means.shape[0] * TILE)
    reached, pace = np.empty(means.shape[0], np.intp), np.empty(2, np.intp)
    found, waits = np.empty((x.shape[0] // TILE, means.shape[0]), np.bool_), np.empty(x.shape[0] // TILE, np.intp)
    for i in range(len(waits)):
        fill_tile(x, i * TILE, TILE, dims, tile)
        find_reached(tile, means, factors, constants, dims, True, i * TILE, work, joint, pace, reached)
        found[i], waits[i] = reached > 0, pace[0]
    return found, waits


def tile_by_tile(mixture, x):
    components = mixture.components
    constants = components._constants(mixture.weights.log_weights)
    return reached_tile_by_tile(x, components.means, components.factors(), constants, dims_of(components.n_features))


def reached_of(mixture, x):
    return tile_by_tile(mixture, x)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("d", [1, 3])
def test_what_is_left_out_is_far_below_the_cut_in_every_row_and_much_is(family, d, rng):
    mixture = random_mixture(family, MANY, d, rng, spread=200.0)
    x = neighbours(mixture.sample(40 * TILE, rng)[0])
    reached = np.repeat(reached_of(mixture, x), TILE, axis=0)
    joint = mixture.log_joint(x)
    assert (np.where(reached, -np.inf, joint).max(axis=1) < joint.max(axis=1) + CUT).all()
    assert (~reached).mean() > 0.3


def test_bounds_that_are_of_no_use_are_tried_less_and_less_until_they_are(rng):
    mixture = random_mixture("gaussian_full", MANY, 3, rng, spread=200.0)
    near = mixture.components.means[0] + rng.normal(size=(TILE, 3))
    everywhere = mixture.components.means[rng.integers(0, MANY, TILE)]
    tiles = [everywhere] * 140 + [near] * 70
    _, waits = tile_by_tile(mixture, np.concatenate(tiles))
    tried = [0, 2, 6, 14, 30, 62, 126]
    assert [int(waits[i]) for i in tried] == [1, 3, 7, 15, 31, 63, UNTRIED]
    assert waits[191] == 0 == waits[209]
    assert (waits[127:191] > 0).sum() == 63


def test_few_components_take_no_bounds(rng, monkeypatch):
    given = []
    accumulate = _gaussian.kernels.accumulate
    monkeypatch.setattr(_gaussian.kernels, "accumulate", lambda *a: given.append(a[7]) or accumulate(*a))
    for k in (LEAST_COMPONENTS - 1, LEAST_COMPONENTS):
        mixture = random_mixture("gaussian_diag", k, 1, rng)
        mixture.components.accumulate(np.zeros((1, 1)), np.ones(1), mixture.weights.log_weights, hard=False)
    assert given == [False, True]
