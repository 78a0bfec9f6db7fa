"""Rows held out of a fit: it never sees them, its model is measured on them at the end, and a run goes on with the same ones."""

import json
import shutil
from dataclasses import asdict, replace

import dask.array
import numpy as np
import pytest

import streamgmm as sg
from streamgmm import commands
from streamgmm.checkpoint import Run
from streamgmm.commands.where import Where
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import ChunkCorruptError, ClusterError, ConfigError, DataChangedError, RunMismatchError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.forgetting import model_without
from streamgmm.held_out_scores import HeldOut
from streamgmm.job import Job, held_out_in
from streamgmm.ladder import LadderJob
from streamgmm.ladder_configuration import LadderConfiguration
from streamgmm.model_file import load_model, model_hash
from streamgmm.registry import names
from streamgmm.sources import _held_out as held_out_module
from streamgmm.sources import as_source
from streamgmm.sources._held_out import is_held_out
from streamgmm.state import Outcome
from streamgmm.updating import prepared
from streamgmm.verification import verify_run
from tests.making import clustered_rows, rows_source, same_bits
from tests.running import Shell, survey_rows, write_store

N, SHARE = 1500, 0.1
OUT = is_held_out(np.arange(N), SHARE)
NOWHERE = Where(scheduler="tcp://127.0.0.1:9")  # nothing listens there


@pytest.fixture
def x(rng):
    return clustered_rows(N, 3, 2, rng)


@pytest.fixture(autouse=True)
def short_exploration(monkeypatch):
    for name, value in (("EXPLORED_ROWS", 400), ("EXPLORED_ROWS_A_PARAMETER", 1), ("LEAST_STARTS", 2), ("MOVES", 0)):
        monkeypatch.setattr(f"streamgmm.exploration.{name}", value)


def job_of(source, executor=None, **parameters):
    """Hooks of a Job are given by `replace`."""
    given = {"n_components": 2, "schedule": "full_batch", "max_iter": 3, "seed": 1, "hold_out": SHARE, **parameters}
    return Job(
        source, FitConfiguration.checked({**given, "block_rows": source.block_rows, "missing": source.missing}), executor or Serial()
    )


def blocks_of(x, block_rows=100, **options):
    return rows_source(x, block_rows=block_rows, **options)


def twin(mixture, x, weight=None):
    """Mean and standard error over the rows held out, and mean over the others, by hand."""
    weight = np.ones(len(x)) if weight is None else weight
    out = is_held_out(np.arange(len(x)), SHARE)
    density, w = mixture.score_samples(x), weight[out]
    n, mean = w.sum() ** 2 / (w**2).sum(), np.average(density[out], weights=w)
    error = np.sqrt((w**2 * (density[out] - mean) ** 2).sum() * n / (n - 1)) / w.sum()
    return mean, error, np.average(density[~out], weights=weight[~out])


def figures(found):
    return found.mean, found.standard_error, found.fitted_mean


# ---- what is held out ------------------------------------------------------------------------------------------------------


def test_without_a_share_nothing_is_wrapped_read_or_said(x):
    source = blocks_of(x)
    job = job_of(source, hold_out=0.0)
    assert job.guarded is job.whole
    result = job.fit()
    assert result.held_out is None
    assert len(source.reads) == (1 + result.state.passes) * source.n_blocks, "the sample, and the passes"


def test_the_rows_are_those_that_select_holds_out(x):
    ladder = LadderJob(source=blocks_of(x), configuration=LadderConfiguration.of(3, {"hold_out": SHARE}), executor=Serial())
    job = job_of(blocks_of(x, 70))
    weights = [np.concatenate([block.sample_weight for block in one.guarded.blocks()]) for one in (ladder, job)]
    np.testing.assert_array_equal(*weights)
    np.testing.assert_array_equal(weights[0] == 0, OUT)


def two_tables(x, rng, **parameters):
    """Results of two tables that differ in the rows held out only."""
    other = np.where(OUT[:, None], rng.normal(scale=50, size=x.shape), x)
    return [job_of(blocks_of(rows), **parameters).fit() for rows in (x, other)]


SCHEDULES = [{"schedule": name} for name in names("schedules") if name != "anchored"]
CASES = [*SCHEDULES, {"schedule": "auto", "scan": "part"}, {"init": "kmeans_parallel"}]


