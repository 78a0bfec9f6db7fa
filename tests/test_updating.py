"""Rows that were appended: an exact update has the bits of a whole pass, a quick one reads new rows alone; forgetting undoes seeing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamgmm as sg
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import ConfigError, DataChangedError, DataError, RunLockedError, RunMismatchError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import run_fit, start_state
from streamgmm.forgetting import model_without
from streamgmm.job import DONE, Job
from streamgmm.kept_sums import keep_sums, load_sums, prefix_of
from streamgmm.model_file import load_model
from streamgmm.passes import FitProblem
from streamgmm.schedules.full_batch import FullBatch
from streamgmm.sources import as_source
from streamgmm.state import Progress
from streamgmm.stopping import Stopping
from streamgmm.updating import prepared
from streamgmm.verification import verify_run
from tests.making import rows_source, same_bits
from tests.running import Shell, survey_rows, write_store

BLOCK = 50
ONE_PASS = Stopping(0.0, 1)


def rows_of(n, seed=0, d=2):
    """Two kinds of rows, in random order."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + np.where(rng.random(n) < 0.4, -3.0, 2.0)[:, None]


def counted(x, weight=None, missing="raise"):
    """The rows as a store that counts its reads, and may have weights."""
    return rows_source(x, block_rows=BLOCK, sample_weight=weight, missing=missing)


def fitted(folder, source, executor=None, **parameters):
    """A run that has come to its end."""
    given = {"n_components": 2, "block_rows": BLOCK, "missing": source.missing, "schedule": "full_batch", "tol": 1e-2, **parameters}
    run = Run(folder)
    Job(source, FitConfiguration(**given), executor or Serial()).fit_in(run)
    return run


def updated(run, folder, source, executor=None, how="exact", **options):
    """The update's result and its new run."""
    into = Run(folder)
    return prepared(run, into, source, executor or Serial(), how, **options).fit_in(into), into


def whole_pass(source, sums, regularisation):
    """One EM step over the whole table about the mixture of the kept sums."""
    problem = FitProblem(source, FullBatch(), regularisation, ONE_PASS)
    return run_fit(problem, start_state([sums.contenders[0].mixture]), Serial())


def sums_of(run):
    return load_sums(run.storage, run.latest().state.passes)


# ---- exact -------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    before=st.integers(20, 600),
    appended=st.lists(st.integers(1, 200), min_size=1, max_size=2),
    n_threads=st.sampled_from([1, 2, 4]),
    weighted=st.booleans(),
    holes=st.booleans(),
    kind=st.sampled_from(["full", "tied", "diag", "spherical"]),
)
def test_an_exact_update_has_the_bits_of_one_pass_over_the_grown_table(
    tmp_path_factory, before, appended, n_threads, weighted, holes, kind
):
    """P21: histories of appends, of any length; the sums of each update are what the next one begins with."""
    place, x = tmp_path_factory.mktemp("runs"), rows_of(before + sum(appended))
    weight = np.random.default_rng(1).integers(0, 3, len(x)).astype(float) if weighted else None
    if weighted:
        weight[:20] = 1
    if holes:
        x[::7, 0] = np.nan

    def table(n):
        return counted(x[:n], None if weight is None else weight[:n], "skip" if holes else "raise")

    run = fitted(place / "0", table(before), covariance_type=kind, max_iter=2)
    n = before
    for number, more in enumerate(appended, 1):
        n, sums = n + more, sums_of(run)
        result, into = updated(run, place / f"{number}", table(n), Threads(n_threads))
        expected = whole_pass(table(n), sums, FitConfiguration(n_components=2).regularisation())
        assert same_bits(result.mixture, expected.mixture)
        assert result.log_likelihoods == expected.log_likelihoods
        assert same_bits(load_model(into.model_path).mixture, expected.mixture)
        assert (result.state.rows, result.state.skipped) == (expected.state.rows, expected.state.skipped)
        assert prefix_of(sums_of(into)) == (n - 1) // BLOCK
        assert verify_run(into).faults == ()
        run = into


