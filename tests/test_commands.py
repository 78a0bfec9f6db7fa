"""The verbs as functions: plain data in, plain data out, errors of the package."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from benchmarks.processes import ROOT
from streamgmm import commands
from streamgmm.chosen_executor import executor_for
from streamgmm.commands.making import QUICKSTART_FIT
from streamgmm.commands.where import Where
from streamgmm.commit_file import pack, unpack
from streamgmm.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    DataChangedError,
    DataError,
    RunMismatchError,
    SchemaError,
    SecurityError,
    StorageError,
)
from streamgmm.executors import _address
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.executors.serial import Serial
from streamgmm.job import Job
from streamgmm.model_file import load_model, model_hash
from streamgmm.sources import open_source
from streamgmm.wording import strict_values
from tests.making import rows_source
from tests.running import UNITS, environment, survey_rows, write_store

N_ROWS = 3000
FIT = {
    "schedule": "full_batch",
    "n_components": 3,
    "init": "random",
    "tol": 1e-6,
    "block_rows": 512,
    "missing": "skip",
    "where": Where(executor="serial"),
}


@pytest.fixture(scope="module")
def columns():
    return survey_rows(N_ROWS, nulls=30)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, columns):
    """A store and a finished run; tests read them only."""
    folder = tmp_path_factory.mktemp("finished")
    store = write_store(folder / "stars.zarr", columns)
    facts = commands.fit(store, folder / "run", **FIT)
    return store, folder / "run", facts


@pytest.fixture
def store(tmp_path, columns):
    return write_store(tmp_path / "stars.zarr", columns)


def plain(value):
    """Whether it is plain data that strict JSON holds."""
    return json.loads(json.dumps(value, allow_nan=False)) == strict_values(value)


# ---- fit and resume --------------------------------------------------------------------------------------------------------------


def test_fit_finds_the_three_kinds_and_says_where_things_lie(finished):
    _, run, facts = finished
    assert facts["outcome"] == "converged"
    assert (facts["rows"], facts["skipped"]) == (N_ROWS - 30, 30)
    assert facts["features"] == list(UNITS)
    assert facts["units"] == list(UNITS.values())
    found = sorted(component["mean"][0] for component in facts["components"])
    np.testing.assert_allclose(found, [-35, 0, 20], atol=0.5)
    assert facts["hash"] == model_hash(run / "model.zarr")
    assert plain(facts)


def test_a_run_holds_its_record_commits_events_and_model(finished):
    _, run, facts = finished
    sums = f"statistics-{facts['passes']:06d}.zip"
    assert {path.name for path in run.iterdir()} == {"run.json", "commits", "events.jsonl", "model.zarr", "lock", sums}
    kinds = [json.loads(line)["kind"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert kinds.count("pass") == facts["passes"]
    assert 1 <= kinds.count("commit") <= facts["passes"]
    assert kinds[-1] == "finish"


def test_fit_on_a_finished_run_does_nothing(finished):
    store, run, facts = finished
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name not in ("events.jsonl", "lock")}
    again = commands.fit(store, run, **FIT)
    assert again["already_complete"]
    assert again["hash"] == facts["hash"]
    assert before == {path: path.read_bytes() for path in before}


NOWHERE = Where(scheduler="tcp://127.0.0.1:9")  # nothing listens there


def test_a_finished_run_asks_for_no_cluster(finished):
    store, run, facts = finished
    for again in (commands.fit(store, run, **{**FIT, "where": NOWHERE}), commands.resume(run, where=NOWHERE)):
        assert again["already_complete"]
        assert again["hash"] == facts["hash"]


def test_where_a_finished_run_is_not_looked_at_first_a_dead_cluster_is_an_error(finished, monkeypatch):
    store, run, _ = finished
    monkeypatch.setattr(Job, "is_complete", lambda self, run: False)
    monkeypatch.setattr("streamgmm.executors.dask_distributed._find_client", no_scheduler)
    with pytest.raises(ClusterError):
        commands.fit(store, run, **{**FIT, "where": NOWHERE})


def no_scheduler(client, timeout):
    raise ClusterError(f"no Dask scheduler answered at {client!r}")


def test_fit_with_another_configuration_is_refused_and_names_the_key(finished):
    store, run, _ = finished
    with pytest.raises(RunMismatchError, match="n_components was 3, is 4"):
        commands.fit(store, run, **{**FIT, "n_components": 4})


def test_fit_on_other_rows_is_refused(finished, tmp_path):
    _, run, _ = finished
    other = write_store(tmp_path / "other.zarr", survey_rows(N_ROWS, seed=1, nulls=30))
    with pytest.raises(DataChangedError, match="sha256"):
        commands.fit(other, run, **FIT)


def test_overwrite_begins_anew(store, tmp_path):
    commands.fit(store, tmp_path / "run", **FIT)
    facts = commands.fit(store, tmp_path / "run", **{**FIT, "n_components": 2}, overwrite=True)
    assert facts["n_components"] == 2
    assert facts["passes_made"] == facts["passes"]
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "is complete" not in events


def test_overwrite_deletes_nothing_that_is_no_run(store, tmp_path):
    (tmp_path / "run" / "model.zarr").mkdir(parents=True)
    (tmp_path / "run" / "model.zarr" / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="no run that made it"):
        commands.fit(store, tmp_path / "run", **FIT, overwrite=True)
    assert (tmp_path / "run" / "model.zarr" / "mine").read_text() == "precious"


def test_a_cleared_run_that_was_killed_half_way_can_be_cleared_again(store, tmp_path):
    commands.fit(store, tmp_path / "run", **FIT)
    for path in (tmp_path / "run" / "commits").iterdir():
        path.unlink()
    facts = commands.fit(store, tmp_path / "run", **{**FIT, "n_components": 2}, overwrite=True)
    assert facts["outcome"] == "converged"


def stop_after(n_passes):
    """A stop request that comes after so many passes, and the observer that counts them."""
    seen = []
    return seen, lambda: len(seen) >= n_passes


@pytest.mark.parametrize("n_passes", [0, 1, 2])
def test_interrupted_and_resumed_ends_with_the_same_hash(finished, store, tmp_path, n_passes):
    _, _, whole = finished
    seen, asked = stop_after(n_passes)
    run = tmp_path / "run"
    facts = commands.fit(
        store, run, **FIT, stop_requested=asked, observe=lambda event: seen.append(event) if event.kind == "pass" else None
    )
    assert (facts["outcome"], facts["passes"], facts["hash"]) == ("interrupted", n_passes, None)
    resumed = commands.resume(run, where=FIT["where"])
    assert resumed["hash"] == whole["hash"]
    assert resumed["passes_made"] == whole["passes"] - n_passes


def test_a_run_keeps_its_arithmetic(store, tmp_path):
    plain = {**FIT, "tol": 0.0}
    float32 = {**plain, "arithmetic": "float32"}
    whole = commands.fit(store, tmp_path / "whole", **float32, max_iter=4)
    commands.fit(store, tmp_path / "run", **float32, max_iter=2)
    assert commands.resume(tmp_path / "run", max_iter=4)["log_likelihood"] == whole["log_likelihood"]
    other = commands.fit(store, tmp_path / "other", **plain, max_iter=4)
    assert 0 < abs(other["log_likelihood"] - whole["log_likelihood"]) < 1e-5
    with pytest.raises(RunMismatchError, match="arithmetic was 'float32', is 'float64'"):
        commands.fit(store, tmp_path / "run", **plain, max_iter=4)


def test_a_run_that_is_older_than_an_option_goes_on(store, tmp_path):
    run = tmp_path / "run"
    commands.fit(store, run, **FIT, max_iter=1)
    record = json.loads((run / "run.json").read_text())
    del record["configuration"]["arithmetic"]
    (run / "run.json").write_text(json.dumps(record))
    (path,) = (run / "commits").iterdir()
    commit = unpack(path.read_bytes(), 1)
    path.write_bytes(pack(commit.state, replace(commit.link, run=""))[0])  # commits did not name their run then
    assert commands.fit(store, run, **FIT, max_iter=2)["passes"] == 2
    with pytest.raises(RunMismatchError, match="arithmetic was 'float64', is 'float32'"):
        commands.fit(store, run, **FIT, arithmetic="float32", max_iter=2)


def test_resume_needs_no_options_but_those_that_may_change(store, tmp_path):
    run = tmp_path / "run"
    facts = commands.fit(store, run, **FIT, features=["pm_ra", "mag"], max_iter=1)
    assert facts["outcome"] == "passes_exhausted"
    resumed = commands.resume(run, max_iter=50, tol=1e-4)
    assert resumed["outcome"] == "converged"
    assert resumed["features"] == ["pm_ra", "mag"]
    with pytest.raises(ConfigError, match="seed of a run cannot change; max_iter, tol, deadline, checkpoint_every, on_damage can"):
        commands.resume(run, seed=3)


def test_resume_with_weights_and_after_the_store_was_moved(tmp_path, columns):
    rows = {**columns, "weight": np.arange(N_ROWS) % 3 + 1.0}
    store, run = write_store(tmp_path / "a.zarr", rows), tmp_path / "run"
    options = {**FIT, "weight": "weight"}
    whole = commands.fit(store, tmp_path / "whole", **options)
    assert "weight" not in whole["features"]
    commands.fit(store, run, **{**options, "max_iter": 2})
    moved = Path(store).rename(tmp_path / "b.zarr")
    with pytest.raises(DataError, match=r"no store at .*a\.zarr"):
        commands.resume(run, max_iter=100)
    assert commands.resume(run, store=moved, max_iter=100)["hash"] == whole["hash"]


def test_a_relative_store_is_found_from_elsewhere(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands.fit("stars.zarr", "run", **{**FIT, "max_iter": 1})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert commands.resume("../run", max_iter=3)["passes"] == 3


def test_deadline_saves_and_the_rest_follows(finished, store, tmp_path):
    facts = commands.fit(store, tmp_path / "run", **FIT, deadline=1e-9)
    assert (facts["outcome"], facts["passes"]) == ("deadline", 0)
    assert commands.fit(store, tmp_path / "run", **FIT)["hash"] == finished[2]["hash"]


def test_a_password_does_not_get_into_a_run(store, tmp_path, monkeypatch):
    opened = open_source(store, missing="skip", block_rows=512)
    monkeypatch.setattr("streamgmm.commands.fitting.open_table", lambda *_: opened)
    commands.fit("https://me:hunter2@example.org/stars.zarr", tmp_path / "run", **{**FIT, "max_iter": 1})
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


# ---- plan ------------------------------------------------------------------------------------------------------------------------


def test_plan_reads_no_row(finished, monkeypatch):
    def refuse(*_):
        raise AssertionError("a plan computes nothing")

    monkeypatch.setattr("streamgmm.sources.zarr_columns.ZarrColumnsSource.load", refuse)
    facts = commands.plan(finished[0], n_components=3, block_rows=512, missing="skip")
    assert (facts["rows"], facts["blocks"], facts["rows_per_read"]) == (N_ROWS, 6, 1024)
    assert facts["bytes"] == N_ROWS * 3 * 8
    assert plain(facts)


def test_the_bound_is_the_sum_of_its_parts_and_grows_with_what_it_depends_on(finished):
    def bound(**options):
        return commands.plan(finished[0], **{"n_components": 3, "block_rows": 512, "where": Where(threads=1), **options})[
            "memory_per_worker"
        ]

    parts = bound()
    assert parts["bound"] == sum(size for name, size in parts.items() if name != "bound")
    assert bound(block_rows=4096)["blocks"] > parts["blocks"]
    assert bound(where=Where(threads=4))["blocks"] > parts["blocks"]
    assert bound(n_components=60)["statistics"] > parts["statistics"]
    assert bound(schedule="full_batch", n_init=5)["statistics"] > parts["statistics"]
    assert bound(schedule="full_batch")["sample_for_starts"] < parts["sample_for_starts"]
    assert bound(covariance_type="diag")["statistics"] < parts["statistics"]
    assert bound(features=["mag"])["sample_for_starts"] < parts["sample_for_starts"]


@pytest.mark.memory
@pytest.mark.parametrize("options", [("--executor", "serial"), ("--threads", 2)], ids=["serial", "threads"])
def test_the_bound_holds(tmp_path, options):
    store = write_store(tmp_path / "stars.zarr", survey_rows(1_000_000), chunk_rows=131_072)
    code = (
        "import sys\nfrom benchmarks.processes import peak_bytes\nfrom streamgmm.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print(peak_bytes())"
    )
    words = [store, "-k", 16, *options, "--max-iter", 2]
    run = subprocess.run(
        [sys.executable, "-c", code, "fit", *map(str, words), "--run", str(tmp_path / "run"), "--quiet", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(),
    )
    peak = int(run.stdout.splitlines()[-1])
    where = Where(executor="serial") if "serial" in options else Where(threads=2)
    assert peak < commands.plan(store, n_components=16, where=where)["memory_per_worker"]["bound"]


def test_plan_of_a_cluster_starts_none_and_tells_worker_and_driver_apart(finished, monkeypatch):
    monkeypatch.setattr("distributed.LocalCluster", None)
    facts = commands.plan(finished[0], n_components=3, where=Where(local=2))
    assert (facts["executor"], facts["processes"]) == ("dask_distributed", 2)
    assert facts["memory_of_driver"]["bound"] > facts["memory_of_driver"]["sample_for_starts"]
    assert facts["memory_per_worker"]["sample_for_starts"] == 0


@pytest.mark.parametrize(("block_rows", "remark"), [(1000, "neither is a multiple"), (512, None), (2048, None), (65536, "one block")])
def test_plan_warns_of_blocks_that_straddle_chunks(finished, block_rows, remark):
    found = commands.plan(finished[0], n_components=3, block_rows=block_rows)["remarks"]
    assert any(remark in text for text in found) if remark else not found


def test_work_is_linear_in_components_and_cheaper_without_correlations(finished):
    def flops(**options):
        return commands.plan(finished[0], **{"n_components": 3, **options})["flops_per_pass"]

    assert flops(n_components=6) == 2 * flops()
    assert flops(covariance_type="diag") < flops()


# ---- inspect ---------------------------------------------------------------------------------------------------------------------


def test_inspect_tells_run_model_and_store_apart(finished):
    store, run, facts = finished
    for path, kind in ((run, "run"), (run / "model.zarr", "model"), (store, "store")):
        found = commands.inspect(path)
        assert found["kind"] == kind
        assert plain(found)
    assert commands.inspect(run)["hash"] == commands.inspect(run / "model.zarr")["hash"] == facts["hash"]


def test_inspect_a_store_tells_units_chunks_and_codecs(finished):
    found = commands.inspect(finished[0])
    assert found["rows"] == N_ROWS
    assert list(found["columns"]) == list(UNITS)
    mag = found["columns"]["mag"]
    assert (mag["units"], mag["nulls"], mag["chunks"]) == ("mag", 30, [1024])
    assert mag["codecs"] == ["bytes", "blosc(lz4)", "crc32c"]


def test_inspect_other_tables(tmp_path, columns):
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    frame = pandas.DataFrame(columns)
    frame.to_parquet(tmp_path / "stars.parquet")
    assert commands.inspect(tmp_path / "stars.parquet")["features"] == list(UNITS)
    array = zarr.create_array(tmp_path / "array.zarr", shape=(100, 3), chunks=(10, 3), shards=(50, 3), dtype="f4")
    found = commands.inspect(tmp_path / "array.zarr")
    assert (found["shape"], found["chunks"], found["shards"], found["dtype"]) == ([100, 3], [10, 3], [50, 3], "float32")
    del array
    dataset = xarray.Dataset({name: ("row", values) for name, values in columns.items()})
    dataset.to_zarr(tmp_path / "v2.zarr", zarr_format=2, consolidated=False)
    assert commands.inspect(tmp_path / "v2.zarr")["format"] == "zarr v2 group"


def test_inspect_refuses_a_store_whose_codecs_could_run_code(tmp_path, columns):
    store = write_store(tmp_path / "stars.zarr", columns)
    path = store / "mag" / "zarr.json"
    document = json.loads(path.read_text())
    document["codecs"].append({"name": "numcodecs.pickle"})
    path.write_text(json.dumps(document))
    with pytest.raises(SecurityError, match=r"numcodecs\.pickle"):
        commands.inspect(store)


def test_correlations_on_demand(finished):
    _, run, _ = finished
    assert "correlation" not in commands.inspect(run)["components"][0]
    for component in commands.inspect(run, correlations=True)["components"]:
        matrix = np.array(component["correlation"])
        np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=1e-12)
        np.testing.assert_allclose(matrix, matrix.T)


# ---- predict, score, sample ------------------------------------------------------------------------------------------------------


def labels_of(store, name="label"):
    return zarr.open_array(str(Path(store) / name), mode="r")[...]


@pytest.mark.parametrize("where", [Where(executor="serial"), Where(threads=3)], ids=["serial", "threads"])
def test_labels_are_those_of_the_model_and_missing_rows_have_none(finished, store, columns, where):
    _, run, _ = finished
    facts = commands.predict(run, store, "kind", where=where, block_rows=700)
    x = np.column_stack(list(columns.values()))
    complete = ~np.isnan(x).any(axis=1)
    expected = np.full(N_ROWS, -1)
    expected[complete] = load_model(run / "model.zarr").mixture.predict(x[complete])
    np.testing.assert_array_equal(labels_of(store, "kind"), expected)
    assert facts["rows"] == N_ROWS


def test_labels_are_no_feature_and_name_their_model(finished, store):
    _, run, facts = finished
    commands.predict(run, store, "label")
    array = zarr.open_array(str(store / "label"), mode="r")
    assert array.attrs["model_hash"] == facts["hash"]
    assert (array.dtype, array.chunks) == (np.dtype("int32"), (1024,))
    assert open_source(store, missing="skip").feature_names == tuple(UNITS)


def test_labels_as_a_store_of_their_own(finished, tmp_path):
    store, run, _ = finished
    facts = commands.predict(run / "model.zarr", store, str(tmp_path / "labels.zarr"))
    assert facts["labels"] == str(tmp_path / "labels.zarr" / "label")
    assert len(labels_of(tmp_path / "labels.zarr")) == N_ROWS
    assert not (store / "label").exists()


def test_a_column_is_replaced_only_if_asked(finished, store):
    _, run, _ = finished
    commands.predict(run, store, "label")
    with pytest.raises(ConfigError, match="overwrite"):
        commands.predict(run, store, "label")
    commands.predict(run, store, "label", overwrite=True)


def test_other_names_for_the_model_s_columns(finished, tmp_path, columns):
    store, run, _ = finished
    renamed = write_store(tmp_path / "renamed.zarr", {name.upper(): values for name, values in columns.items()}, {})
    names = [name.upper() for name in UNITS]
    assert commands.score(run, renamed, features=names)["log_likelihood"] == commands.score(run, store)["log_likelihood"]
    with pytest.raises(SchemaError, match="2 features for a model of 3"):
        commands.score(run, renamed, features=names[:2])


def test_score_is_the_sum_over_rows(finished, columns):
    store, run, facts = finished
    scores = commands.score(run, store, where=Where(threads=2))
    x = np.column_stack(list(columns.values()))
    x = x[~np.isnan(x).any(axis=1)]
    expected = load_model(run / "model.zarr").mixture.score_samples(x)
    np.testing.assert_allclose(scores["log_likelihood"], expected.sum(), rtol=1e-12)
    assert (scores["rows"], scores["skipped"]) == (len(x), 30)
    assert scores["mean_log_likelihood"] >= facts["log_likelihood"]  # the model is one step past the last pass


def test_sample_is_seeded_and_has_the_model_s_mean(finished):
    _, run, _ = finished
    texts = []
    for seed in (1, 1, 2):
        stream = io.StringIO()
        commands.sample(run, 2000, seed=seed, out=stream)
        texts.append(stream.getvalue())
    assert texts[0] == texts[1] != texts[2]
    head, *lines = texts[0].splitlines()
    assert head == ",".join(UNITS)
    rows = np.array([list(map(float, line.split(","))) for line in lines])
    mixture = load_model(run / "model.zarr").mixture
    np.testing.assert_allclose(rows.mean(axis=0), mixture.weights.proportions @ mixture.components.means, atol=2)


def test_sample_into_a_file(finished, tmp_path):
    _, run, _ = finished
    facts = commands.sample(run, 10, out=tmp_path / "drawn.csv")
    assert facts["out"] == str(tmp_path / "drawn.csv")
    assert len((tmp_path / "drawn.csv").read_text().splitlines()) == 11
    with pytest.raises(ConfigError, match="exists already"):
        commands.sample(run, 10, out=tmp_path / "drawn.csv")
    commands.sample(run, 0, out=tmp_path / "drawn.csv", overwrite=True)
    assert (tmp_path / "drawn.csv").read_text() == ",".join(UNITS) + "\n"
    with pytest.raises(ConfigError, match="whole numbers >= 0"):
        commands.sample(run, -1, out=io.StringIO())


def test_a_run_without_a_model_says_how_to_go_on(store, tmp_path):
    commands.fit(store, tmp_path / "run", **FIT, stop_requested=lambda: True)
    with pytest.raises(CheckpointError, match="streamgmm resume"):
        commands.score(tmp_path / "run", store)


# ---- ingest, quickstart, doctor --------------------------------------------------------------------------------------------------


def test_ingest_reports_rows_nulls_and_progress(tmp_path):
    lines = [f"{i},{i / 2 if i % 5 else ''},star {i}" for i in range(100)]
    (tmp_path / "stars.csv").write_text("\n".join(["a,b,name", *lines]), encoding="utf-8")
    events = []
    facts = commands.ingest([tmp_path / "stars.csv"], tmp_path / "stars.zarr", units={"a": "mas"}, observe=events.append)
    assert (facts["rows"], facts["columns"], facts["nulls"]["b"]) == (100, ["a", "b"], 20)
    assert "name" in facts["left_out"]
    assert events[-1].details["rows"] == 100
    assert commands.inspect(tmp_path / "stars.zarr")["columns"]["a"]["units"] == "mas"


def test_quickstart_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setitem(QUICKSTART_FIT, "tol", 0.02)
    seen, asked = stop_after(2)

    def observe(event):
        if event.kind == "pass":
            seen.append(event)

    options = {"rows": 4000, "where": Where(executor="serial")}
    first = commands.quickstart(tmp_path / "a", **options, observe=observe, stop_requested=asked)
    assert (first["fit"]["outcome"], first["labels"], first["picture"]) == ("interrupted", None, None)
    second = commands.quickstart(tmp_path / "a", **options)
    whole = commands.quickstart(tmp_path / "b", **options)
    assert second["fit"]["hash"] == whole["fit"]["hash"]
    assert len(labels_of(second["store"])) == 4000
    assert Path(second["picture"]).read_bytes().startswith(b"\x89PNG")
    drawn = Path(second["picture"]).stat().st_mtime_ns
    third = commands.quickstart(tmp_path / "a", **options)
    assert third["fit"]["already_complete"]
    assert Path(third["picture"]).stat().st_mtime_ns == drawn
    assert plain(third)


def test_doctor_finds_this_machine_fit(tmp_path):
    facts = commands.doctor(folder=tmp_path)
    assert facts["code"] == 0, facts
    assert {check["result"] for check in facts["checks"]} <= {"ok", "note"}
    assert list(tmp_path.iterdir()) == []


def test_doctor_reports_a_failure_and_goes_on(tmp_path, monkeypatch):
    def broken():
        raise StorageError("no locks here")

    monkeypatch.setattr("streamgmm.commands.checking._kernels", broken)
    facts = commands.doctor(folder=tmp_path / "nowhere")
    failed = {check["name"].split()[0]: check for check in facts["checks"] if check["result"] == "failed"}
    assert set(failed) == {"kernels", "run"}
    assert facts["code"] == 8


# ---- what a resume changes -----------------------------------------------------------------------------------------------------


def test_what_a_resume_changes_stays_for_the_next_one(store, tmp_path):
    run, slow = tmp_path / "run", {**FIT, "tol": 0.0}
    commands.fit(store, run, **{**slow, "max_iter": 1})
    asked = iter([False] * 3)
    commands.resume(run, max_iter=4, where=Where(executor="serial"), stop_requested=lambda: next(asked, True))
    facts = commands.resume(run, where=Where(executor="serial"))
    assert facts["passes"] == 4
    assert [path.name for path in run.glob("changes-*")] == ["changes-000001.json"]
    assert commands.resume(run, max_iter=5)["passes"] == 5
    assert commands.resume(run, max_iter=5)["already_complete"]
    assert len([*run.glob("changes-*")]) == 2
    assert commands.verify(run)["ok"]
    commands.fit(store, run, **{**slow, "max_iter": 1}, overwrite=True)
    assert [*run.glob("changes-*")] == []


@pytest.mark.parametrize("raw", ["", "[]", '{"max_iter": "many"}', '{"max_iter": -1}'])
def test_a_change_that_cannot_be_read_is_said(store, tmp_path, raw):
    commands.fit(store, tmp_path / "run", **FIT, max_iter=1)
    (tmp_path / "run" / "changes-000001.json").write_text(raw)
    with pytest.raises(CheckpointError):
        commands.resume(tmp_path / "run")


# ---- where -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"executor": "serial", "local": 2}, "executor and local contradict"),
        ({"executor": "thread"}, "did you mean 'threads'"),
        ({"executor": "serial", "threads": 2}, "threads=2 is for the executor 'threads'"),
        ({"local": 2, "threads": 2}, "threads=2"),
        ({"scheduler": "tcp://127.0.0.1:1", "scheduler_file": "x"}, "contradict"),
        ({"threads": 2, "stall_timeout": 60.0}, "stall_timeout=60.0 is for a cluster"),
    ],
)
def test_contradictions_are_refused_at_once(options, said):
    with pytest.raises(ConfigError, match=said):
        Where(**options)


class Given:
    """In place of the executor of a cluster: what it is made with."""

    def __init__(self, address, **how):
        self.address, self.how = address, how

    def close(self):
        pass


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr("streamgmm.executors.dask_distributed.DaskDistributed", Given)


def test_strict_and_stall_timeout_reach_the_executor(given):
    with Where(scheduler="tcp://127.0.0.1:9", strict=True, stall_timeout=7.0).open() as executor:
        assert executor.how == {"insecure": True, "strict": True, "stall_timeout": 7.0}
    with Where(scheduler="tcp://127.0.0.1:9").open() as executor:
        assert executor.how == {"insecure": True, "strict": False}
    for where in (Where(executor="serial", strict=True), Where(threads=1, strict=True)):
        with where.open() as executor:
            assert executor.strict


def test_strict_and_stall_timeout_reach_an_executor_that_is_named(given):
    source = rows_source(np.zeros((10, 2)))
    with executor_for("tcp://127.0.0.1:9", source, strict=True, stall_timeout=7.0) as executor:
        assert executor.how == {"strict": True, "stall_timeout": 7.0}
    for name in ("serial", "threads", None):
        with executor_for(name, source, strict=True) as executor:
            assert executor.strict
    with pytest.raises(ConfigError, match=r"give them to Serial\(...\) itself"), executor_for(Serial(), source, strict=True):
        pass


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "5min", True])
def test_a_stall_timeout_that_is_no_time_is_refused(seconds):
    with pytest.raises(ConfigError, match="stall_timeout must be a number of seconds > 0"):
        DaskDistributed("tcp://127.0.0.1:9", stall_timeout=seconds)


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "tcp://example.org:8786", "scheduler:8786", "ws://10.0.0.1:80", "tcp://[2001:db8::1]:8786"]
)
def test_an_unencrypted_cluster_elsewhere_is_refused_unless_accepted(address):
    with pytest.raises(SecurityError, match=r"unencrypted and unauthenticated.*--insecure-cluster"):
        _ = Where(scheduler=address).address
    assert Where(scheduler=address, insecure_cluster=True).address == address


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "localhost:8786", "tcp://[::1]:8786", "tls://example.org:8786", "wss://h:1"])
def test_loopback_and_encrypted_addresses_are_taken(address, monkeypatch):
    monkeypatch.setattr(_address, "_check_files", lambda: None)  # tests/deploy has certificates
    assert Where(scheduler=address).address == address


@pytest.mark.parametrize("address", ["", "here", "tcp://", "tcp://host", "tcp://host:port", "tcp://h:99999"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match="is not of the form"):
        _ = Where(scheduler=address).address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read"),
        ("", "expected JSON"),
        ("[1]", "expected JSON"),
        ('{"address": 3}', "not text"),
        ("[" * 10**5, "expected JSON"),
    ],
)
def test_scheduler_files(tmp_path, text, said):
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        _ = Where(scheduler_file=tmp_path / "s.json").address
    (tmp_path / "s.json").write_text('{"address": "tcp://10.1.2.3:8786"}')
    with pytest.raises(SecurityError):
        _ = Where(scheduler_file=tmp_path / "s.json").address