@pytest.mark.parametrize("parameters", CASES, ids=lambda one: "-".join(one.values()))
def test_they_enter_no_sample_no_start_and_no_pass(x, rng, parameters):
    one, other = two_tables(x, rng, **parameters)
    assert same_bits(one.mixture, other.mixture)
    assert one.log_likelihoods == other.log_likelihoods
    assert one.held_out != other.held_out


def test_without_their_weights_they_would(x, rng, monkeypatch):
    monkeypatch.setattr(held_out_module.HeldOutWeights, "load", lambda self, index: np.ones(np.diff(self.span(index))[0])[:, None])
    one, other = two_tables(x, rng)
    assert not same_bits(one.mixture, other.mixture)


def test_the_fit_is_that_of_the_other_rows(x):
    start = job_of(blocks_of(x)).first_state().contenders[0].mixture
    found = replace(job_of(blocks_of(x)), start=start).fit().mixture
    assert same_bits(found, replace(job_of(blocks_of(x, sample_weight=~OUT), hold_out=0.0), start=start).fit().mixture)
    alone = replace(job_of(blocks_of(x[~OUT]), hold_out=0.0), start=start).fit().mixture
    for name, value in alone.to_arrays().items():
        np.testing.assert_allclose(found.to_arrays()[name], value, rtol=1e-9, atol=1e-12)


def test_rows_without_a_number_are_refused(x):
    lazy = dask.array.from_array(x, chunks=(100, 2))
    for table in (lazy[lazy[:, 0] > -99], iter([x[:700], x[700:]])):
        with pytest.raises(ConfigError, match="hold_out=0"):
            sg.fit(table, sg.GaussianMixture(2), hold_out=SHARE, schedule="stepwise")


@pytest.mark.parametrize("share", [-0.1, 0.6, np.nan, "0.1", True])
def test_other_shares_are_refused(x, share):
    with pytest.raises(ConfigError, match="hold_out must be"):
        sg.fit(x, sg.GaussianMixture(2), hold_out=share)


# ---- the figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [{}, {"schedule": "stepwise"}, {"assignment": "hard"}, {"covariance_type": "diag"}])
def test_they_are_those_of_their_definitions(x, parameters):
    result = job_of(blocks_of(x), **parameters).fit()
    assert result.held_out.rows == OUT.sum()
    np.testing.assert_allclose(figures(result.held_out), twin(result.mixture, x), rtol=1e-9)


def test_they_are_those_of_weighted_rows_that_are_there(x, rng):
    weight, holes = rng.uniform(0.2, 3, N), rng.random(N) < 0.2
    rows = np.where(holes[:, None], [np.nan, 1.0], x)
    result = job_of(blocks_of(rows, sample_weight=weight, missing="skip")).fit()
    assert result.held_out.rows == (OUT & ~holes).sum()
    np.testing.assert_allclose(figures(result.held_out), twin(result.mixture, x, np.where(holes, 0, weight)), rtol=1e-9)


def test_a_block_that_is_left_out_is_left_out_of_them(x, monkeypatch):
    job = job_of(blocks_of(x), on_damage="skip")
    read = type(job.source).load

    def load(self, index):
        if index == 3:
            raise ChunkCorruptError("chunk 3 is damaged")
        return read(self, index)

    monkeypatch.setattr(type(job.source), "load", load)
    result = job.fit()
    assert (result.state.rows, result.state.skipped) == (N - 100, 100)
    kept = np.arange(N) // 100 != 3
    assert result.held_out.rows == (OUT & kept).sum()
    np.testing.assert_allclose(figures(result.held_out), twin(result.mixture, x, kept.astype(float)), rtol=1e-9)


def test_of_auto_the_likelihood_it_reports_is_that_of_the_rows_fitted_to(x):
    result = job_of(blocks_of(x), schedule="auto", max_iter=None).fit()
    assert result.converged
    assert result.held_out.fitted_mean == pytest.approx(result.log_likelihoods[-1], rel=1e-12)


def test_too_many_components_do_worse_on_them(rng):
    x = rng.normal(size=(400, 2))
    few, many = (job_of(blocks_of(x), n_components=k, hold_out=0.5, max_iter=40).fit().held_out for k in (1, 20))
    assert many.fitted_mean - few.fitted_mean > 3 * few.standard_error
    assert few.mean - many.mean > 3 * few.standard_error


