"""Ladders: many contenders in the same reads, rows that are only compared on, criteria, and the same bits however it was ended."""

import json
import pickle
import shutil
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import dask
import dask.array
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.standard import standard_mixture, standard_rows
from streamgmm import ladder, ladder_starts, select
from streamgmm.block import Block
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import CheckpointError, ConfigError, DataChangedError, DataError, RunMismatchError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import run_fit, start_state
from streamgmm.initialisers.kmeans_plus_plus import KMeansPlusPlus
from streamgmm.job import Job
from streamgmm.ladder import LadderJob, ladder_in
from streamgmm.ladder_configuration import LadderConfiguration, counts_of
from streamgmm.ladder_picture import save_ladder_picture
from streamgmm.ladder_scores import ScoreLadder
from streamgmm.ladder_starts import Start, from_above, race
from streamgmm.ladder_table import CRITERIA, Ladder
from streamgmm.model_file import load_model
from streamgmm.over_fit import merged_path, too_many
from streamgmm.sample_em import Fitted, fit_on_sample
from streamgmm.sources import _held_out as held_out_module
from streamgmm.sources import as_source
from streamgmm.sources._held_out import held_out, is_held_out, mixed, rows_held_out
from streamgmm.state import Outcome
from streamgmm.verification import verify_run
from tests.making import PLAIN, block_of, clustered_rows, random_mixture, rows_source, same_bits
from tests.reliability import ladders

QUICK = {"schedule": "full_batch", "tol": 1e-5, "max_iter": 4, "n_init": 2, "executor": "serial"}


def job_of(source, k, executor=None, **parameters):
    """A ladder's job; hooks of a Job are given by `replace`."""
    hooks = {name: parameters.pop(name) for name in ("observe", "stop_requested", "criterion") if name in parameters}
    configuration = LadderConfiguration.of(k, {"schedule": "full_batch", "max_iter": 4, "n_init": 2, **parameters})
    return LadderJob(source=source, configuration=configuration, executor=executor or Serial(), **hooks)