def test_only_the_last_block_and_the_appended_ones_are_read(tmp_path):
    """P21: and two blocks that tell whether the first rows are those of the run, and two for the fingerprint of the new ones."""
    x = rows_of(5500)
    run = fitted(tmp_path / "run", counted(x[:5010]))
    source = counted(x)
    updated(run, tmp_path / "more", source)
    assert sorted(source.reads) == sorted([0, 100, 0, 109, *range(100, 110)])


def test_a_quick_update_reads_at_most_a_ninth(tmp_path):
    """A tenth of rows appended: 11 % of the bytes, the looks at the ends of the table included."""
    x = rows_of(22_000)
    run = fitted(tmp_path / "run", counted(x[:20_000]), max_iter=2)
    source = counted(x)
    updated(run, tmp_path / "more", source, how="quick")
    assert len(source.reads) <= 0.11 * source.n_blocks
    assert sorted(set(source.reads) - set(range(400, 440))) == [0, 399]


@pytest.mark.parametrize("schedule", ["auto", "anderson"])
def test_exact_after_accelerated_passes(tmp_path, schedule):
    x = rows_of(2000)
    run = fitted(tmp_path / "run", counted(x[:1800]), schedule=schedule, tol=0.1, n_init=2)
    sums = sums_of(run)
    result, into = updated(run, tmp_path / "more", counted(x))
    assert same_bits(result.mixture, whole_pass(counted(x), sums, FitConfiguration(n_components=2).regularisation()).mixture)
    assert verify_run(into).faults == ()
    assert into.record()["configuration"] == run.record()["configuration"]


def test_the_new_run_can_be_gone_on_with(tmp_path):
    """It is a run of the grown table that has made one pass, or none."""
    x = rows_of(2000)
    run = fitted(tmp_path / "run", counted(x[:1800]), tol=1e-6)
    anew = fitted(tmp_path / "anew", counted(x), tol=1e-6)
    for how in ("exact", "quick"):
        _, into = updated(run, tmp_path / how, counted(x), how=how)
        more = Job(counted(x), FitConfiguration.checked(into.record()["configuration"]), Serial()).fit_in(into, "must")
        assert more.converged
        assert more.log_likelihoods[-1] == pytest.approx(anew.latest().state.best.log_likelihood, abs=1e-5)
        with pytest.raises(RunMismatchError, match="gone on with"):
            updated(run, tmp_path / how, counted(x), how=how)


@pytest.mark.parametrize("how", ["exact", "quick"])
def test_a_run_that_was_gone_on_with_within_a_pass_stays_as_it_is(tmp_path, how):
    """An update over it would give its model back the mixture that it had, or a KeyError."""
    x = rows_of(2000)
    run = fitted(tmp_path / "run", counted(x[:1800]), tol=1e-6)
    _, into = updated(run, tmp_path / "more", counted(x), how=how)
    asked = iter([False] * 5 + [True] * 1000)
    configuration = FitConfiguration.checked(into.record()["configuration"])
    Job(counted(x), configuration, Serial(), stop_requested=lambda: next(asked)).fit_in(into, "must")
    assert into.latest().state.progress is not None
    with pytest.raises(RunMismatchError, match="gone on with"):
        updated(run, tmp_path / "more", counted(x), how=how)


# ---- quick -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_old_rows_and_new_ones_count_as_themselves(tmp_path, drift):
    """Both updates of a table that has grown by a tenth come near the refit: within a part of what the old model lacks."""
    x = rows_of(5_500)
    x[5_000:] += drift
    run = fitted(tmp_path / "run", counted(x[:5_000]), tol=1e-9, max_iter=100)
    best = fitted(tmp_path / "anew", counted(x), tol=1e-9, max_iter=100)

    def gap(mixture):
        return (load_model(best.model_path).mixture.score_samples(x) - mixture.score_samples(x)).sum()

    old = gap(load_model(run.model_path).mixture)
    for how in ("exact", "quick"):
        result, _ = updated(run, tmp_path / how, counted(x), how=how)
        assert gap(result.mixture) < 0.25 * old


