"""The laws that every schedule obeys: the same bits however it runs, the same optimum in whatever order rows lie. A new file is covered."""

import json

import numpy as np
import pytest
import zarr

from streamgmm.errors import DataError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import fit_states, run_fit, start_state
from streamgmm.mixture import Mixture
from streamgmm.passes import Caller, FitProblem
from streamgmm.registry import implementation, names
from streamgmm.sources import open_source
from streamgmm.state import FitState, Outcome
from streamgmm.stopping import Stopping
from streamgmm.weights.free import FreeWeights
from tests.making import PLAIN, family_of, rows_source, same_bits, statistics_of

SCHEDULES = names("schedules")
ONLINE = ("incremental", "stepwise")
K, D, N, BLOCK_ROWS = 3, 2, 2400, 100

# Nats per row that a fit may lie below full-batch EM's: stepwise keeps the noise of its last steps, the others stop by their own rule.
BELOW = {name: 2e-3 if name == "stepwise" else 1e-5 for name in SCHEDULES}

every_schedule = pytest.mark.parametrize("name", SCHEDULES)
pytestmark = pytest.mark.usefixtures("one_algebra_thread")


@pytest.fixture(scope="module")
def table():
    """Three overlapping clusters, shuffled."""
    rng = np.random.default_rng(31)
    centres = np.array([[-3.0, 0.0], [1.0, 3.0], [3.0, -2.0]])
    return centres[rng.integers(0, K, N)] + rng.normal(size=(N, D)) * [1.0, 1.3]


def start_of(shift=0.0, scale=1.0):
    """A start near none of the clusters' parameters, but nearer to each than to others."""
    means = scale * np.array([[-2.0, -1.0], [0.0, 2.0], [2.0, -1.0]]) + shift
    covariances = np.stack([4.0 * np.diag(np.ones(D) * np.square(scale))] * K)
    return Mixture(family_of("gaussian_full").from_dense(means, covariances, np.full(K, 1 / K)), FreeWeights(np.full(K, 1 / K)))


def problem_of(name, source, tol=0.0, max_iter=4, **options):
    return FitProblem(source, implementation("schedules", name)(), PLAIN, Stopping(tol, max_iter), seed=5, **options)


def fitted(name, source, start=None, executor=None, **options):
    return run_fit(problem_of(name, source, **options), start_state([start or start_of()]), executor or Serial())


def through_record(state):
    arrays, described = state.to_record()
    return FitState.from_record({key: value.copy() for key, value in arrays.items()}, json.loads(json.dumps(described)))


def same_fit(a, b):
    """Whether two states hold the same bits."""
    assert (a.passes, a.step, a.rows, a.skipped, a.weight) == (b.passes, b.step, b.rows, b.skipped, b.weight)
    assert a.checksums.tobytes() == b.checksums.tobytes()
    for one, other in zip(a.contenders, b.contenders, strict=True):
        assert same_bits(one.mixture, other.mixture)
        assert one.log_likelihoods == other.log_likelihoods
        assert one.memory.keys() == other.memory.keys()
        assert all(np.array_equal(one.memory[key], other.memory[key]) for key in one.memory)


def written(folder, table, chunk):
    path = folder / f"rows_{chunk}.zarr"
    zarr.create_array(path, shape=table.shape, dtype=table.dtype, chunks=(chunk, D))[...] = table
    return open_source(path, block_rows=BLOCK_ROWS)


# ---- the same bits ---------------------------------------------------------------------------------------------------


@every_schedule
def test_taken_up_after_every_round_it_gives_the_same_bits(name, table, tmp_path):
    """Every state goes through its record; checksums are taken, as the rows lie in a store."""
    problem = problem_of(name, written(tmp_path, table, BLOCK_ROWS))
    starts = start_state([start_of(), start_of(shift=0.5)])
    expected = run_fit(problem, starts, Serial()).state
    state, rounds = starts, 0
    while state.outcome is None:
        state, rounds = through_record(next(fit_states(problem, state, Serial()))), rounds + 1
    same_fit(state, expected)
    assert rounds == expected.passes * (1 if name not in ONLINE else len(problem.schedule.batches(problem.source.n_blocks, 0, 5)))


@every_schedule
@pytest.mark.parametrize("every", [3])
def test_stopped_within_rounds_it_gives_the_same_bits(name, every, table):
    """W7: left between any two blocks, and gone on with."""
    problem, executor = problem_of(name, rows_source(table, block_rows=BLOCK_ROWS), max_iter=2), Serial()
    expected, asked = run_fit(problem, start_state([start_of()]), executor).state, 0
    state = start_state([start_of()])

    def stop():
        nonlocal asked
        asked += 1
        return asked % (every + 1) == 0

    while state.outcome is None:
        found = run_fit(problem, state, executor, Caller(stop_requested=stop, snapshot_due=lambda: False)).state
        state = through_record(found)
        state = state.reopened() if state.outcome is Outcome.INTERRUPTED else state
    same_fit(state, expected)