def separate_rows(k, n, rng, d=2):
    """Rows of k groups ten deviations apart."""
    return 10 * np.stack([np.arange(k) % 3, np.arange(k) // 3], axis=1)[rng.integers(0, k, n)] + rng.normal(size=(n, d))


# ---- the same reads ------------------------------------------------------------------------------------------------------


def test_96_contenders_read_what_one_fit_reads(rng, monkeypatch):
    monkeypatch.setattr(ladder_starts, "SAME", 0.0)
    monkeypatch.setattr(ladder_starts, "ERRORS", np.inf)
    monkeypatch.setattr(ladder, "fit_on_sample", lambda *given, **named: fit_on_sample(*given, steps=3, **named))
    source = rows_source(clustered_rows(800, 4, 2, rng), block_rows=40)
    found = select(source, range(1, 33), **{**QUICK, "n_init": 3, "tol": 0.0, "max_iter": 3})
    assert len(found.rungs) == 96
    assert found.passes == 3
    reads = Counter(source.reads)
    assert reads.pop(0) <= 1 + 3 + 1 + 1, "the sample, three passes, the comparison, the fingerprint"
    assert set(reads.values()) <= {1 + 3 + 1, 1 + 3 + 1 + 1}
    assert sum(count == 5 for count in reads.values()) >= 18


def seeded(job, k, seed=0):
    return KMeansPlusPlus().start(job.family, job.sample, k, np.random.default_rng(seed))


def test_the_last_start_of_each_k_comes_from_above(rng):
    job = job_of(rows_source(clustered_rows(1200, 4, 2, rng)), [1, 4])
    path = merged_path(seeded(job, 12), job.sample.block, [1, 4, 12], PLAIN)
    assert {k: mixture.n_components for k, mixture in path.items()} == {1: 1, 4: 4}
    np.testing.assert_allclose(path[1].components.means[0], np.average(job.sample.x, axis=0, weights=job.sample.weight))
    starts = [Start(k, number, None) for k in (1, 4, 5) for number in range(2)] + [Start(6, 0, None)]
    assert [start.mixture for start in from_above(starts, path)] == [None, path[1], None, path[4], None, None, None]
    of_job = {(start.n_components, start.number): start.mixture for start in replace(job).starts.kept}
    assert of_job.keys() <= {(k, number) for k in (1, 4) for number in range(2)}


def test_the_way_down_begins_with_what_the_sample_can_hold():
    rows = block_of(np.zeros((600, 2)))
    assert (too_many(3, rows), too_many(10, rows), too_many(1000, block_of(np.zeros((5, 2))))) == (9, 20, 1)


def test_from_above_comes_nearer_than_from_seeds(rng):
    job = job_of(rows_source(standard_rows(standard_mixture(8, 4, 2), 4000, 2)), 8, hold_out=0.0)

    def value(mixture):
        return fit_on_sample(mixture, job.sample.block, PLAIN).log_likelihoods[-1]

    path = merged_path(seeded(job, 24), job.sample.block, [8], PLAIN)
    assert value(path[8]) > max(value(seeded(job, 8, seed)) for seed in range(3)) + 0.01


def test_a_converged_contender_leaves_the_later_passes(rng):
    source = rows_source(clustered_rows(1500, 5, 2, rng))
    found = select(source, [1, 5], **{**QUICK, "max_iter": 20, "tol": 1e-7})
    assert found.rungs[0].passes < found.passes


def test_what_is_dropped_enters_no_pass(rng):
    found = select(rows_source(separate_rows(2, 1500, rng)), [1, 2], **{**QUICK, "n_init": 5})
    assert len(found.rungs) + len(found.dropped) == 10
    assert {rung.n_components for rung in found.rungs} == {1, 2}
    assert sum(one.n_components == 1 for one in found.dropped) == 4
    assert all("same optimum" in one.reason for one in found.dropped if one.n_components == 1)


# ---- starts --------------------------------------------------------------------------------------------------------------


def starts_of(*mixtures):
    return [Start(mixture.n_components, i, mixture) for i, mixture in enumerate(mixtures)]


def raced(mixtures, histories, x):
    """A race in which the fit changes nothing and the likelihoods are these."""
    table = dict(zip(map(id, mixtures), histories, strict=True))
    return race(starts_of(*mixtures), block_of(x), lambda mixture, _: Fitted(mixture, table[id(mixture)]))


def test_a_start_far_below_is_dropped_unless_more_em_may_close_the_gap(rng):
    good = random_mixture("gaussian_full", 2, 2, rng)
    poor = replace(good, components=replace(good.components, means=good.components.means + 1.5))
    x = good.sample(4000, rng)[0]
    done, rising = (-5.0, -4.5, -4.4999), (-5.0, -4.7, -4.4)
    assert [one.number for one in raced([poor, good], [done, done], x).dropped] == [0]
    assert raced([poor, good], [rising, done], x).dropped == ()


def test_where_more_em_leads():
    assert Fitted(None, (0.0, 1.0, 1.5)).at_the_end == pytest.approx(2.0)
    assert Fitted(None, (0.0, 1.0, 2.0)).at_the_end == pytest.approx(1002.0)
    assert Fitted(None, (0.0, 1.0, 1.0)).at_the_end == 1.0
    assert Fitted(None, (0.0, 1.0)).at_the_end == np.inf


def test_threads_change_no_bit_of_the_starts(rng):
    x = clustered_rows(800, 3, 2, rng)
    starts = starts_of(*(random_mixture("gaussian_full", k, 2, rng) for k in (1, 2, 3, 3)))
    one, four = (race(starts, block_of(x), lambda m, s: fit_on_sample(m, s, PLAIN), threads) for threads in (1, 4))
    assert one.dropped == four.dropped
    assert all(same_bits(a.mixture, b.mixture) for a, b in zip(one.kept, four.kept, strict=True))


# ---- rows held out -------------------------------------------------------------------------------------------------------


def test_the_mixer_is_splitmix64():
    assert [hex(int(value)) for value in mixed(np.arange(1))] == ["0xe220a8397b1dcdaf"]
    golden = 0x9E3779B97F4A7C15
    assert int(mixed(np.array([golden], np.uint64))[0]) == 0x6E789E6AA1B965F4, "the second output of the generator of seed 0"


@given(st.floats(0.001, 0.5), st.integers(0, 2**50))
def test_the_share_held_out_is_as_asked(share, first):
    found = is_held_out(np.arange(first, first + 20_000), share).mean()
    assert abs(found - share) < 6 * np.sqrt(share / 20_000)


@given(st.integers(0, 2**40), st.integers(0, 20_000))
def test_rows_in_tiles_are_held_out_as_one_by_one(first, n):
    np.testing.assert_array_equal(rows_held_out(first, first + n, 0.3), is_held_out(np.arange(first, first + n), 0.3))


@given(st.integers(1, 400))
def test_the_rows_held_out_do_not_depend_on_the_blocks(block_rows):
    x = np.arange(1000.0)[:, None]
    source = held_out(rows_source(x, block_rows=block_rows), 0.2)
    out = np.concatenate([block.x[block.sample_weight == 0, 0] for block in source.blocks()])
    np.testing.assert_array_equal(out, np.flatnonzero(is_held_out(np.arange(1000), 0.2)))


def test_other_weights_stay_and_what_is_to_be_refused_is_refused(rng):
    weight = rng.uniform(0.5, 2, 300)
    source = held_out(rows_source(np.ones((300, 1)), sample_weight=weight), 0.3)
    found = np.concatenate([block.sample_weight for block in source.blocks()])
    np.testing.assert_array_equal(found, np.where(is_held_out(np.arange(300), 0.3), 0, weight))
    row = int(np.flatnonzero(is_held_out(np.arange(300), 0.3))[0])
    weight[row] = -1
    with pytest.raises(DataError, match=rf"the weight of row {row} is negative"):
        list(held_out(rows_source(np.ones((300, 1)), sample_weight=weight), 0.3).blocks())


@pytest.mark.parametrize("weighted", [False, True])
def test_pieces_for_other_machines_hold_out_the_same_rows(rng, weighted):
    x, weight = rng.normal(size=(500, 2)), rng.uniform(0.5, 2, 500)
    lazy = as_source(
        dask.array.from_array(x, chunks=(130, 2)), sample_weight=dask.array.from_array(weight, chunks=99) if weighted else None
    )
    plain = as_source(x, sample_weight=weight if weighted else None)
    for source in (lazy, plain):
        whole = held_out(source.with_block_rows(100), 0.2)
        (piece,) = dask.compute(whole.portable(2, 4), scheduler="synchronous")
        piece = pickle.loads(pickle.dumps(piece))
        for index in (2, 3):
            assert piece.read(index).x.tobytes() == whole.read(index).x.tobytes()
            assert piece.read(index).sample_weight.tobytes() == whole.read(index).sample_weight.tobytes()


def mixtures_with_other_held_out_rows(rng):
    """Mixtures of two ladders on tables that differ in the rows held out only."""
    x = clustered_rows(1500, 3, 2, rng)
    other = x.copy()
    out = is_held_out(np.arange(len(x)), 0.1)
    other[out] = rng.normal(scale=50, size=(int(out.sum()), 2))
    ladders_found = [select(as_source(rows, block_rows=500), [1, 2, 3], hold_out=0.1, **QUICK) for rows in (x, other)]
    return [found.mixtures for found in ladders_found]


def test_rows_held_out_never_enter_the_fit(rng):
    one, other = mixtures_with_other_held_out_rows(rng)
    assert len(one) == len(other)
    assert all(map(same_bits, one, other))


def test_without_their_weights_they_would(rng, monkeypatch):
    monkeypatch.setattr(held_out_module.HeldOutWeights, "load", lambda self, index: np.ones(np.diff(self.span(index))[0])[:, None])
    one, other = mixtures_with_other_held_out_rows(rng)
    assert len(one) != len(other) or not all(map(same_bits, one, other))


def test_rows_without_a_number_cannot_be_held_out(rng):
    lazy = dask.array.from_array(rng.normal(size=(50, 2)), chunks=(10, 2))
    unknown = lazy[lazy[:, 0] > -1]
    with pytest.raises(ConfigError, match="hold_out=0"):
        select(unknown, 2, **QUICK)
    assert select(unknown, 2, hold_out=0.0, **QUICK).rungs[0].held_out is None


# ---- one contender is a fit ----------------------------------------------------------------------------------------------


def test_one_contender_alone_is_a_plain_fit_of_the_same_rows(rng):
    x = clustered_rows(1500, 3, 2, rng)
    job = job_of(rows_source(x), 3, hold_out=0.1, n_init=1)
    found = job.fit_ladder()
    rows = np.flatnonzero(~is_held_out(np.arange(len(x)), 0.1))
    weight = np.zeros(len(x))
    weight[rows] = 1
    start, all_of_them = job.starts.kept[0].mixture, job.configuration.model_copy(update={"hold_out": 0.0})
    assert len(found.mixtures) == 1
    assert same_bits(found.mixture, Job(rows_source(x, sample_weight=weight), all_of_them, Serial(), start=start).fit().mixture)
    alone = Job(rows_source(x[rows]), all_of_them, Serial(), start=start).fit().mixture
    for name, value in alone.to_arrays().items():
        np.testing.assert_allclose(found.mixture.to_arrays()[name], value, rtol=1e-9, atol=1e-12)
    assert found.rows == len(rows)
    assert found.rungs[0].log_likelihood == pytest.approx(alone.score_samples(x[rows]).sum(), rel=1e-10)


def test_contenders_do_not_disturb_each_other(rng):
    job = job_of(rows_source(clustered_rows(1200, 3, 2, rng)), [2, 3], n_init=1)
    together = job.fit_ladder()
    for start, mixture in zip(job.starts.kept, together.mixtures, strict=True):
        assert same_bits(mixture, run_fit(job.problem(), start_state([start.mixture]), Serial()).mixture)


def test_threads_give_the_same_ladder(rng):
    x = clustered_rows(3000, 3, 2, rng)
    found = [job_of(rows_source(x, block_rows=300), [1, 2, 3], executor).fit_ladder() for executor in (Serial(), Threads(3))]
    assert found[0].to_json() == found[1].to_json()
    assert all(map(same_bits, found[0].mixtures, found[1].mixtures))


# ---- criteria ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_bic_finds_the_number_of_groups(k, rng):
    found = select(rows_source(separate_rows(k, 3000, rng)), range(1, 8), **QUICK)
    assert found.winner.n_components == k == found.mixture.n_components
    assert found.judged_by("icl_map").winner.n_components == k
    assert found.judged_by("icl_entropy").winner.n_components == k


def test_held_out_takes_the_smallest_within_one_standard_error(rng):
    found = select(rows_source(separate_rows(3, 4000, rng)), range(1, 7), hold_out=0.2, criterion="held_out", **QUICK)
    near = [rung.n_components for rung in found.best_of_each if -rung.difference <= rung.difference_error]
    assert found.winner.n_components == min(near) >= 3


def test_numbers_are_those_of_their_definitions(rng):
    """Against plain NumPy, with row weights."""
    x, weight = clustered_rows(900, 3, 2, rng), rng.uniform(0.2, 3, 900)
    found = select(rows_source(x, sample_weight=weight, block_rows=100), [1, 3], hold_out=0.1, **QUICK)
    out = is_held_out(np.arange(900), 0.1)
    w, n = weight[~out], weight[~out].sum() ** 2 / (weight[~out] ** 2).sum()
    assert found.n_effective == pytest.approx(n)
    best = max(np.average(mixture.score_samples(x[out]), weights=weight[out]) for mixture in found.mixtures)
    for rung, mixture in zip(found.rungs, found.mixtures, strict=True):
        likelihood, r, p = (w * mixture.score_samples(x[~out])).sum(), mixture.responsibilities(x[~out]), mixture.n_parameters
        bic = 2 * likelihood - p * np.log(n)
        assert rung.bic == pytest.approx(bic)
        assert rung.aic == pytest.approx(2 * likelihood - 2 * p)
        assert rung.aicc == pytest.approx(rung.aic - 2 * p * (p + 1) / (n - p - 1))
        assert rung.icl_map == pytest.approx(bic + 2 * (w * np.log(r.max(axis=1))).sum())
        assert rung.icl_entropy == pytest.approx(bic + 2 * (w * np.where(r > 0, r * np.log(np.maximum(r, 1e-300)), 0).sum(axis=1)).sum())
        assert rung.held_out == pytest.approx(np.average(mixture.score_samples(x[out]), weights=weight[out]))
        assert rung.difference == pytest.approx(rung.held_out - best, abs=1e-12)


def test_faithful_three_components_of_one_covariance(shared_data):
    path = shared_data / "classic-small" / "faithful.csv"
    if not path.is_file():
        pytest.skip("no faithful.csv in ../shared/data/classic-small: real data are not part of the repository")
    x = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(1, 2))
    exact = {"tol": 1e-12, "max_iter": 3000, "variance_floor": 0.0, "hold_out": 0.0, "seed": 1}
    found = select(x, 3, covariance_type="tied", init="random_rows", n_init=20, schedule="full_batch", executor="serial", **exact).winner
    assert found.log_likelihood == pytest.approx(-1126.3159, abs=5e-5)
    assert found.bic == pytest.approx(-2314.2957, abs=1e-4)
    assert found.icl_map == pytest.approx(-2358.390, abs=5e-3)
    assert found.icl_map == pytest.approx(-2357.824, abs=0.6), "mclust's, which stops at -1126.326"
    assert found.icl_entropy == pytest.approx(-2399.78, abs=5e-3)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 499), max_size=4))