def test_appended_rows_that_take_no_part_are_refused(tmp_path):
    """An exact update takes them; a quick one would say that it has learned something."""
    x, weight = rows_of(600), np.ones(600)
    run = fitted(tmp_path / "run", counted(x[:500], weight[:500]), max_iter=2)
    weight[500:] = 0
    with pytest.raises(DataError, match="no row takes part"):
        updated(run, tmp_path / "more", counted(x, weight), how="quick")
    assert updated(run, tmp_path / "more", counted(x, weight))[0].state.weight == 500


def test_the_same_bits_for_any_number_of_threads(tmp_path):
    x = rows_of(3000)
    run = fitted(tmp_path / "run", counted(x[:2010]))
    found = [updated(run, tmp_path / f"{n}", counted(x), Threads(n), "quick")[0].mixture for n in (1, 2, 4)]
    assert all(same_bits(found[0], other) for other in found[1:])


@pytest.mark.parametrize("schedule", ["stepwise", "incremental"])
def test_runs_without_sums_are_updated_quickly_or_with_a_whole_pass(tmp_path, schedule):
    x = rows_of(1500)
    run = fitted(tmp_path / "run", counted(x[:1200]), schedule=schedule)
    with pytest.raises(ConfigError, match=r"keeps no sums .*--how quick.*--read-all"):
        updated(run, tmp_path / "more", counted(x))
    result, into = updated(run, tmp_path / "quick", counted(x), how="quick")
    assert (result.state.rows, result.state.weight) == (1500, 1500)
    assert verify_run(into).faults == ()
    result, into = updated(run, tmp_path / "all", counted(x), read_all=True)
    assert verify_run(into).faults == ()
    assert sums_of(into) is not None


def test_an_exact_update_after_a_quick_one_reads_what_came_since_the_sums(tmp_path):
    x = rows_of(3000)
    run = fitted(tmp_path / "run", counted(x[:2000]))
    sums = sums_of(run)
    _, quick = updated(run, tmp_path / "quick", counted(x[:2500]), how="quick")
    result, _ = updated(quick, tmp_path / "exact", counted(x))
    assert same_bits(result.mixture, whole_pass(counted(x), sums, FitConfiguration(n_components=2).regularisation()).mixture)


def test_a_quick_update_counts_the_ridge_once(tmp_path):
    """One component, variance 1, reg_covar 1: the model has 2, and one row more changes nothing."""
    x = np.random.default_rng(0).normal(size=(2001, 1))
    run = fitted(tmp_path / "run", counted(x[:2000]), n_components=1, reg_covar=1.0)
    found = [updated(run, tmp_path / how, counted(x), how=how)[0].mixture.components.covariances.item() for how in ("exact", "quick")]
    assert found == pytest.approx([x.var() + 1] * 2, rel=1e-6)


# ---- what is refused ---------------------------------------------------------------------------------------------------------------


def test_rows_appended_are_refused_by_a_resume_which_names_the_update(tmp_path):
    """D22."""
    x = rows_of(1200)
    fitted(tmp_path / "run", counted(x[:1000]))
    with pytest.raises(DataChangedError, match=r"n_rows was 1000, is 1200.*streamgmm update"):
        fitted(tmp_path / "run", counted(x))


@pytest.mark.parametrize("how", ["exact", "quick"])
def test_other_rows_are_refused(tmp_path, how):
    """P19: fewer rows, another first block, another last one, other columns."""
    x = rows_of(1200)
    run = fitted(tmp_path / "run", counted(x[:1010]))
    for row in (3, 1005):
        other = x.copy()
        other[row] += 1
        with pytest.raises(DataChangedError, match="sha256_of_ends"):
            updated(run, tmp_path / "more", counted(other), how=how)
    with pytest.raises(DataChangedError, match="900 rows, fewer than the 1,010"):
        updated(run, tmp_path / "more", counted(x[:900]), how=how)
    renamed = replace(counted(x), feature_names=("f0", "b"))
    with pytest.raises(DataChangedError, match="feature_names"):
        updated(run, tmp_path / "more", renamed, how=how)
    assert not (tmp_path / "more").exists()