@every_schedule
def test_one_answer_for_executors_and_chunks(name, table, tmp_path):
    expected = fitted(name, written(tmp_path, table, 90), executor=Serial()).state
    for executor in (Threads(1), Threads(2), Threads(4)):
        same_fit(fitted(name, written(tmp_path / executor.name / str(executor.workers), table, 333), executor=executor).state, expected)
    in_memory = fitted(name, rows_source(table, block_rows=BLOCK_ROWS)).state
    assert same_bits(in_memory.best.mixture, expected.best.mixture)


# ---- the same optimum ------------------------------------------------------------------------------------------------


ORDERS = {
    "shuffled": lambda x: x,
    "sorted": lambda x: x[np.argsort(x[:, 0], kind="stable")],
    "sorted within clusters": lambda x: x[np.lexsort((x[:, 1], np.digitize(x[:, 0], [-1.0, 2.0])))],
    "every row four times": lambda x: np.repeat(x[: N // 4], 4, axis=0),
}


@every_schedule
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_rows_does_not_matter(name, order, table):
    rows = ORDERS[order](table)
    source = rows_source(rows, block_rows=BLOCK_ROWS)
    best = fitted("full_batch", source, tol=1e-9, max_iter=200).state.best.log_likelihood
    found = fitted(name, source, tol=1e-7, max_iter=30).mixture
    assert statistics_of(found, rows).mean_log_likelihood > best - BELOW[name]


@every_schedule
def test_shift_and_unit_move_the_answer_and_nothing_else(name, table):
    """The scale is a power of two; the shift leaves enough digits."""
    shift, scale = np.array([1e3, -500.0]), np.array([8.0, 0.25])
    plain = fitted(name, rows_source(table, block_rows=BLOCK_ROWS))
    moved = fitted(name, rows_source(table * scale + shift, block_rows=BLOCK_ROWS), start_of(shift, scale))
    a, b = plain.mixture.components, moved.mixture.components
    np.testing.assert_allclose((b.means - shift) / scale, a.means, atol=1e-7)
    np.testing.assert_allclose(b.dense_covariances() / np.outer(scale, scale), a.dense_covariances(), atol=1e-7)
    np.testing.assert_allclose(moved.mixture.weights.proportions, plain.mixture.weights.proportions, atol=1e-8)
    np.testing.assert_allclose(moved.log_likelihoods, np.array(plain.log_likelihoods) - np.log(scale).sum(), atol=1e-8)


@every_schedule
def test_a_weight_of_two_is_a_row_twice(name, table):
    """Blocks twice as long hold the doubled rows, so that batches are of the same rows."""
    weighted = fitted(name, rows_source(table, block_rows=BLOCK_ROWS, sample_weight=np.full(N, 2.0)))
    twice = fitted(name, rows_source(np.repeat(table, 2, axis=0), block_rows=2 * BLOCK_ROWS))
    np.testing.assert_allclose(weighted.mixture.components.means, twice.mixture.components.means, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weighted.log_likelihoods, twice.log_likelihoods, rtol=0, atol=1e-10)
    assert weighted.state.weight == twice.state.weight == 2 * N


# ---- faults ----------------------------------------------------------------------------------------------------------


@every_schedule
@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_a_block_that_fails_is_named_with_its_own_number(name, executor, table):
    bad = table.copy()
    bad[1750, 1] = np.nan
    with pytest.raises(DataError, match=r"block 17\b.*row 1750"):
        fitted(name, rows_source(bad, block_rows=BLOCK_ROWS), executor=executor)


@every_schedule
def test_rows_that_change_between_passes_are_named_with_their_block(name, table):
    """K rows: the checksum of a block is compared with that of the pass before, whatever rounds it lies in."""
    changing = rows_source(table.copy(), block_rows=BLOCK_ROWS)
    problem = problem_of(name, changing)
    states = fit_states(problem, start_state([start_of()]), Serial())
    while next(states).passes < 1:
        pass
    changing.x[1750, 1] += 1e-3
    with pytest.raises(DataError, match=r"block 17 had checksum"):
        list(states)


@every_schedule
def test_a_batch_without_weight_changes_nothing_and_a_table_without_weight_is_refused(name, table):
    light = np.ones(N)
    light[:1000] = 0
    found = fitted(name, rows_source(table, block_rows=BLOCK_ROWS, sample_weight=light))
    assert np.isfinite(found.mixture.components.means).all()
    with pytest.raises(DataError, match="no row takes part"):
        fitted(name, rows_source(table, block_rows=BLOCK_ROWS, sample_weight=np.zeros(N)))