def test_the_paired_standard_error_is_that_of_the_differences(seed, cuts):
    """Whatever the pieces that the rows come in."""
    rng = np.random.default_rng(seed)
    mixtures = tuple(random_mixture("gaussian_full", k, 2, rng) for k in (1, 2, 3))
    x, weight = mixtures[2].sample(500, rng)[0], rng.uniform(0.1, 2, 500)
    densities = np.array([mixture.score_samples(x) for mixture in mixtures])
    function, edges = ScoreLadder(mixtures, densities.mean(axis=1), 0.5), [0, *sorted(set(cuts)), 500]
    scores = None
    for a, b in pairwise(edges):
        one = function(Block(0, a, np.ascontiguousarray(x[a:b]), weight[a:b]))
        scores = one if scores is None else scores.merge(one)
    out = is_held_out(np.arange(500), 0.5)
    w, n = weight[out], weight[out].sum() ** 2 / (weight[out] ** 2).sum()
    for a, b in ((0, 1), (0, 2), (2, 1), (1, 1)):
        d = densities[a, out] - densities[b, out]
        mean = np.average(d, weights=w)
        error = np.sqrt((w**2 * (d - mean) ** 2).sum() * n / (n - 1)) / w.sum()
        np.testing.assert_allclose(scores.difference(a, b), (mean, error), rtol=1e-6, atol=1e-9)
    assert scores.held_out(1)[0] == pytest.approx(np.average(densities[1, out], weights=w))