def test_without_the_look_at_the_first_rows_other_ones_would_pass(tmp_path, monkeypatch):
    x = rows_of(1200)
    run = fitted(tmp_path / "run", counted(x[:1010]))
    monkeypatch.setattr("streamgmm.updating.refuse_other_rows", lambda *_: None)
    updated(run, tmp_path / "more", counted(x + 1))


def test_nothing_appended_is_nothing_to_do(tmp_path):
    x = rows_of(1000)
    run = fitted(tmp_path / "run", counted(x))
    assert sg.update(run.folder, counted(x), tmp_path / "more") is None
    assert not (tmp_path / "more").exists()


def test_a_run_that_has_not_ended_is_refused(tmp_path):
    x = rows_of(1000)
    run = Run(tmp_path / "run")
    asked = iter([False] * 5 + [True] * 1000)
    Job(counted(x), FitConfiguration(n_components=2, block_rows=BLOCK), Serial(), stop_requested=lambda: next(asked)).fit_in(run)
    with pytest.raises(ConfigError, match="not come to its end"):
        updated(run, tmp_path / "more", counted(x))


def test_two_at_once_are_refused(tmp_path):
    """Exit code 7."""
    x = rows_of(1000)
    run = fitted(tmp_path / "run", counted(x[:900]))
    with Run(tmp_path / "more"), pytest.raises(RunLockedError) as error:
        updated(run, tmp_path / "more", counted(x))
    assert error.value.code == 7


def test_the_old_run_stays_as_it_is(tmp_path):
    x = rows_of(1000)
    run = fitted(tmp_path / "run", counted(x[:900]))
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    updated(run, tmp_path / "more", counted(x))
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match="folder of its own"):
        updated(run, tmp_path / "run", counted(x))


# ---- the kept sums -----------------------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_sums_and_not_the_fit(tmp_path, monkeypatch):
    def full(*_):
        raise sg.errors.StorageError("full")

    monkeypatch.setattr("streamgmm.job.keep_sums", full)
    events = []
    run = Run(tmp_path / "run")
    Job(counted(rows_of(500)), FitConfiguration(n_components=2, block_rows=BLOCK), Serial(), observe=events.append).fit_in(run)
    assert run.model_path.exists()
    assert any(event.kind == "warning" and "are not kept" in event.message for event in events)


def test_a_flipped_bit_of_the_sums_is_found(tmp_path):
    x = rows_of(1000)
    run = fitted(tmp_path / "run", counted(x[:900]))
    (path,) = run.folder.glob("statistics-*.zip")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(sg.errors.CheckpointError, match="may be deleted"):
        updated(run, tmp_path / "more", counted(x))
    (fault,) = verify_run(run).faults
    assert path.name in fault
    assert "only update and forget need it" in fault
    path.unlink()
    assert verify_run(run).faults == ()


def test_a_gap_in_the_sums_is_found(tmp_path):
    run = fitted(tmp_path / "run", counted(rows_of(900)))
    sums, (path,) = sums_of(run), run.folder.glob("statistics-*.zip")
    path.unlink()
    keep_sums(run.storage, run.latest().state.passes, replace(sums, progress=Progress("", sums.progress.done[1:])))
    (fault,) = verify_run(run).faults
    assert path.name in fault
    assert "gap before block" in fault


