"""The command line as a user meets it: help, streams, exit codes, signals, kills."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import zarr

from streamgmm import cli_options
from streamgmm.checkpoint import Run
from streamgmm.cli import cli
from streamgmm.column_store import ColumnStoreWriter
from streamgmm.commands._durations import seconds_of
from streamgmm.configuration import FitConfiguration
from streamgmm.model_file import model_hash
from tests.running import PROGRAM, UNITS, Shell, environment, spawn, survey_rows, wait_for_commit, wait_for_passes, write_store

VERBS = (
    *("ingest", "manifest", "plan", "fit", "resume", "select", "update", "forget", "inspect", "verify", "predict", "score", "sample"),
    *("doctor", "quickstart"),
)
LATER = ("report", "accumulate", "maximise")
HEAVY = ("dask", "distributed", "numba", "zarr", "pandas", "sklearn", "numpy", "rich", "pydantic")
PLAIN = ("--init", "random", "--schedule", "full_batch", "--missing", "skip")
FIT = ("-k", 3, *PLAIN, "--tol", "1e-4", "--block-rows", 512, "--executor", "serial")
SLOW_FIT = ("-k", 6, *PLAIN, "--tol", 0, "--max-iter", 20, "--block-rows", 4096, "--checkpoint-every", "0.02s", "--json")


@pytest.fixture
def shell(capsys):
    return Shell(capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store and a finished run, made by the program; tests read them only."""
    folder = tmp_path_factory.mktemp("finished")
    store = write_store(folder / "stars.zarr", survey_rows(3000, nulls=30))
    process = spawn("fit", store, "--run", folder / "run", *FIT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return store, folder / "run", out, err


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store that takes a while, and the hash of its undisturbed fit."""
    folder = tmp_path_factory.mktemp("large")
    store = write_store(folder / "stars.zarr", survey_rows(40_000, nulls=30), chunk_rows=8192)
    process = spawn("fit", store, "--run", folder / "run", *SLOW_FIT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return store, json.loads(out)["hash"]


# ---- help ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"], ["fitt"]])
def test_help_is_quick_because_it_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom streamgmm.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('\\nloaded:', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, env=environment())
    loaded = done.stdout.rpartition("loaded:")[2].split()
    assert "click" in loaded
    assert not set(HEAVY) & set(loaded)


def test_the_verbs_are_those_of_this_release_in_the_order_of_work(shell):
    assert tuple(cli.commands) == VERBS
    _, out, _ = shell("--help")
    places = [out.index(f"\n  {verb} ") for verb in VERBS]
    assert places == sorted(places)
    assert not any(verb in cli.commands for verb in LATER)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_json(shell, verb):
    code, out, err = shell(verb, "--help")
    assert (code, err) == (0, "")
    assert "Example" in out
    assert f"  streamgmm {verb}" in out
    assert "--json" in out


def test_options_offer_what_the_configuration_takes():
    offered = {parameter.name: parameter for parameter in cli_options.PARAMETERS}
    assert set(offered) == set(FitConfiguration.model_fields)
    for name, field in FitConfiguration.model_fields.items():
        choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
        if choices:
            assert offered[name].metavar == "|".join(choices), name
        if not field.is_required() and field.default is not None:
            offered_value = (
                seconds_of(offered[name].default) if offered[name].metavar == "TIME" else type(field.default)(offered[name].default)
            )
            assert offered_value == field.default, name


def test_the_command_is_a_command_of_dask_too():
    done = subprocess.run(
        [sys.executable, "-m", "dask", "streamgmm", "fit"], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 2
    assert "fit needs a STORE" in done.stderr


# ---- the streams -----------------------------------------------------------------------------------------------------------------


def test_a_fit_prints_its_result_on_stdout_and_its_progress_on_stderr(finished):
    _, run, out, err = finished
    for part in ("converged after", "pm_ra [mas/yr]", "mag [mag]", str(run / "model.zarr"), "(30 more left out"):
        assert part in out
    assert re.search(r"(?m)^pass 1: log-likelihood -", err)
    assert "pass 1" not in out
    assert "\x1b" not in out + err


def test_the_same_command_again_is_already_complete(finished, shell):
    store, run, out, _ = finished
    found = shell.json("fit", store, "--run", run, *FIT)
    assert (found["code"], found["already_complete"]) == (0, True)
    assert found["hash"] in out
    code, text, _ = shell("fit", store, "--run", run, *FIT)
    assert code == 0
    assert "already complete" in text


@pytest.mark.parametrize("verb", ["plan", "inspect", "score", "sample", "predict", "resume", "show-config"])
def test_json_is_one_object_with_the_exit_code(finished, shell, tmp_path, verb):
    store, run, _, _ = finished
    arguments = {
        "plan": ("plan", store, "-k", 3),
        "inspect": ("inspect", run, "--correlations"),
        "score": ("score", run, store),
        "sample": ("sample", run, "-n", 3),
        "predict": ("predict", run, store, "--out", tmp_path / "labels.zarr"),
        "resume": ("resume", run),
        "show-config": ("fit", store, "--run", run, "-k", 3, "--show-config"),
    }[verb]
    assert shell.json(*arguments)["code"] == 0


@pytest.mark.parametrize("arguments", [("fit",), ("inspect", "nowhere"), ("fitt",), ("sample", "nowhere", "-n", "x"), ()])
def test_errors_are_json_too(shell, arguments):
    found = shell.json(*arguments)
    assert found["code"] > 0
    assert found["message"]
    assert found["error"]


def test_quiet_leaves_stderr_empty(finished, shell):
    store, run, _, _ = finished
    code, _, err = shell("score", run, store, "--quiet")
    assert (code, err) == (0, "")


def test_sample_prints_csv(finished, shell):
    _, run, _, _ = finished
    code, out, err = shell("sample", run, "-n", 4)
    rows = list(csv.reader(out.splitlines()))
    assert (code, err, rows[0], len(rows)) == (0, "", list(UNITS), 5)


@pytest.mark.parametrize("path", ["run", "run/model.zarr", "stars.zarr"])
def test_inspect_prints_a_table(finished, shell, path):
    store, _, _, _ = finished
    code, out, _ = shell("inspect", store.parent / path, "--correlations")
    assert code == 0
    assert "pm_ra" in out
    assert "mas/yr" in out


def test_doctor_prints_a_table(shell, tmp_path):
    code, out, _ = shell("doctor", "--folder", tmp_path)
    assert code == 0
    assert "kernels" in out
    assert "FAILED" not in out


def test_ingest_then_fit_then_labels(shell, tmp_path):
    columns = survey_rows(500)
    lines = [",".join(columns), *(",".join(map(repr, map(float, row))) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "stars.csv").write_text("\n".join(lines), encoding="utf-8")
    store = tmp_path / "stars.zarr"
    units = [word for name, unit in UNITS.items() for word in ("--unit", f"{name}={unit}")]
    assert shell.json("ingest", tmp_path / "stars.csv", "--out", store, *units)["rows"] == 500
    fitted = shell.json("fit", store, "--run", tmp_path / "run", "--features", "pm_ra,pm_dec", "--features", "mag", *FIT)
    assert (fitted["code"], fitted["units"]) == (0, list(UNITS.values()))
    assert shell("predict", tmp_path / "run", store, "--out", "kind")[0] == 0
    assert zarr.open_array(str(store / "kind"), mode="r").shape == (500,)


def test_not_converged_is_code_3_only_if_asked(shell, tmp_path, finished):
    store, _, _, _ = finished
    arguments = ("fit", store, "--run", tmp_path / "run", *FIT, "--schedule", "full_batch", "--max-iter", 1)
    assert shell(*arguments)[0] == 0
    assert shell(*arguments, "--fail-if-not-converged")[0] == 3
    assert shell("resume", tmp_path / "run", "--fail-if-not-converged")[0] == 3
    assert shell("resume", tmp_path / "run", "--max-iter", 100, "--fail-if-not-converged")[0] == 0


def test_a_deadline_is_code_75_and_the_same_command_goes_on(shell, tmp_path, finished):
    store, run, _, _ = finished
    arguments = ("fit", store, "--run", tmp_path / "run", *FIT)
    code, _, err = shell(*arguments, "--deadline", "0.001s")
    assert code == 75
    assert "saved; start again to go on" in err
    assert shell.json(*arguments)["hash"] == shell.json("inspect", run)["hash"]


def test_an_internal_error_is_code_1_with_a_trace_on_stderr(shell, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a \x1b[31m fault")

    monkeypatch.setattr("streamgmm.commands.looking.inspect", broken)
    code, out, err = shell("inspect", "x")
    assert (code, out) == (1, "")
    assert "ZeroDivisionError" in err
    assert "please report" in err
    assert "\x1b" not in err


# ---- a terminal ------------------------------------------------------------------------------------------------------------------


def on_terminal(*arguments, columns=80, **changes):
    """What the program writes to a terminal of this width, and its exit code."""
    process_id, descriptor = pty.fork()
    if process_id == 0:  # pragma: no cover  (the child)
        os.execvpe(PROGRAM[0], [*PROGRAM, *map(str, arguments)], environment(COLUMNS=str(columns), TERM="xterm", **changes))
    written = bytearray()
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux says so when the other side has closed
            break
        if not piece:
            break
        written += piece
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), written.decode("utf-8", "replace")


def test_a_terminal_gets_a_bar(finished, tmp_path):
    store, _, _, _ = finished
    code, text = on_terminal("fit", store, "--run", tmp_path / "run", *FIT, columns=100)
    assert code == 0
    assert re.search(r"pass \d+ .*rows/s.*log L -\d", text)
    assert "converged after" in text


# ---- kills and signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [(), ("--local", 2)], ids=["threads", "local cluster"])
def test_killed_in_mid_fit_the_same_command_ends_with_the_same_bits(large, tmp_path, where):
    store, expected = large
    run = tmp_path / "run"
    process = spawn("fit", store, "--run", run, *SLOW_FIT)
    wait_for_passes(run, 2, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "model.zarr").exists()
    again = spawn("fit", store, "--run", run, *SLOW_FIT, *where)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    found = json.loads(out)
    assert found["hash"] == expected
    assert found["passes_made"] < found["passes"]


@pytest.mark.parametrize(("name", "where"), [("SIGTERM", ()), ("SIGINT", ("--local", 2))], ids=["threads", "local cluster"])
def test_a_signal_saves_and_exits_75(large, tmp_path, name, where):
    store, expected = large
    run = tmp_path / "run"
    process = spawn("fit", store, "--run", run, *SLOW_FIT, *where, start_new_session=True)
    wait_for_commit(run, 3, process)
    os.killpg(process.pid, getattr(signal, name))  # as a terminal and a batch system do: to every process of the group
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert json.loads(out)["outcome"] == "interrupted"
    assert "saved; start again to go on" in err
    done = spawn("resume", run, "--json")
    assert json.loads(done.communicate(timeout=200)[0])["hash"] == expected


def test_a_signal_that_the_caller_ignores_stays_ignored(large, tmp_path):
    store, _ = large
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "os.execv(sys.executable, [sys.executable, '-c', 'from streamgmm.cli import main; main()', *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", code, "fit", store, "--run", tmp_path / "run", *SLOW_FIT, "--max-iter", 5]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    wait_for_commit(tmp_path / "run", 1, process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


# ---- clusters --------------------------------------------------------------------------------------------------------------------


def test_a_scheduler_and_its_file(finished, tmp_path):
    """One process runs scheduler and worker; a fit and a doctor use them."""
    store, run, _, _ = finished
    file = tmp_path / "scheduler.json"
    code = (
        "import sys\nfrom distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, host='127.0.0.1', dashboard_address='127.0.0.1:0',"
        " protocol='tcp://') as c:\n"
        "        c.scheduler.identity(); import json, pathlib\n"
        "        pathlib.Path(sys.argv[1] + '.new').write_text(json.dumps({'address': c.scheduler_address}))\n"
        "        pathlib.Path(sys.argv[1] + '.new').rename(sys.argv[1]); sys.stdin.read()\n"
    )
    cluster = subprocess.Popen([sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
    try:
        while not file.exists():
            assert cluster.poll() is None
            signal.sigtimedwait([], 0.05)
        address = json.loads(file.read_text())["address"]
        fit = spawn("fit", store, "--run", tmp_path / "run", *FIT[:-2], "--scheduler-file", file, "--json")
        out, err = fit.communicate(timeout=120)
        assert fit.returncode == 0, err
        assert json.loads(out)["hash"] == model_hash(run / "model.zarr")
        doctor = spawn("doctor", "--folder", tmp_path, "--scheduler", address, "--json")
        checks = {check["name"]: check for check in json.loads(doctor.communicate(timeout=60)[0])["checks"]}
        assert checks["cluster"]["result"] == "ok"
        assert "2 thread(s)" in checks["cluster"]["found"]
    finally:
        cluster.stdin.close()
        cluster.wait(timeout=60)


def test_a_stop_does_not_wait_for_a_long_block(tmp_path):
    """Promise P27: a signal inside a task that takes minutes saves and leaves within seconds."""
    code = (
        "import sys, time\n"
        "from streamgmm.components._gaussian import AbstractGaussian\n"
        "inner = AbstractGaussian.accumulate\n"
        "def slow(self, x, *given, **named):\n"
        "    time.sleep(600 if len(x) and x[0, 0] > 0.5 else 0)\n"
        "    return inner(self, x, *given, **named)\n"
        "AbstractGaussian.accumulate = slow\n"
        "from streamgmm.cli import main\n"
        "main()\n"
    )
    x = np.linspace(0, 1, 4000).reshape(-1, 1) + np.zeros(2)
    with ColumnStoreWriter(tmp_path / "s.zarr", {"a": np.dtype("f8"), "b": np.dtype("f8")}) as writer:
        writer.append({"a": x[:, 0], "b": x[:, 1]})
    command = [sys.executable, "-c", code, "fit", tmp_path / "s.zarr", "--run", tmp_path / "run", "-k", "2", "--block-rows", "500"]
    process = subprocess.Popen(
        [*map(str, command), "--checkpoint-every", "0.01s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    wait_for_commit(tmp_path / "run", 2, process)
    process.send_signal(signal.SIGTERM)
    _out, err = process.communicate(timeout=60)  # a deadline against a hang: the blocks would take ten minutes each
    assert process.returncode == 75, err
    assert b"saved; start again to go on" in err
    assert Run(tmp_path / "run").latest().state.progress.done


def test_a_stop_does_not_wait_for_the_starts(tmp_path):
    """Promise P27: before there is anything to save, a signal ends the program with 75, and the same command starts again."""
    code = (
        "import sys, time\n"
        "from streamgmm import job\n"
        "def slow(*given):\n"
        "    print('sampling', flush=True)\n"
        "    time.sleep(600)\n"
        "job.draw_sample = job.scan = slow\n"
        "from streamgmm.cli import main\n"
        "main()\n"
    )
    store = write_store(tmp_path / "s.zarr", survey_rows(500))
    command = [sys.executable, "-c", code, "fit", store, "--run", tmp_path / "run", *map(str, FIT)]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdout.readline() == b"sampling\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert b"stopped before the first pass" in err
    again = spawn("fit", store, "--run", tmp_path / "run", *FIT)
    assert again.communicate(timeout=100)
    assert again.returncode == 0