def test_threads_change_no_bit(x):
    executors = (Serial(), Threads(1), Threads(2), Threads(4))
    found = [job_of(blocks_of(x, 300), executor).fit() for executor in executors]
    assert all(same_bits(found[0].mixture, one.mixture) for one in found)
    assert len({one.held_out for one in found}) == 1


def test_other_blocks_change_neither_the_rows_nor_more_than_rounding(x):
    start = job_of(blocks_of(x)).first_state().contenders[0].mixture
    one, other = (replace(job_of(blocks_of(x, block_rows)), start=start).fit().held_out for block_rows in (100, 333))
    assert one.rows == other.rows
    np.testing.assert_allclose(figures(one), figures(other), rtol=1e-9)


@pytest.mark.parametrize(("n", "share", "rows"), [(50, 1e-9, 0), (12, 0.1, 1)])
def test_too_few_rows_give_no_figure_and_are_looked_at_once(tmp_path, rng, n, share, rows):
    assert is_held_out(np.arange(n), share).sum() == rows
    source = blocks_of(rng.normal(size=(n, 2)))
    job = job_of(source, n_components=1, hold_out=share)
    found = job.fit_in(Run(tmp_path)).held_out
    assert (found.rows, found.mean, found.standard_error) == (rows, None, None)
    assert "too few" in found.said()
    assert job.is_complete(Run(tmp_path))
    assert job.fit_in(Run(tmp_path)).held_out == found


@pytest.mark.parametrize(
    "found",
    [HeldOut(3, -1.5, 0.25, -1.0), HeldOut(1, None, None, -1.0)],
)
def test_they_survive_json_and_nothing_else_is_taken_for_them(found):
    record = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert HeldOut.from_json(record) == found
    for other in (None, [], {}, {**record, "rows": "3"}, {**record, "more": 1}, {**record, "fitted_mean": None}, {**record, "mean": "x"}):
        assert HeldOut.from_json(other) is None


# ---- runs ------------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As a signal ends a process: nobody catches it."""


def killed_at(number, seen):
    """An observer that kills at an event of this number."""

    def observe(event):
        seen.append(event.details.get("task") or event.kind)
        if len(seen) == number:
            raise Killed

    return observe


@pytest.mark.parametrize(("schedule", "kills", "last"), [("auto", [0.7], "reading"), ("full_batch", [0.0, 0.5, 0.9, 1.0], "held out")])
def test_killed_anywhere_it_ends_with_the_same_figures(x, tmp_path, schedule, kills, last):
    """At a share of the events up to the last one of the look."""
    job, told = job_of(blocks_of(x, 300), schedule=schedule, checkpoint_every=0.0), []
    whole = replace(job, observe=killed_at(0, told)).fit_in(Run(tmp_path / "whole"))
    look = [number for number, what in enumerate(told, 1) if what == "held out"]
    for share in kills:
        run, seen = Run(tmp_path / f"{share}"), []
        with pytest.raises(Killed):
            replace(job, observe=killed_at(1 + round(share * (look[-1] - 1)), seen)).fit_in(run)
        assert job.fit_in(run).held_out == whole.held_out
        assert model_hash(run.model_path) == model_hash(tmp_path / "whole" / "model.zarr")
        assert verify_run(run).faults == ()
    assert seen[-1] == last


def stopped_in_the_look(job, run):
    """What a run gives that is told to stop when it looks at the rows held out."""
    told = []
    watched = replace(job, observe=lambda event: told.append(event.details.get("task")), stop_requested=lambda: "held out" in told)
    return watched.fit_in(run)


def test_stopped_in_the_look_it_is_done_by_the_next_call_alone(x, tmp_path):
    source = blocks_of(x)
    stopped = stopped_in_the_look(job_of(source), Run(tmp_path))
    assert (stopped.outcome, stopped.held_out) == (Outcome.INTERRUPTED, None)
    assert not (tmp_path / "model.zarr").exists()
    assert not job_of(source).is_complete(Run(tmp_path))
    source.reads.clear()
    result = job_of(source).fit_in(Run(tmp_path))
    assert result.held_out == job_of(blocks_of(x)).fit().held_out
    assert len(source.reads) <= source.n_blocks + 2, "one read, and the ends for the fingerprint"
    source.reads.clear()
    assert job_of(source).fit_in(Run(tmp_path)).held_out == result.held_out
    assert len(source.reads) <= 2
    assert asdict(result.held_out) == load_model(tmp_path / "model.zarr").provenance["held_out"]