@pytest.mark.parametrize("schedule", ["full_batch", "incremental"])
def test_an_update_that_was_stopped_verifies_and_goes_on(tmp_path, schedule):
    x = rows_of(1500)
    run, source, into = fitted(tmp_path / "run", counted(x[:1200]), schedule=schedule), counted(x), Run(tmp_path / "more")
    made = prepared(run, into, source, Serial(), read_all=True)
    begun = len(source.reads)
    replace(made, stop_requested=lambda: len(source.reads) > begun + 11).fit_in(into)
    state = into.latest().state
    assert (state.passes, state.step) == (0, 0)
    assert state.progress is not None
    assert verify_run(into).faults == ()
    assert updated(run, into.folder, counted(x), read_all=True)[0].outcome in DONE
    assert verify_run(into).faults == ()


def test_a_quick_update_that_is_gone_on_with_is_judged_by_its_schedule(tmp_path):
    x = rows_of(1500)
    run = fitted(tmp_path / "run", counted(x[:1200]), schedule="incremental")
    _, into = updated(run, tmp_path / "more", counted(x), how="quick")
    source = counted(x)
    job = Job(
        source,
        FitConfiguration(**{**into.record()["configuration"], "max_iter": 9}),
        Serial(),
        stop_requested=lambda: len(source.reads) > 3,
    )
    job.fit_in(into)
    assert into.latest().state.passes == 0
    assert verify_run(into).faults == ()


def test_sums_of_several_starts_are_those_of_the_winner(tmp_path):
    x = rows_of(1500)
    run = fitted(tmp_path / "run", counted(x[:1200]), n_init=3, tol=1e-4, init="random_rows")
    assert len(sums_of(run).contenders) == 1
    whole = whole_pass(counted(x[:1200]), sums_of(run), FitConfiguration(n_components=2).regularisation())
    assert same_bits(whole.mixture, load_model(run.model_path).mixture)


def test_python_and_a_table_in_memory(tmp_path):
    x = rows_of(3000)
    estimator = sg.GaussianMixture(2, random_state=0)
    sg.fit(as_source(x[:2500]), estimator, checkpoint=tmp_path / "run")
    result = sg.update(tmp_path / "run", x, tmp_path / "more", how="quick")
    assert result.state.rows == 3000
    assert sg.load(tmp_path / "more" / "model.zarr").predict(x).shape == (3000,)
    provenance = load_model(tmp_path / "more" / "model.zarr").provenance["update"]
    assert provenance["rows_appended"] == 500
    json.dumps(provenance, allow_nan=False)


