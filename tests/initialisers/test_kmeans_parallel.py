"""k-means|| over blocks: seven reads, rows drawn as they should be, the same bits whoever reads, and no sample."""

import pickle
from collections import Counter

import numpy as np
import pytest
from sklearn.cluster import KMeans

from streamgmm.block import Block
from streamgmm.column_moments import Columns
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import DataError, NumericalError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.initialisers.kmeans_parallel import ROUNDS, CountBlock, DrawBlock, KMeansParallel
from streamgmm.job import Job
from tests.making import family_of, rows_source, same_bits


def started(source, k, *, executor=None, seed=0, family="gaussian_full"):
    rng = np.random.default_rng(seed)
    return KMeansParallel().start_over(family_of(family), source, executor or Serial(), k, rng)


def groups_of(k, n, rng):
    """Rows of k groups far apart, sorted by group: most blocks hold one group only."""
    centres = 20 * np.stack([np.arange(k) % 5, np.arange(k) // 5], axis=1)
    return centres, np.repeat(centres, n, axis=0) + rng.normal(size=(k * n, 2))


def test_rows_are_drawn_in_proportion_to_weight_and_squared_distance():
    x, weight = np.array([[0.0], [1.0], [2.0], [-3.0]]), np.array([5.0, 4.0, 1.0, 0.5])
    columns = Columns(1.0, np.zeros(1), np.ones(1), -np.ones(1), np.ones(1))
    drawn = [DrawBlock(seed, 1, columns, np.zeros((1, 1)))(Block(0, 0, x, weight)).x[0, 0] for seed in range(4000)]
    chance = weight * x[:, 0] ** 2
    expected = chance / chance.sum()
    found = np.array([drawn.count(value) for value in x[:, 0]]) / len(drawn)
    assert found[0] == 0
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / len(drawn)))


def test_draws_of_blocks_are_those_of_the_rows_together(rng):
    x = rng.normal(size=(300, 2))
    columns, seeds = Columns.of(x, np.ones(300)), x[:2]
    function = DrawBlock(7, 9, columns, seeds)
    parts = [function(Block(i, 100 * i, x[100 * i : 100 * i + 100])) for i in range(3)]
    a, b = parts[0].merge(parts[1]).merge(parts[2]), parts[0].merge(parts[1].merge(parts[2]))
    every = np.concatenate([DrawBlock(7, 100, columns, seeds)(Block(i, 100 * i, x[100 * i : 100 * i + 100])).key for i in range(3)])
    np.testing.assert_array_equal(a.key, np.sort(every)[:9])
    assert a.x.tobytes() == b.x.tobytes()


def test_seven_reads_and_no_more(rng):
    source = rows_source(rng.normal(size=(1000, 2)), block_rows=100)
    started(source, 4)
    assert Counter(source.reads) == dict.fromkeys(range(10), ROUNDS + 2)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_no_bit_depends_on_who_reads(rng, n_threads):
    source = rows_source(rng.normal(size=(3000, 3)), block_rows=77)
    assert same_bits(started(source, 6), started(source, 6, executor=Threads(n_threads)))


def test_all_groups_of_a_sorted_table_are_found(rng):
    centres, x = groups_of(20, 100, rng)
    means = started(rows_source(x, block_rows=50), 20).components.means
    nearest = ((centres[:, None] - means) ** 2).sum(axis=2)
    assert sorted(nearest.argmin(axis=1)) == list(range(20))
    assert np.sqrt(nearest.min(axis=1)).max() < 0.5


def test_it_is_about_as_good_as_k_means_of_all_rows(rng):
    x = np.vstack([rng.normal(rng.normal(0, 4, 3), 1, (300, 3)) for _ in range(8)])
    means = started(rows_source(x, block_rows=100), 8).components.means
    cost = ((x[:, None] - means) ** 2).sum(axis=2).min(axis=1).sum()
    assert cost < 1.2 * KMeans(8, n_init=5, random_state=0).fit(x).inertia_


def test_components_hold_all_rows_between_them(rng):
    x, weight = rng.normal(size=(2000, 2)) * [1.0, 1e6] + [0.0, 1e9], rng.uniform(0, 2, 2000)
    weight[::3] = 0
    mixture = started(rows_source(x, block_rows=90, sample_weight=weight), 5)
    shares, means = mixture.weights.proportions, mixture.components.means
    np.testing.assert_allclose(shares @ means, np.average(x, axis=0, weights=weight), rtol=1e-9, atol=1e-9)


def test_too_few_rows_are_refused(rng):
    with pytest.raises(DataError, match="3 rows take part, n_components=4"):
        started(rows_source(rng.normal(size=(3, 2))), 4)


def test_a_column_whose_squares_underflow_is_refused_by_name(rng):
    x = np.column_stack([rng.normal(size=100), rng.normal(size=100) * 1e-200])
    with pytest.raises(NumericalError, match="column 'f1' ranges"):
        started(rows_source(x), 3)


def test_functions_are_the_same_in_another_process(rng):
    x = rng.normal(size=(50, 2))
    columns, block = Columns.of(x, np.ones(50)), Block(0, 0, x)
    for function, name in ((DrawBlock(1, 5), "x"), (DrawBlock(1, 5, columns, x[:3]), "key"), (CountBlock(columns, x[:3]), "second")):
        again = pickle.loads(pickle.dumps(function))
        assert getattr(again(block), name).tobytes() == getattr(function(block), name).tobytes()


def test_a_fit_that_begins_with_it_draws_no_sample(rng, monkeypatch):
    source = rows_source(rng.normal(size=(1000, 2)), block_rows=100)
    monkeypatch.setattr(Job, "drawn_sample", lambda *_: pytest.fail("a sample was drawn"))
    given = {"n_components": 3, "schedule": "full_batch", "init": "kmeans_parallel", "max_iter": 4, "tol": 0.0, "block_rows": 100}
    result = Job(source, FitConfiguration.checked(given), Serial()).fit()
    assert result.state.passes == 4
    assert Counter(source.reads)[5] == ROUNDS + 2 + 4
