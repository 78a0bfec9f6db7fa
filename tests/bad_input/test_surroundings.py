"""Rows A32, A38, A40, K13, E2, E3, E8 to E10 of the catalogue of bad input: what is around a fit and may fail it."""

# ruff: noqa: N802  the rows of the catalogue have capital letters

import contextlib
import itertools
import json
import resource
import signal
import subprocess
import threading
import warnings
from importlib import metadata

import dask.array as da
import numpy as np
import pytest

from streamgmm import GaussianMixture, commands, job, surroundings
from streamgmm.commands.where import Where
from streamgmm.errors import ClusterError, NondeterminismError, PrecisionWarning, WorkerProfileError, exit_code
from streamgmm.events import Event
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.observers.json_lines import JsonLines
from streamgmm.sources import _row_cache
from tests.running import PROGRAM, Shell, environment, survey_rows, write_store

FIT = {"n_components": 2, "init": "random", "tol": 0.0, "max_iter": 4, "block_rows": 512, "where": Where(executor="serial")}


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """A small store; tests read it only."""
    return write_store(tmp_path_factory.mktemp("stars") / "stars.zarr", survey_rows(1500))


def impure(block):
    return np.random.default_rng().normal(size=block.shape)


def test_A32_a_graph_that_is_not_pure_is_found_at_its_second_reading(monkeypatch):
    """A32: block, both checksums, and what to do."""
    monkeypatch.setattr(_row_cache.RowCache.__init__, "__defaults__", (1,))  # nothing is kept from one pass to the next
    rows = da.zeros((4000, 2), chunks=(500, 2)).map_blocks(impure, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(
        NondeterminismError, match=r"block \d had checksum [0-9a-f]{8} .* has [0-9a-f]{8} now\. Persist .*or store"
    ) as refusal:
        GaussianMixture(2, random_state=0, block_rows=500, tol=0.0).fit(rows)
    assert exit_code(refusal.value) == 10


def test_A38_the_warning_may_be_made_an_error():
    """A38: strict precision is Python's own switch for warnings."""
    narrow = (np.random.default_rng(0).normal(size=(60, 2)) * 10 + [0, 1e8]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        with pytest.raises(PrecisionWarning, match="column 'f1'"):
            GaussianMixture(random_state=0).fit(narrow)


def failing_at(number):
    """An observer that fails when it is told of a pass."""

    def observe(event):
        if event.kind == "pass" and event.details["pass"] == number:
            raise ZeroDivisionError("a fault of the caller's own")

    return observe


def test_A40_an_observer_that_raises(stars, tmp_path):
    """A40: its own exception, a note of where the fit was and how it goes on; what was saved is used."""
    with pytest.raises(ZeroDivisionError, match="a fault of the caller's own") as raised:
        commands.fit(stars, tmp_path / "run", **FIT, observe=failing_at(3))
    (note,) = raised.value.__notes__
    for part in ("pass 3", f"streamgmm resume {tmp_path / 'run'}"):
        assert part in note
    assert exit_code(raised.value) == 1
    events = []
    facts = commands.resume(tmp_path / "run", observe=events.append, where=FIT["where"])
    assert any("goes on after pass" in event.message for event in events)
    assert facts["hash"] == commands.fit(stars, tmp_path / "whole", **FIT)["hash"]


def with_profile(monkeypatch, **changes):
    profile = {**surroundings.numeric_profile(), **changes}
    monkeypatch.setattr(surroundings, "numeric_profile", lambda: profile)


def test_K13_another_machine_at_a_resume_is_told(stars, tmp_path, monkeypatch):
    """K13: old and new; the number of threads does not count."""
    commands.fit(stars, tmp_path / "run", **{**FIT, "max_iter": 2})
    with_profile(monkeypatch, **{"blas threads": "77"})
    events = []
    commands.resume(tmp_path / "run", max_iter=3, observe=events.append, where=FIT["where"])
    assert [event for event in events if event.kind == "warning"] == []
    with_profile(monkeypatch, numpy="1.0")
    commands.resume(tmp_path / "run", max_iter=4, observe=events.append, where=FIT["where"])
    (warning,) = (event for event in events if event.kind == "warning")
    assert "bits may differ" in warning.message
    assert f"numpy was {np.__version__!r}, is '1.0'" in warning.message
    assert warning.details["differences"] == {"numpy": [np.__version__, "1.0"]}


def test_K13_strict_refuses_it(stars, tmp_path, monkeypatch):
    """K13: nothing is computed, and the commits stay."""
    gm, rows = GaussianMixture(2, random_state=0, max_iter=2, tol=0.0), np.column_stack(list(survey_rows(200).values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gm.fit(rows, checkpoint=tmp_path / "run")
    with_profile(monkeypatch, numpy="1.0")
    strict = Serial(strict=True)
    with pytest.raises(WorkerProfileError, match=r"numpy was .*, is '1\.0'") as refusal:
        GaussianMixture(2, random_state=0, max_iter=9, tol=0.0, executor=strict).fit(rows, checkpoint=tmp_path / "run")
    assert exit_code(refusal.value) == 9
    with pytest.warns(UserWarning, match="bits may differ"):
        GaussianMixture(2, random_state=0, max_iter=400, tol=1e-6).fit(rows, checkpoint=tmp_path / "run")


def test_K13_strict_refuses_it_from_the_command_line(stars, tmp_path, monkeypatch, capsys):
    """K13: `resume --strict`."""
    commands.fit(stars, tmp_path / "run", **{**FIT, "max_iter": 2})
    with_profile(monkeypatch, numpy="1.0")
    code, _, err = Shell(capsys)("resume", tmp_path / "run", "--max-iter", 3, "--executor", "serial", "--strict")
    assert code == 9
    assert "do without strict mode" in err
    assert Shell(capsys)("resume", tmp_path / "run", "--max-iter", 3, "--executor", "serial")[0] == 0


def test_K13_a_run_of_the_first_release_has_no_profile(stars, tmp_path):
    """K13: nothing is said of what nobody knows."""
    commands.fit(stars, tmp_path / "run", **{**FIT, "max_iter": 2})
    path = tmp_path / "run" / "run.json"
    record = {name: value for name, value in json.loads(path.read_text()).items() if name != "numeric_profile"}
    assert list(surroundings.other_profile(record, strict=True)) == []


def test_E2_a_library_that_runs_code_of_stores_is_refused(monkeypatch):
    """E2: found and wanted; code 11. Other versions below the tested ones are not installed at all: pip refuses them."""
    real = metadata.version
    monkeypatch.setattr("streamgmm.commands.checking.metadata.version", lambda name: "0.16.5" if name == "numcodecs" else real(name))
    found = commands.doctor()
    (check,) = (check for check in found["checks"] if check["name"] == "libraries")
    assert (check["result"], check["code"], found["code"]) == ("failed", 11, 11)
    assert "0.16.5" in check["found"]
    assert "numcodecs>=0.16.6" in check["found"]


def test_E2_libraries_are_not_older_than_those_tested():
    """E2: the lower bounds are those of the package."""
    wanted = {line.partition(">=")[0].partition("[")[0] for line in metadata.requires("streamgmm") or () if "extra" not in line}
    assert {"zarr", "numcodecs", "dask", "distributed"} <= wanted


NOWHERE = "/proc/nowhere"  # nobody can make a file there


def process(arguments, limits=None, **variables):
    """A process of the program: exit code, standard output and error."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in environment(**variables).items() if value is not None},
        preexec_fn=limits,
        timeout=250,
    )
    return done.returncode, done.stdout, done.stderr


ARGUMENTS = ("-k", 2, "--executor", "threads", "--threads", 2, "--max-iter", 2, "--quiet", "--json")


def test_E3_no_home_and_no_temporary_folder(stars, tmp_path):
    """E3: with a run folder that can be written, a fit needs no other."""
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR", "DASK_CONFIG"), NOWHERE)
    code, out, err = process(("fit", stars, "--run", tmp_path / "run", *ARGUMENTS), HOME=None, **places)
    assert code == 0, err
    assert json.loads(out)["code"] == 0


def test_E3_a_run_folder_that_cannot_be_made(stars):
    """E3: code 8 and the path."""
    code, out, err = process(("fit", stars, "--run", f"{NOWHERE}/run", *ARGUMENTS))
    assert code == 8, err
    assert f"{NOWHERE}/run" in json.loads(out)["message"]


def tell(log, number):
    for i in range(number):
        log(Event("floor", "a component", {"pass": i}))


def test_E8_a_thousand_events_a_second_make_no_endless_log(tmp_path):
    """E8: two files of a bounded length; what is gone is counted."""
    path, clock = tmp_path / "events.jsonl", itertools.count(0.0, 1e-3)
    with JsonLines(path, clock=lambda: next(clock), most_bytes=10_000) as log:
        tell(log, 600)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["events.jsonl", "events.older.jsonl"]
    assert all(file.stat().st_size < 10_500 for file in files)
    lines = [json.loads(line) for file in reversed(files) for line in file.read_text().splitlines()]
    passes = [line["pass"] for line in lines if line["kind"] == "floor"]
    assert passes == list(range(passes[0], 600))
    gone = [line["gone"] for line in lines if line["kind"] == "log"]
    assert gone[-1] > 0
    assert passes[0] > gone[-1]


def test_E8_without_the_bound_it_grows(tmp_path):
    """E8: the guard taken out."""
    with JsonLines(tmp_path / "events.jsonl", most_bytes=1 << 40) as log:
        tell(log, 300)
    assert (tmp_path / "events.jsonl").stat().st_size > 10_500


def test_E8_a_log_that_cannot_be_moved_aside_ends_nothing(tmp_path):
    """E8."""
    (tmp_path / "events.older.jsonl").mkdir()
    with JsonLines(tmp_path / "events.jsonl", most_bytes=1000) as log:
        tell(log, 30)
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert last["pass"] == 29


def test_E9_no_more_threads(stars, tmp_path, monkeypatch):
    """E9: limit and need; nothing is left that could not be gone on with."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ClusterError, match=r"starts no more threads.*about 16 are wanted.*ulimit -u") as refusal:
            commands.fit(stars, tmp_path / "run", **FIT)
        assert exit_code(refusal.value) == 9
        with pytest.raises(ClusterError, match="about 5 are wanted"):
            GaussianMixture(2, executor=Threads(5), block_rows=512).fit(np.column_stack(list(survey_rows(1500).values())))
    assert commands.fit(stars, tmp_path / "run", **FIT)["passes"] == 4


def test_E9_other_faults_of_threads_stay_what_they_are():
    """E9."""
    with pytest.raises(RuntimeError, match="something else"), surroundings.threads_wanted(1):
        raise RuntimeError("something else")


def test_E9_sixty_four_open_files_are_enough_or_said(stars, tmp_path):
    """E9: a fit on this machine does with 64; doctor says that it is little."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    code, _, err = process(("fit", stars, "--run", tmp_path / "run", *ARGUMENTS), few)
    assert code == 0, err
    code, out, _ = process(("doctor", "--json", "--folder", tmp_path), few)
    assert code == 0
    assert "64 at a time: enough for a fit in this process, too few for a cluster" in out


def test_E10_files_may_not_grow(stars, tmp_path):
    """E10: as a full disk, code 8, in a process in which the signal would end the program."""

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    commands.fit(stars, tmp_path / "before", **FIT)  # kernels are compiled and kept
    code, out, err = process(("fit", stars, "--run", tmp_path / "run", *ARGUMENTS), small)
    assert code == 8, err
    assert "EFBIG" in json.loads(out)["message"]


def test_without_their_guards_they_are_not_told(stars, tmp_path, monkeypatch):
    """A40, K13, E9: the guards taken out."""
    monkeypatch.setattr(job, "noting", lambda observe, place: observe)
    with pytest.raises(ZeroDivisionError) as raised:
        commands.fit(stars, tmp_path / "run", **FIT, observe=failing_at(3))
    assert not hasattr(raised.value, "__notes__")
    with_profile(monkeypatch, numpy="1.0")
    monkeypatch.setattr(job, "other_profile", lambda record, strict: ())
    events = []
    commands.resume(tmp_path / "run", observe=events.append, where=FIT["where"])
    assert not any("bits may differ" in event.message for event in events)
    monkeypatch.setattr(job, "threads_wanted", lambda number: contextlib.nullcontext())
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
    with pytest.raises(RuntimeError) as refusal:
        GaussianMixture(2, executor=Threads(7), block_rows=512).fit(np.column_stack(list(survey_rows(1500).values())))
    assert not isinstance(refusal.value, ClusterError)