def test_many_contenders_are_compared_in_the_memory_of_a_few(rng):
    """Of one block: what is kept for each of them are the rows held out, not all rows."""
    mixtures = tuple(random_mixture("gaussian_full", 2, 2, rng) for _ in range(40))
    block = Block(0, 0, rng.normal(size=(20_000, 2)))
    ScoreLadder(mixtures[:1], np.zeros(1), 0.01)(block)  # compiles
    tracemalloc.start()
    ScoreLadder(mixtures, np.zeros(40), 0.01)(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * block.x[:, 0].nbytes  # it was three times that


def test_equal_rows_make_the_plain_standard_error(rng):
    mixture = random_mixture("gaussian_full", 2, 2, rng)
    x = mixture.sample(400, rng)[0]
    scores = ScoreLadder((mixture,), np.zeros(1), 0.5)(block_of(x))
    values = mixture.score_samples(x)[is_held_out(np.arange(400), 0.5)]
    assert scores.held_out(0)[1] == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)))


# ---- runs ----------------------------------------------------------------------------------------------------------------


def test_killed_anywhere_and_started_again_gives_the_same_ladder():
    found = ladders.trials(4, seed=9)
    assert found.violations == 0, found.remarks
    assert found.remarks["killed in a pass"] > 0
    assert found.remarks["killed in the comparison"] > 0


