"""`streamgmm select`: the verb as a function and as a user runs it."""

import json
import shutil

import pytest

from streamgmm import commands
from streamgmm.commands.where import Where
from streamgmm.errors import ClusterError, ConfigError
from tests.running import Shell, survey_rows, write_store

PARAMETERS = {
    "missing": "skip",
    "block_rows": 512,
    "schedule": "full_batch",
    "tol": 1e-5,
    "max_iter": 20,
    "where": Where(executor="serial"),
}
NOWHERE = Where(scheduler="tcp://127.0.0.1:9")  # nothing listens there
FLAGS = (
    "--missing",
    "skip",
    "--block-rows",
    "512",
    "--schedule",
    "full_batch",
    "--tol",
    "1e-5",
    "--max-iter",
    "20",
    "--executor",
    "serial",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("select") / "stars.zarr", survey_rows(3000, nulls=30))


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    return run, commands.select(store, run, "1:5", hold_out=0.1, **PARAMETERS)


@pytest.fixture
def shell(capsys):
    return Shell(capsys)


def test_three_kinds_of_stars_are_found_and_saved(finished):
    run, facts = finished
    assert facts["winner"] == facts["n_components"] == 3
    assert facts["rows"] + facts["held_out_rows"] == 2970
    assert {rung["n_components"] for rung in facts["rungs"]} == {1, 2, 3, 4, 5}
    assert (run / "picture.png").read_bytes().startswith(b"\x89PNG")
    json.dumps(facts, allow_nan=False)
    assert commands.inspect(facts["model"])["n_components"] == 3
    assert commands.verify(run)["ok"]


def test_the_model_labels_rows(finished, store):
    run, facts = finished
    assert commands.score(run, store)["n_parameters"] == facts["n_parameters"]


def test_the_command_prints_a_table_and_goes_on(finished, store, shell, tmp_path):
    run, facts = finished
    given = ("select", store, "--run", run, "-k", "1:5", "--hold-out", "0.1", *FLAGS)
    code, out, err = shell(*given)
    assert code == 0
    assert facts["hash"] in out
    assert "ICL (entropy)" in out
    assert "pass" not in err
    again = shell.json(*given, "--criterion", "held_out", "--out", tmp_path / "other.png")
    assert again["criterion"] == "held_out"
    assert (tmp_path / "other.png").is_file()
    assert shell.json(*given)["hash"] == facts["hash"]


def test_what_does_not_fit_the_run_is_code_5_and_what_cannot_be_read_code_2(finished, store, shell):
    run, _ = finished
    assert shell.json("select", store, "--run", run, "-k", "1:6", "--hold-out", "0.1", *FLAGS)["error"] == "RunMismatchError"
    assert shell.json("select", store, "--run", run, "-k", "1-6", *FLAGS)["code"] == 2
    assert shell.json("select", store, "--run", run, "--criterion", "bik", *FLAGS)["code"] == 2
    with pytest.raises(ConfigError, match="is a ladder; streamgmm select"):
        commands.resume(run)


def test_a_stop_is_code_75_and_the_same_command_goes_on(store, tmp_path, finished):
    asked = iter([False] * 12)

    def stop_requested():
        return next(asked, True)

    given = {"hold_out": 0.1, **PARAMETERS}
    stopped = commands.select(store, tmp_path / "run", "1:5", stop_requested=stop_requested, **given)
    assert (stopped["outcome"], stopped["model"], stopped["rungs"]) == ("interrupted", None, [])
    assert commands.select(store, tmp_path / "run", "1:5", **given)["hash"] == finished[1]["hash"]


def test_a_stop_in_the_last_read_leaves_it_to_the_next_call(store, tmp_path, finished):
    compared = []

    def observe(event):
        if event.details.get("task") == "compare":
            compared.append(event)

    given = {"hold_out": 0.1, **PARAMETERS}
    stopped = commands.select(store, tmp_path / "run", "1:5", observe=observe, stop_requested=lambda: bool(compared), **given)
    assert (stopped["outcome"], stopped["model"], len(compared)) == ("interrupted", None, 1)
    assert commands.verify(tmp_path / "run")["ok"]
    assert commands.select(store, tmp_path / "run", "1:5", **given)["hash"] == finished[1]["hash"]


def test_a_finished_ladder_asks_for_no_cluster(finished, store):
    run, facts = finished
    again = commands.select(store, run, "1:5", hold_out=0.1, **{**PARAMETERS, "where": NOWHERE})
    assert again["hash"] == facts["hash"]


def test_a_ladder_whose_contenders_are_not_compared_yet_asks_for_one(finished, store, tmp_path, monkeypatch):
    def nobody(client, timeout):
        raise ClusterError("no Dask scheduler answered")

    monkeypatch.setattr("streamgmm.executors.dask_distributed._find_client", nobody)
    run = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(run / "model.zarr")
    with pytest.raises(ClusterError):
        commands.select(store, run, "1:5", hold_out=0.1, **{**PARAMETERS, "where": NOWHERE})
