"""The information of a sample against its own definition, row by row, and eigenpairs for one vector against all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from streamgmm import information, remaining_error, ritz
from streamgmm.block import Block
from streamgmm.em import e_step
from streamgmm.information import basis_of, information_of, whitening_of
from streamgmm.mixture import Mixture
from streamgmm.registry import implementation
from streamgmm.ritz import ritz_pairs
from streamgmm.weights.fixed import FixedWeights
from streamgmm.weights.free import FreeWeights

FAMILIES = ("full", "tied", "diag", "spherical", "tied_spherical")
families = pytest.mark.parametrize("family", FAMILIES)
N = 1000


def mixture_of(family, k, d, seed=0, law=FreeWeights, apart=2.0, spread=1.0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(k, d, d))
    shares = rng.dirichlet(np.full(k, 5.0))
    scale = np.exp(rng.normal(0, spread, (k, 1, 1)))
    kind = implementation("components", f"gaussian_{family}")
    covariances = (a @ a.transpose(0, 2, 1) + 0.3 * np.eye(d)) * scale
    return Mixture(kind.from_dense(rng.normal(0, apart, (k, d)), covariances, shares), law(shares))


def block_of(mixture, n=N, seed=1):
    rng = np.random.default_rng(seed)
    return Block(0, 0, rng.permutation(mixture.sample(n, rng)[0]), rng.uniform(0.5, 2.0, n))


def by_definition(mixture, block):
    """The sum over rows of s s^T, and of r (C - c c^T) for every component with a covariance of its own, without a short cut."""
    components, structure = mixture.components, mixture.components.structure
    (k, d), basis = components.means.shape, basis_of(structure, components.n_features)
    r, weight = mixture.responsibilities(block.x), block.sample_weight
    z = np.einsum("kij,nkj->nki", whitening_of(components), block.x[:, None] - components.means)
    along = (np.einsum("nki,pij,nkj->nkp", z, basis, z) - np.einsum("pii->p", basis)) / 2
    n_free = k - 1 if isinstance(mixture.weights, FreeWeights) else 0
    second = r[:, :, None] * along
    second = second.sum(axis=1) if structure.shared else second.reshape(len(r), -1)
    scores = np.concatenate(((r - mixture.weights.proportions)[:, :n_free], (r[:, :, None] * z).reshape(len(r), -1), second), axis=1)
    total = (scores * weight[:, None]).T @ scores
    for j in () if structure.shared else range(k):
        own, share = np.concatenate((z[:, j], along[:, j]), axis=1), r[:, j] * weight
        complete = np.zeros((d + len(basis), d + len(basis)))
        complete[:d, :d] = share.sum() * np.eye(d)
        complete[:d, d:] = np.einsum("n,pij,nj->ip", share, basis, z[:, j])
        complete[d:, :d] = complete[:d, d:].T
        complete[d:, d:] = np.einsum("n,ni,pij,qjl,nl->pq", share, z[:, j], basis, basis, z[:, j], optimize=True) / 2
        complete[d:, d:] = (complete[d:, d:] + complete[d:, d:].T) / 2
        at = np.concatenate((n_free + j * d + np.arange(d), n_free + k * d + j * len(basis) + np.arange(len(basis))))
        total[np.ix_(at, at)] += complete - (own * share[:, None]).T @ own
    return total


def found(mixture, block, threads=1):
    with threadpool_limits(1):
        return information_of(mixture, block, float(block.sample_weight.sum()), threads)


def distance(mixture, block, matrix, expected):
    """Between two matrices, where complete rows would hold 1 along every direction."""
    basis = basis_of(mixture.components.structure, mixture.n_features)
    unit = remaining_error._Complete.of(mixture, mixture.components, basis, float(block.sample_weight.sum()))
    return np.linalg.norm(unit.whitened(unit.whitened(matrix - expected).T), 2)


@families
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), k=st.integers(1, 9), d=st.integers(1, 4), apart=st.floats(0.0, 6.0), free=st.booleans())
def test_it_is_louis_information_but_for_rows_that_hold_next_to_nothing(family, seed, k, d, apart, free):
    mixture = mixture_of(family, k, d, seed, FreeWeights if free else FixedWeights, apart)
    block = block_of(mixture)
    matrix = found(mixture, block)
    assert matrix.shape == (mixture.n_parameters, mixture.n_parameters)
    assert distance(mixture, block, matrix, by_definition(mixture, block)) < 1e-2


@families
def test_without_a_cut_it_is_louis_information(family, monkeypatch):
    monkeypatch.setattr(information, "CUT", 0.0)
    mixture = mixture_of(family, 12, 3)
    block = block_of(mixture)
    assert distance(mixture, block, found(mixture, block), by_definition(mixture, block)) < 1e-12


@families
@pytest.mark.parametrize("limits", [{"FEW_FEATURES": 0}, {"FEW_LINES": 0}, {"TILE": 1}])
def test_it_is_summed_in_several_ways(family, monkeypatch, limits):
    mixture = mixture_of(family, 12, 3)
    block = block_of(mixture)
    usual = found(mixture, block)
    for name, value in limits.items():
        monkeypatch.setattr(information, name, value)
    information._features.cache_clear()
    try:
        assert distance(mixture, block, found(mixture, block), usual) < 1e-12
    finally:
        information._features.cache_clear()


@pytest.mark.parametrize("thin", [1e-3, 1e-5])
def test_crossing_needles_lose_no_more_than_their_thinness(thin):
    """Neither is narrower than the other everywhere: what is summed about one has to be mapped to the other."""
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    needle = np.diag([1.0, thin**2])
    shares, means = np.array([0.3, 0.3, 0.4]), np.zeros((3, 2))
    covariances = np.stack([needle, turned @ needle @ turned.T, np.eye(2)])
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    mixture = Mixture(implementation("components", "gaussian_full")(means, covariances), FreeWeights(shares))
    block = block_of(mixture)
    assert distance(mixture, block, found(mixture, block), by_definition(mixture, block)) < 1e-2


def test_the_same_bits_on_any_number_of_threads():
    mixture = mixture_of("full", 12, 3)
    block = block_of(mixture, 6000)
    assert len({found(mixture, block, threads).tobytes() for threads in (1, 2, 3)}) == 1


def test_rows_are_counted_as_those_that_they_stand_for():
    """A thinned sample speaks for all rows: its matrix is that of complete rows times numbers near those of the whole one."""
    mixture = mixture_of("full", 3, 2, apart=4.0)
    block = block_of(mixture, 50_000)
    every = Block(0, 0, block.x[::5], block.sample_weight[::5])
    whole = found(mixture, block)
    with threadpool_limits(1):
        part = information_of(mixture, every, float(block.sample_weight.sum()), 1)
    assert distance(mixture, block, part, whole) < 0.2


# ---- eigenpairs that matter to a vector -----------------------------------------------------------------------------------


def matrix_of(values, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    return (q * values) @ q.T, q


SPECTRA = {
    "as complete rows": np.linspace(0.8, 1.2, 400),
    "a wide one": np.geomspace(1e-3, 1.2, 400),
    "some negative": np.concatenate((-np.geomspace(1e-3, 0.2, 20), np.geomspace(1e-3, 1.2, 380))),
    "one far below": np.concatenate(([1e-4], np.linspace(0.05, 1.2, 399))),
    "all the same": np.ones(400),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("floor", [1e-4, 1e-2])
def test_quadratic_forms_are_those_of_all_eigenpairs(spectrum, floor):
    exact = SPECTRA[spectrum]
    matrix, q = matrix_of(exact)
    vector = np.random.default_rng(1).normal(size=len(exact))
    values, vectors = ritz_pairs(matrix, vector, 1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-10)
    np.testing.assert_allclose(vectors @ (vectors.T @ vector), vector, atol=1e-10)
    own = ((vectors.T @ vector) ** 2 / np.maximum(np.abs(values), floor)).sum()
    assert own == pytest.approx(((q.T @ vector) ** 2 / np.maximum(np.abs(exact), floor)).sum(), rel=1e-2)


def test_steps_are_those_of_all_eigenpairs():
    exact = SPECTRA["a wide one"]
    matrix, q = matrix_of(exact)
    vector = np.random.default_rng(1).normal(size=len(exact))
    values, vectors = ritz_pairs(matrix, vector, 1e-4)
    step, expected = vectors @ ((vectors.T @ vector) / values), q @ ((q.T @ vector) / exact)
    assert (step - expected) @ matrix @ (step - expected) < 1e-4 * expected @ matrix @ expected


def test_a_vector_of_nothing_has_eigenpairs():
    matrix, _ = matrix_of(SPECTRA["a wide one"])
    values, vectors = ritz_pairs(matrix, np.zeros(400), 1e-4)
    assert values.shape == (400,)
    assert vectors.shape == (400, 400)


def test_an_eigenvector_is_enough_for_itself():
    exact = np.geomspace(1e-3, 1.2, 400)
    matrix, q = matrix_of(exact)
    values, vectors = ritz_pairs(matrix, q[:, 7], 1e-4)
    assert len(values) <= ritz.FIRST
    assert values[np.argmax(np.abs(vectors.T @ q[:, 7]))] == pytest.approx(exact[7])


def test_newtons_step_does_not_depend_on_how_many_eigenpairs_are_known(monkeypatch):
    """A mixture of more parameters than the limit for all eigenpairs, and the same with that limit out of the way."""
    mixture = mixture_of("full", 24, 3, 2, apart=3.0, spread=0.3)
    block = block_of(mixture, 30_000)
    assert mixture.n_parameters < ritz.WHOLE
    statistics = e_step([mixture], block, block_rows=1 << 20)[0]

    def step():
        return remaining_error.newton_step(mixture, statistics.components, float(block.sample_weight.sum()), block)

    usual = step()
    monkeypatch.setattr(ritz, "WHOLE", 100)
    other = step()
    assert other.is_guess == usual.is_guess
    assert other.decrement == pytest.approx(usual.decrement, rel=1e-2)
    assert other.expected == pytest.approx(usual.expected, rel=1e-2)
    np.testing.assert_allclose(other.mixture.components.means, usual.mixture.components.means, atol=2e-2)