def test_without_a_run_a_stop_in_the_look_is_an_interruption(x):
    told = []
    job = replace(job_of(blocks_of(x)), observe=lambda event: told.append(event.details.get("task")))
    assert replace(job, stop_requested=lambda: "held out" in told).fit().outcome is Outcome.INTERRUPTED


def test_another_share_is_refused_and_more_passes_look_anew(x, tmp_path):
    first = job_of(blocks_of(x), tol=0.0).fit_in(Run(tmp_path))
    for share in (0.0, 0.2):
        with pytest.raises(RunMismatchError, match=r"hold_out was 0\.1, is"):
            job_of(blocks_of(x), tol=0.0, hold_out=share).fit_in(Run(tmp_path))
    longer = job_of(blocks_of(x), tol=0.0, max_iter=6).fit_in(Run(tmp_path))
    assert first.held_out != longer.held_out == job_of(blocks_of(x), tol=0.0, max_iter=6).fit().held_out


def test_damage_met_in_the_look_does_not_cost_the_model(x, tmp_path, monkeypatch):
    def damaged(*_):
        raise DataChangedError("rows went")

    job, told = job_of(blocks_of(x)), []
    with monkeypatch.context() as patch:
        patch.setattr("streamgmm.job.last_look", damaged)
        with pytest.raises(DataChangedError):
            replace(job, observe=lambda event: told.append(event.message)).fit_in(Run(tmp_path))
    assert "the model is saved without figures" in told[-1]
    kept, seen = load_model(tmp_path / "model.zarr"), sg.load(tmp_path / "model.zarr")._seen
    assert seen == N - OUT.sum()
    assert any("streamgmm resume looks at them" in remark for remark in verify_run(Run(tmp_path)).remarks)
    assert not job.is_complete(Run(tmp_path))
    result = job.fit_in(Run(tmp_path))
    assert kept.mixture.is_same(result.mixture)
    assert load_model(tmp_path / "model.zarr").provenance["held_out"] == asdict(result.held_out)
    assert sg.load(tmp_path / "model.zarr")._seen == seen
    assert verify_run(Run(tmp_path)).remarks == ("unsigned",)


def test_a_model_of_another_end_says_nothing_of_this_one(x, tmp_path):
    one, other = (job_of(blocks_of(x), tol=0.0, max_iter=n).fit_in(Run(tmp_path / str(n))) for n in (2, 3))
    saved = load_model(tmp_path / "2" / "model.zarr")
    assert held_out_in(saved, one.mixture) == one.held_out
    assert held_out_in(saved, other.mixture) is None


def test_rows_that_changed_since_the_passes_are_refused(x):
    job = job_of(blocks_of(x))
    result = replace(job.fit(), held_out=None)
    with pytest.raises(DataChangedError, match="the passes read 1500 rows"):
        job_of(blocks_of(x[:-1])).with_held_out(result)


def test_a_run_of_a_release_without_it_goes_on(x, tmp_path):
    job = job_of(blocks_of(x), hold_out=0.0)
    job.fit_in(Run(tmp_path))
    record = json.loads((tmp_path / "run.json").read_text())
    del record["configuration"]["hold_out"]
    Run(tmp_path).check_same(job.record(), (), {"hold_out": 0.0})
    with pytest.raises(RunMismatchError, match="hold_out"):
        Run(tmp_path).check_same(job_of(blocks_of(x)).record(), (), {"hold_out": 0.0})


# ---- runs of grown and cut tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exact", "quick"])
def test_an_update_holds_them_out_and_leaves_the_look_to_a_resume(x, rng, tmp_path, how):
    spoiled = np.where(OUT[:, None], rng.normal(scale=50, size=x.shape), x)
    spoiled[:100], spoiled[1300:1400] = x[:100], x[1300:1400]  # the ends of the table of before tell whether it is the same
    mixtures = []
    for name, rows in (("a", x), ("b", spoiled)):
        run, into = Run(tmp_path / name), Run(tmp_path / f"{name}-2")
        job_of(blocks_of(x[:1400])).fit_in(run)
        source = blocks_of(np.concatenate([x[:1400], rows[1400:]]))
        result = prepared(run, into, source, Serial(), how).fit_in(into)
        assert result.held_out is None
        assert "held_out" not in load_model(into.model_path).provenance
        assert verify_run(into).faults == ()
        mixtures.append(result.mixture)
        gone_on = job_of(source, max_iter=6).fit_in(into)
        assert gone_on.held_out.rows == OUT.sum()
    assert same_bits(*mixtures)