# ---- forgetting --------------------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(data=st.data(), weighted=st.booleans(), schedule=st.sampled_from(["full_batch", "incremental"]))
def test_forgetting_is_the_step_over_the_table_without_the_blocks(tmp_path_factory, data, weighted, schedule):
    """Up to rounding: of spans that are cut, the other blocks are read; of groups (one block each here) none is cut."""
    place, n = tmp_path_factory.mktemp("runs"), data.draw(st.integers(120, 800))
    x, weight = rows_of(n), np.random.default_rng(1).integers(1, 3, n).astype(float) if weighted else None
    n_blocks = -(-n // BLOCK)
    first = data.draw(st.integers(0, n_blocks - 1))
    last = data.draw(st.integers(first + 1, n_blocks - (first == 0)))
    run = fitted(place / "run", counted(x, weight), schedule=schedule, max_iter=2)
    source = counted(x, weight)
    plan, model = model_without(run, source, Serial(), first, last)
    assert sorted(source.reads) == sorted([0, n_blocks - 1, *plan.to_read])
    kept = np.ones(n, bool)
    kept[first * BLOCK : last * BLOCK] = False
    assert model.provenance["rows"] == kept.sum()
    if schedule == "incremental":
        assert plan.to_read == ()
        state = run.latest().state.best
        groups = [g for g in range(n_blocks) if not first <= g < last]
        np.testing.assert_allclose(model.provenance["weight"], state.memory["weight"][groups].sum())
        return
    alone = counted(x[kept], None if weight is None else weight[kept])
    expected = whole_pass(alone, sums_of(run), FitConfiguration(n_components=2).regularisation()).mixture
    for name, value in expected.to_arrays().items():
        np.testing.assert_allclose(model.mixture.to_arrays()[name], value, rtol=1e-9, atol=1e-9)


def test_forgetting_cut_groups_of_a_converged_incremental_fit(tmp_path):
    """Blocks of a cut group are looked at with the result: near the refit, as near as one step comes."""
    x = rows_of(6400 + 50)
    run = fitted(tmp_path / "run", counted(x), schedule="incremental", tol=1e-9, max_iter=30)
    plan, model = model_without(run, counted(x), Threads(2), 1, 3)
    assert plan.to_read == (0,)
    best = fitted(tmp_path / "anew", counted(np.delete(x, np.s_[50:150], axis=0)), tol=1e-9, max_iter=100)
    gap = load_model(best.model_path).mixture.score_samples(x) - model.mixture.score_samples(x)
    assert abs(gap.sum()) < 0.05


def test_what_cannot_be_forgotten(tmp_path):
    x = rows_of(500)
    run = fitted(tmp_path / "run", counted(x))
    for first, last in ((0, 10), (3, 3), (8, 12), (-1, 2)):
        with pytest.raises(ConfigError, match="no part of the table's blocks 0:10"):
            model_without(run, counted(x), Serial(), first, last)
    run = fitted(tmp_path / "stepwise", counted(x), schedule="stepwise")
    with pytest.raises(ConfigError, match="keeps no sums to forget"):
        sg.forget(tmp_path / "stepwise", counted(x), (0, 2), tmp_path / "out.zarr")


# ---- the commands ------------------------------------------------------------------------------------------------------------------


def test_a_nightly_job(tmp_path, capsys):
    """Two appends to a store on disk; every verb takes the new runs."""
    shell, columns = Shell(capsys), survey_rows(4000, nulls=20)

    def store(n):
        return write_store(tmp_path / f"stars-{n}.zarr", {name: values[:n] for name, values in columns.items()})

    assert shell("fit", store(3000), "--run", tmp_path / "0", "-k", 3, "--block-rows", 256, "--missing", "skip")[0] == 0
    planned = shell.json("update", tmp_path / "0", store(3500), "--into", tmp_path / "1", "--dry-run")
    assert (planned["rows_appended"], planned["blocks"]) == (500, [11, 14])
    assert not (tmp_path / "1").exists()
    made = shell.json("update", tmp_path / "0", tmp_path / "stars-3500.zarr", "--into", tmp_path / "1")
    assert made["said"].startswith("one exact EM step over all 3,500 rows")
    assert "max_iter" not in (tmp_path / "1" / "events.jsonl").read_text()  # one pass is what was asked for
    code, out, err = shell("update", tmp_path / "1", store(4000), "--into", tmp_path / "2", "--how", "quick")
    assert (code, "500 rows looked at once" in out, "blocks 13 to 15" in err) == (0, True, True)
    assert "nothing to do" in shell("update", tmp_path / "2", tmp_path / "stars-4000.zarr", "--into", tmp_path / "3")[1]
    for run in (tmp_path / "1", tmp_path / "2"):
        assert shell.json("verify", run)["ok"]
        assert shell("inspect", run)[0] == 0
        assert shell("score", run, tmp_path / "stars-4000.zarr")[0] == 0
    assert shell("resume", tmp_path / "2")[0] == 0
    out = tmp_path / "without.zarr"
    assert shell.json("forget", tmp_path / "1", tmp_path / "stars-4000.zarr", "--blocks", "0:4", "--out", out)["blocks_read"] <= 8
    assert shell("predict", out, tmp_path / "stars-4000.zarr", "--out", "kind")[0] == 0
    assert shell("forget", tmp_path / "1", tmp_path / "stars-4000.zarr", "--blocks", "4", "--out", out)[0] == 2
    assert shell("update", tmp_path / "0", tmp_path / "stars-4000.zarr", "--into", tmp_path / "1")[0] == 5
