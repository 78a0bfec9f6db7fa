"""The scan before a fit: a share of every block, whoever reads it, and what the columns are like."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm import exploration
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import DataError, NonFiniteDataError, NumericalError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.initialisers._sample import draw_sample
from streamgmm.job import Job
from streamgmm.reduce import Span, TreeReducer
from streamgmm.scan import ScanBlock, merge_scanned, scan
from tests.making import OnceRows, clustered_rows, rows_source

SEEDS = st.integers(0, 2**32 - 1)


def numbered(n):
    """Rows whose first column is their own number."""
    return np.column_stack([np.arange(n, dtype=float), np.arange(n) % 7.0])


def scanned(source, n_rows=500, seed=3, executor=None):
    return scan(source, executor or Serial(), seed, n_rows)


# ---- the sample ------------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, n=st.integers(1, 400), block_rows=st.integers(1, 60), wanted=st.integers(1, 300))
def test_every_block_gives_its_share_and_the_weights_stand_for_all_rows(seed, n, block_rows, wanted):
    source = rows_source(numbered(n), block_rows=block_rows)
    sample, found = scanned(source, wanted, seed)
    assert found.rows == n
    assert sample.weight.sum() == pytest.approx(n)
    blocks, counts = np.unique(sample.x[:, 0] // block_rows, return_counts=True)
    share = block_rows if sample.complete else -(-wanted // source.n_blocks)
    np.testing.assert_array_equal(blocks, np.arange(source.n_blocks))
    assert counts.max() <= share
    assert len(np.unique(sample.x[:, 0])) == len(sample.x)


def test_a_table_of_few_blocks_gives_the_sample_that_was_drawn_before():
    source = rows_source(numbered(20_000), block_rows=100)
    old, (new, _) = draw_sample(source, 3, 500), scanned(source)
    assert old.x.tobytes() == new.x.tobytes()
    assert old.weight.tobytes() == new.weight.tobytes()


@pytest.mark.parametrize("executor", [Threads(1), Threads(2), Threads(5)])
def test_no_bit_depends_on_who_reads(executor):
    source = rows_source(numbered(20_000), block_rows=37)
    (one, a), (other, b) = scanned(source), scanned(source, executor=executor)
    assert one.x.tobytes() == other.x.tobytes()
    assert one.weight.tobytes() == other.weight.tobytes()
    for name in ("mean", "scatter", "low", "high"):
        assert getattr(a.columns, name).tobytes() == getattr(b.columns, name).tobytes()


def test_no_bit_depends_on_the_order_of_arrival(rng):
    source = rows_source(numbered(900), block_rows=37)
    function = ScanBlock(1, 5)
    results = [(Span(i, 0), function(block)) for i, block in enumerate(source.blocks())]
    trees = []
    for order in (range(len(results)), rng.permutation(len(results))):
        tree = TreeReducer(merge_scanned)
        for i in order:
            tree.add(*results[i])
        trees.append(tree.result())
    assert trees[0].x.tobytes() == trees[1].x.tobytes()
    assert trees[0].columns.scatter.tobytes() == trees[1].columns.scatter.tobytes()


def test_the_function_is_the_same_in_another_process():
    block = rows_source(numbered(500), block_rows=200).read(1)
    one, other = ScanBlock(3, 7)(block), pickle.loads(pickle.dumps(ScanBlock(3, 7)))(block)
    assert one.x.tobytes() == other.x.tobytes()
    assert one.columns.scatter.tobytes() == other.columns.scatter.tobytes()


def test_each_block_is_read_once():
    source = rows_source(numbered(3000), block_rows=10)
    scanned(source)
    assert sorted(source.reads) == list(range(300))


def test_rows_of_weight_zero_are_never_drawn_and_weights_stand_for_rows():
    weight = np.where(np.arange(9000) % 3 == 0, 0.0, 2.0)
    sample, found = scanned(rows_source(numbered(9000), block_rows=10, sample_weight=weight))
    assert (sample.x[:, 0] % 3 != 0).all()
    assert sample.weight.sum() == pytest.approx(weight.sum()) == found.columns.weight


# ---- the columns -----------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, block_rows=st.integers(1, 80), offset=st.sampled_from([0.0, 1e6, -1e9]))
def test_moments_and_boxes_are_those_of_all_rows(seed, block_rows, offset):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(200, 3)) + offset, rng.uniform(0.5, 2, 200)
    _, found = scanned(rows_source(x, block_rows=block_rows, sample_weight=weight), 50)
    mean = np.average(x - offset, axis=0, weights=weight)
    np.testing.assert_allclose(found.columns.mean - offset, mean, atol=1e-14 * max(abs(offset), 1) * 100)
    np.testing.assert_allclose(found.columns.deviation, np.sqrt(np.average((x - offset - mean) ** 2, axis=0, weights=weight)), rtol=1e-5)
    np.testing.assert_array_equal(found.columns.low, x.min(axis=0))
    np.testing.assert_array_equal(found.columns.high, x.max(axis=0))


# ---- what it refuses -------------------------------------------------------------------------------------------------------


def test_no_row_is_fitted_to_that_has_not_been_checked():
    """One bad value in one block of 600: a sample of 256 blocks would have begun the fit."""
    x = numbered(6000)
    x[4321, 1] = np.nan
    with pytest.raises(NonFiniteDataError, match="row 4321"):
        scanned(rows_source(x, block_rows=10))
    draw_sample(rows_source(x, block_rows=10), 3, 500)


def test_no_row_that_takes_part_is_refused():
    with pytest.raises(DataError, match="no row takes part"):
        scanned(rows_source(numbered(10), sample_weight=np.zeros(10)))


def test_an_iterator_has_no_second_look():
    with pytest.raises(DataError, match="no second look for a start"):
        scanned(OnceRows(feature_names=("a", "b"), units=("", ""), x=numbered(10)))


def test_differences_whose_squares_underflow_are_refused_by_column():
    x = np.column_stack([np.arange(1000.0), np.zeros(1000)])
    x[777, 1] = 1e-200
    with pytest.raises(NumericalError, match=r"column 'f1' ranges from 0 to 1e-200: .*Rescale"):
        scanned(rows_source(x, block_rows=10), 100)


# ---- what it is for --------------------------------------------------------------------------------------------------------

BLOCKS, BLOCK_ROWS = 2000, 50


@pytest.fixture
def small_samples(monkeypatch):
    monkeypatch.setattr(exploration, "EXPLORED_ROWS", BLOCKS * 10)
    monkeypatch.setattr(exploration, "EXPLORED_ROWS_A_PARAMETER", 1)


def sorted_table(rng, block):
    """Rows sorted by position; a small group, far away, fills one block of 2,000."""
    x = clustered_rows(BLOCKS * BLOCK_ROWS, 2, 2, rng)
    x[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS] = rng.normal(0, 0.5, (BLOCK_ROWS, 2)) + 40
    return x


def means_of(x, how):
    given = {"n_components": 3, "block_rows": BLOCK_ROWS, "max_iter": 2, "scan": how}
    source = rows_source(x, block_rows=BLOCK_ROWS)
    return Job(source, FitConfiguration.checked(given), Threads(2)).fit().mixture.components.means


@pytest.mark.usefixtures("small_samples")
def test_a_small_group_in_one_block_of_a_sorted_table_is_found(rng):
    x = sorted_table(rng, 1234)
    assert np.abs(means_of(x, "all") - 40).max(axis=1).min() < 0.5


@pytest.mark.usefixtures("small_samples")
def test_a_part_of_the_blocks_misses_it(rng):
    x = sorted_table(rng, 1234)
    source = rows_source(x, block_rows=BLOCK_ROWS)
    assert draw_sample(source, 0, 20_000).x.max() < 30, "the block is not among those of this seed"
    assert np.abs(means_of(x, "part") - 40).max(axis=1).min() > 20