def test_without_what_was_saved_of_the_starts_a_run_is_refused(tmp_path, rng):
    source = rows_source(clustered_rows(600, 2, 2, rng))
    job = job_of(source, [1, 2], stop_requested=lambda: True)
    assert ladder_in(Run(tmp_path / "run"), job).outcome is Outcome.INTERRUPTED
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["ladder"]["contenders"][0][0] == 1
    del record["ladder"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError):
        ladder_in(Run(tmp_path / "run"), job_of(source, [1, 2]))


def test_a_finished_run_is_judged_anew_without_a_read(tmp_path, rng):
    x = clustered_rows(1500, 3, 2, rng)
    first = select(rows_source(x), [1, 2, 3, 4], checkpoint=tmp_path / "run", **QUICK)
    assert verify_run(Run(tmp_path / "run")).faults == ()
    source = rows_source(x)
    for criterion in CRITERIA:
        again = select(source, [1, 2, 3, 4], checkpoint=tmp_path / "run", criterion=criterion, **QUICK)
        assert again.rungs == first.rungs
        assert again.criterion == criterion
        model = load_model(tmp_path / "run" / "model.zarr")
        assert same_bits(model.mixture, again.mixture)
        assert model.provenance["ladder"]["criterion"] == criterion
        assert verify_run(Run(tmp_path / "run")).faults == ()
    assert len(source.reads) <= 2 * len(CRITERIA), "the ends, for the fingerprint"


