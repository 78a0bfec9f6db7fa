"""What the tests of the numerical core make again and again: a source in memory that counts its reads, mixtures, rows, EM by hand."""

import threading
from dataclasses import dataclass, field, replace

import numpy as np

from streamgmm.block import Block
from streamgmm.em import e_step, m_step
from streamgmm.executors.serial import Serial
from streamgmm.fit import run_fit, start_state
from streamgmm.mixture import Mixture
from streamgmm.passes import Caller, FitProblem
from streamgmm.registry import implementation, names
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.full_batch import FullBatch
from streamgmm.sources.base import AbstractSource, EndOfSource
from streamgmm.stopping import Stopping
from streamgmm.weights.free import FreeWeights

FAMILIES = names("components")
SKLEARN_TYPES = {f"gaussian_{kind}": kind for kind in ("full", "tied", "diag", "spherical")}
PLAIN = Regularisation(reg_covar=0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class CountedRows(AbstractSource):
    """An array in memory; `reads` holds the number of every block that was loaded, in order."""

    x: np.ndarray
    repeatable_rows: bool = True
    reads: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def n_rows(self):
        return len(self.x)

    @property
    def dtype(self):
        return self.x.dtype

    @property
    def repeatable(self):
        return self.repeatable_rows

    def load(self, index):
        start, stop = self.span(index)
        with self.lock:
            self.reads.append(index)
        return self.x[start:stop]

    def portable_rows(self, first, last):
        return self


@dataclass(frozen=True, eq=False, kw_only=True)
class OnceRows(CountedRows):
    """The same rows as an iterator gives them: nobody knows how many there are."""

    @property
    def n_rows(self):
        return None

    def load(self, index):
        start = index * self.block_rows
        if start >= len(self.x):
            raise EndOfSource(f"block {index}")
        self.reads.append(index)
        return self.x[start : start + self.block_rows]


def rows_source(x, *, block_rows=1000, sample_weight=None, missing="raise", repeatable=True):
    """A CountedRows of an array (n d) and, where given, of its weights (n)."""
    x = np.asarray(x, dtype=np.float64)
    columns = tuple(f"f{j}" for j in range(x.shape[1]))
    made = CountedRows(
        feature_names=columns, units=("",) * len(columns), block_rows=block_rows, missing=missing, x=x, repeatable_rows=repeatable
    )
    if sample_weight is None:
        return made
    weight = np.asarray(sample_weight, dtype=np.float64).reshape(-1, 1)
    return replace(made, sample_weight=CountedRows(feature_names=("weight",), units=("",), block_rows=block_rows, x=weight))


def family_of(name):
    """The class of a family."""
    return implementation("components", name)


def random_covariances(k, d, rng):
    """Dense covariances (K D D) of moderate condition."""
    a = rng.normal(size=(k, d, d + 2))
    return np.einsum("kij,klj->kil", a, a) / (d + 2) + 0.2 * np.eye(d)


def random_mixture(name, k, d, rng, *, spread=2.0):
    """A mixture of K components in d columns with overlapping components."""
    weights = rng.dirichlet(np.full(k, 5.0))
    components = family_of(name).from_dense(rng.normal(scale=spread, size=(k, d)), random_covariances(k, d, rng), weights)
    return Mixture(components, FreeWeights(weights))


def clustered_rows(n, k, d, rng, *, spread=3.0):
    """Rows (n d) of K overlapping clusters, shuffled."""
    centres = rng.normal(scale=spread, size=(k, d))
    factors = np.linalg.cholesky(random_covariances(k, d, rng))
    labels = rng.integers(0, k, n)
    return centres[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(n, d)))


def wide_start(name, k, x, rng, weights=FreeWeights):
    """K components at rows of the table, each as wide as the table: a start from which no component collapses at once."""
    even = np.full(k, 1 / k)
    covariance = np.cov(x.T).reshape(x.shape[1], x.shape[1])
    centres = x[rng.choice(len(x), k, replace=False)]
    return Mixture(family_of(name).from_dense(centres, np.stack([covariance] * k), even), weights(even))


def dense(mixture):
    """weights, means and dense covariances of a mixture: what the twin takes."""
    components = mixture.components
    return mixture.weights.proportions, components.means, components.dense_covariances()


def block_of(x, sample_weight=None, skipped=0):
    """A block of these rows."""
    return Block(0, 0, np.ascontiguousarray(x, dtype=np.float64), sample_weight, skipped=skipped)


def statistics_of(mixture, x, sample_weight=None, *, hard=False, block_rows=65536):
    """Statistics of rows about a mixture."""
    return e_step((mixture,), block_of(x, sample_weight), block_rows=block_rows, hard=hard)[0]


def em_steps(mixture, x, n_steps, sample_weight=None, *, hard=False, regularisation=PLAIN):
    """The mixture after so many EM steps by hand, and the mean log-likelihood before each."""
    history = []
    for _ in range(n_steps):
        statistics = statistics_of(mixture, x, sample_weight, hard=hard)
        history.append(statistics.mean_log_likelihood)
        mixture, _ = m_step(statistics, mixture, regularisation)
    return mixture, history


def fit_rows(source, starts, *, tol=1e-3, max_iter=100, regularisation=PLAIN, hard=False, executor=None, on_state=None, **hooks):
    """The loop on a source, from given starts; hooks: those of a Caller."""
    problem = FitProblem(source, FullBatch(), regularisation, Stopping(tol=tol, max_iter=max_iter), hard)
    return run_fit(problem, start_state(starts), executor or Serial(), Caller(**hooks), on_state)


def same_bits(a, b):
    """Whether two mixtures hold the same bits."""
    left, right = a.to_arrays(), b.to_arrays()
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def as_arrays_equal(a, b):
    """Whether two statistics objects hold the same bits."""
    left, right = a.to_arrays(), b.to_arrays()
    return left.keys() == right.keys() and all(np.asarray(left[n]).tobytes() == np.asarray(right[n]).tobytes() for n in left)