def test_what_is_forgotten_is_forgotten_of_the_rows_fitted_to(x, tmp_path):
    run = Run(tmp_path / "run")
    job_of(blocks_of(x)).fit_in(run)
    _, model = model_without(run, blocks_of(x), Serial(), 0, 4)
    assert model.provenance["weight"] == (~OUT[400:]).sum()
    assert "held_out" not in model.provenance


# ---- what the user gives and sees ----------------------------------------------------------------------------------------------


FIT = {
    "n_components": 3,
    "missing": "skip",
    "block_rows": 512,
    "schedule": "full_batch",
    "hold_out": SHARE,
    "where": Where(executor="serial"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("held") / "stars.zarr", survey_rows(3000, nulls=30))


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    return run, commands.fit(store, run, **FIT)


@pytest.fixture
def shell(capsys):
    return Shell(capsys)


def test_the_command_says_them_in_the_end(finished, store, shell):
    run, facts = finished
    flags = ("-k", "3", "--missing", "skip", "--block-rows", "512", "--schedule", "full_batch", "--executor", "serial")
    code, out, _ = shell("fit", store, "--run", run, "--hold-out", SHARE, *flags)
    assert code == 0
    said = HeldOut(**facts["held_out"]).said()
    assert f"held out        {said}" in out
    for path in (run, run / "model.zarr"):
        assert f"{said}" in shell("inspect", path)[1]
        assert "held out" not in shell("inspect", store)[1]
    assert commands.inspect(run)["held_out"] == facts["held_out"]
    _, out, _ = shell("plan", store, "--hold-out", SHARE, *flags)
    assert "10 % of the rows, about 300 rows; they are looked at in one more read" in out
    assert "held out" not in shell("plan", store, *flags)[1]
    assert shell.json("fit", store, "--run", run, *flags)["error"] == "RunMismatchError"


def test_a_stop_in_the_look_is_code_75_and_the_same_command_goes_on(finished, store, tmp_path):
    told = []
    watch = {"observe": lambda event: told.append(event.details.get("task")), "stop_requested": lambda: "held out" in told}
    stopped = commands.fit(store, tmp_path / "run", **FIT, **watch)
    assert (stopped["outcome"], stopped["model"], stopped["held_out"]) == ("interrupted", None, None)
    again = commands.resume(tmp_path / "run")
    assert (again["hash"], again["held_out"]) == (finished[1]["hash"], finished[1]["held_out"])


def test_a_cluster_is_asked_for_as_long_as_the_look_is_to_come(finished, store, tmp_path, monkeypatch):
    def nobody(client, timeout):
        raise ClusterError("no Dask scheduler answered")

    monkeypatch.setattr("streamgmm.executors.dask_distributed._find_client", nobody)
    run = shutil.copytree(finished[0], tmp_path / "run")
    assert commands.fit(store, run, **{**FIT, "where": NOWHERE})["held_out"] == finished[1]["held_out"]
    shutil.rmtree(run / "model.zarr")
    with pytest.raises(ClusterError):
        commands.fit(store, run, **{**FIT, "where": NOWHERE})


def test_in_python(x, tmp_path):
    gm, how = sg.GaussianMixture(2, random_state=0), {"schedule": "anderson", "executor": "serial", "checkpoint": tmp_path / "run"}
    result = sg.fit(as_source(x, block_rows=100), gm, hold_out=SHARE, **how)
    np.testing.assert_allclose(figures(result.held_out), twin(result.mixture, x), rtol=1e-9)
    assert sg.load(tmp_path / "run" / "model.zarr")._seen == (~OUT).sum()


def test_an_extreme_row_held_out_costs_its_figures_and_not_the_fit(rng):
    x = rng.normal(size=(1000, 1))
    out = np.flatnonzero(is_held_out(np.arange(1000), 0.1))
    for value in (1e78, 1e100):
        x[out[0]] = value
        result = sg.fit(x, sg.GaussianMixture(1, random_state=0), schedule="full_batch", hold_out=0.1)
        assert result.converged
        assert (result.held_out.mean, result.held_out.standard_error) == (None, None)
        assert "extreme" in result.held_out.said()
