"""How tests run the command line: in this process, and as a user does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamgmm.cli import main
from streamgmm.column_store import ColumnStoreWriter

PROGRAM = [sys.executable, "-m", "streamgmm"]
UNITS = {"pm_ra": "mas/yr", "pm_dec": "mas/yr", "mag": "mag"}


def survey_rows(n_rows, seed=0, nulls=0):
    """Columns of three well separated kinds of stars, some values missing."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, n_rows)
    centres = np.array([[0.0, 0.0, 11.0], [20.0, -40.0, 8.0], [-35.0, 10.0, 14.0]])
    rows = centres[kinds] + rng.normal(size=(n_rows, 3)) * [2.0, 3.0, 0.7]
    rows[rng.choice(n_rows, nulls, replace=False), 2] = np.nan
    return {name: np.ascontiguousarray(rows[:, j]) for j, name in enumerate(UNITS)}


def write_store(path, columns, units=UNITS, chunk_rows=1024):
    """A column store of these columns."""
    dtypes = {name: values.dtype for name, values in columns.items()}
    with ColumnStoreWriter(path, dtypes, units={k: v for k, v in units.items() if k in dtypes}, chunk_rows=chunk_rows) as writer:
        writer.append(columns)
    return path


class Shell:
    """Runs verbs in this process: exit code, standard output, standard error."""

    def __init__(self, capsys):
        self._capsys = capsys

    def __call__(self, *arguments):
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return leaving.value.code, out, err

    def json(self, *arguments):
        """The JSON object on standard output, whose code is the exit code."""
        code, out, _ = self(*arguments[:1], "--json", *arguments[1:])
        found = json.loads(out)
        assert found["code"] == code
        return found


def spawn(*arguments, **options):
    """The program as a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()} | options
    return subprocess.Popen([*PROGRAM, *(str(argument) for argument in arguments)], **options)


def environment(**changes):
    """Of processes: no settings of ours from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGMM_")}
    return {**kept, **changes}


def wait_for_commit(run, number, process, seconds=60.0):
    """Until a run has come to this commit, or its process has ended."""
    path, until = Path(run) / "commits" / f"{number:06d}.zip", time.monotonic() + seconds
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < until, f"no commit {number} in {run}"
        time.sleep(0.01)


def wait_for_passes(run, number, process, seconds=60.0):
    """Until a run has committed a state after so many passes, or its process has ended."""
    log, until = Path(run) / "events.jsonl", time.monotonic() + seconds
    while process.poll() is None:
        events = [json.loads(line) for line in log.read_text().splitlines()[:-1]] if log.exists() else []
        if any(event["kind"] == "commit" and event["pass"] >= number for event in events):
            return
        assert time.monotonic() < until, f"no commit of pass {number} in {run}"
        time.sleep(0.01)