@pytest.mark.parametrize("harm", ["cut on its way", "damaged"])
def test_a_model_that_is_not_whole_is_written_again(tmp_path, rng, harm):
    x = clustered_rows(900, 2, 2, rng)
    first = select(rows_source(x), [1, 2], checkpoint=tmp_path / "run", **QUICK)
    path = tmp_path / "run" / "model.zarr"
    whole = {member.name: member.read_bytes() for member in path.rglob("*") if member.is_file()}
    if harm == "damaged":
        (path / "zarr.json").write_bytes(whole["zarr.json"][:-9])
    else:  # in an object store zarr.json goes first and comes last
        (path / "zarr.json").unlink()
        shutil.rmtree(next(member for member in path.iterdir() if member.is_dir()))
    again = select(rows_source(x), [1, 2], checkpoint=tmp_path / "run", **QUICK)
    assert again.rungs == first.rungs
    assert {member.name: member.read_bytes() for member in path.rglob("*") if member.is_file()} == whole
    assert verify_run(Run(tmp_path / "run")).faults == ()


def test_a_run_of_another_ladder_is_refused(tmp_path, rng):
    source = rows_source(clustered_rows(600, 2, 2, rng))
    select(source, [1, 2], checkpoint=tmp_path / "run", **QUICK)
    for k, other in (([1, 3], {}), ([1, 2], {"hold_out": 0.2}), ([1, 2], {"n_init": 3})):
        with pytest.raises((RunMismatchError, DataChangedError)):
            select(source, k, checkpoint=tmp_path / "run", **{**QUICK, **other})
    plain = FitConfiguration.checked(job_of(source, [1, 2]).configuration.model_dump(exclude={"ladder"}))
    with pytest.raises(RunMismatchError, match="ladder was"):
        Job(source, plain, Serial()).fit_in(Run(tmp_path / "run"))


def test_more_passes_compare_anew(tmp_path, rng):
    source = rows_source(clustered_rows(900, 3, 2, rng))
    short = select(source, [2, 3], checkpoint=tmp_path / "run", **{**QUICK, "max_iter": 2, "tol": 0.0})
    longer = select(source, [2, 3], checkpoint=tmp_path / "run", **{**QUICK, "max_iter": 5, "tol": 0.0})
    straight = select(source, [2, 3], **{**QUICK, "max_iter": 5, "tol": 0.0})
    assert short.rungs != longer.rungs == straight.rungs


def test_rows_that_changed_since_the_passes_are_refused(rng):
    job = job_of(rows_source(clustered_rows(500, 2, 2, rng)), 2)
    state = job.fit().state
    with pytest.raises(DataChangedError, match="the passes read 500 rows"):
        job_of(rows_source(clustered_rows(400, 2, 2, rng)), 2).scored(state, ((2, 0),) * len(state.contenders), ())


def test_the_ladder_survives_json(rng):
    found = select(rows_source(clustered_rows(900, 3, 2, rng)), [1, 2, 3], **QUICK)
    text = json.dumps(found.to_json(), allow_nan=False)
    in_order = [
        mixture for _, mixture in sorted(zip([rung.contender for rung in found.rungs], found.mixtures, strict=True), key=lambda p: p[0])
    ]
    again = Ladder.from_json(json.loads(text), in_order)
    assert again.to_json() == found.to_json()
    assert same_bits(again.mixture, found.mixture)
    with pytest.raises(CheckpointError):
        Ladder.from_json({**json.loads(text), "rungs": [{}]}, in_order)


# ---- what the user gives and sees ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "counts"),
    [
        (3, (3,)),
        ("3", (3,)),
        ("1:4", (1, 2, 3, 4)),
        ("2:8:3", (2, 5, 8)),
        ("8, 1,2:3", (1, 2, 3, 8)),
        (range(2, 4), (2, 3)),
        ([4, 4, 1], (1, 4)),
    ],
)
def test_numbers_of_components(k, counts):
    assert counts_of(k) == counts


@pytest.mark.parametrize("k", [0, "0:3", "", "4:1", "1:4:0", "a", "1:", [], [1.5], [True], "1:99999999", None])
def test_other_numbers_of_components_are_refused(k):
    with pytest.raises(ConfigError, match="k"):
        counts_of(k)


def test_faults_are_said_at_once(rng):
    source = rows_source(rng.normal(size=(50, 2)))
    with pytest.raises(ConfigError, match=r"criterion must be one of.*did you mean 'bic'"):
        select(source, 2, criterion="bik")
    with pytest.raises(ConfigError, match="hold_out"):
        select(source, 2, criterion="held_out", hold_out=0.0)
    with pytest.raises(ConfigError, match="hold_out"):
        select(source, 2, hold_out=1.0)
    with pytest.raises(DataError, match="n_components=60 is larger"):
        select(source, [2, 60], **QUICK)
    assert len(source.reads) <= 4


def test_the_table_has_a_line_for_each_contender_and_marks_the_winner(rng):
    found = select(rows_source(separate_rows(2, 800, rng)), [1, 2, 3], **QUICK)
    lines = found.table().splitlines()
    assert len(lines) == 1 + len(found.rungs)
    marked = [line for line in lines if line.lstrip().startswith(">")]
    assert len(marked) == 1
    assert marked[0].split()[1] == "2"


@pytest.mark.parametrize("hold_out", [0.0, 0.2])
def test_the_picture(tmp_path, rng, hold_out):
    found = select(rows_source(separate_rows(2, 800, rng)), [1, 2, 3], hold_out=hold_out, **QUICK)
    for criterion in ("bic", "held_out") if hold_out else ("bic", "aic"):
        made = save_ladder_picture(tmp_path / "p.png", found.judged_by(criterion), title="a $ sign")
        assert made.read_bytes().startswith(b"\x89PNG")
