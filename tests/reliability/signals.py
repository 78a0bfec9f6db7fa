"""Signals at random times to real fits: saved, out, and gone on with to the same model. Promise P27.

Three of four processes are forked from one that has everything imported, so that many signals meet the work itself; the others are
started as a user does, and most of theirs meet imports. Three of four fits are made of passes, and quick; the others begin with a sample
that is explored, where there is nothing to save yet.
"""

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamgmm import commands
from streamgmm.cli import main
from streamgmm.commands.where import Where
from tests.reliability.outcome import Outcome
from tests.running import PROGRAM, environment, survey_rows, write_store

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
PARAMETERS = {"n_components": 6, "init": "kmeans", "tol": 0.0, "max_iter": 25, "block_rows": 4096}
OPTIONS = ("-k", "6", "--init", "kmeans", "--tol", "0", "--max-iter", "25", "--block-rows", "4096", "--executor", "serial", "--quiet")
ROWS = 20_000
SCHEDULES = ("full_batch", "full_batch", "full_batch", "auto")
KINDS = ("forked", "forked", "forked", "started")
STOPPED, DONE = 75, 0
PATIENCE = 120.0


@dataclass(frozen=True)
class Ending:
    """How one process ended: signal, exit code (128 + number where a signal ended it), seconds from signal to end, when it was sent."""

    name: str
    code: int
    seconds: float
    sent_after: float
    fault: str


def trials(n: int, seed: int) -> Outcome:
    """`n` fits, each sent one signal at a random time within a little more than a whole fit takes."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        store = write_store(folder / "stars.zarr", survey_rows(ROWS), chunk_rows=4096)
        expected = {how: whole(store, folder / how, how) for how in set(SCHEDULES)}
        undisturbed("forked", store, folder / "first", SCHEDULES[0])  # brings up the process that the others are forked from
        cases = set(itertools.product(KINDS, SCHEDULES))
        lengths = {case: undisturbed(case[0], store, folder / "-".join(case), case[1]) for case in cases}
        endings = []
        for number in range(n):
            kind, how = KINDS[number % 4], SCHEDULES[number // 4 % 4]
            delay, name = rng.uniform(0, 1.1) * lengths[kind, how], rng.choice(SIGNALS)
            endings.append(one(kind, store, folder / f"run{number}", delay, name, expected[how], how))
    return Outcome("P27: signals", n, sum(bool(ending.fault) for ending in endings), remarks_of(endings))


def remarks_of(endings: list[Ending]) -> dict[str, Any]:
    """Seconds, codes, faults."""
    stopped = [round(ending.seconds, 4) for ending in endings if ending.code == STOPPED]
    codes: dict[int, int] = {}
    for ending in endings:
        codes[ending.code] = codes.get(ending.code, 0) + 1
    return {
        "seconds to exit 75": {"values": stopped} if stopped else {},
        "exit codes": dict(sorted(codes.items())),
        "faults": [f"{e.name} after {e.sent_after:.2f} s: {e.fault}" for e in endings if e.fault],
    }


def whole(store: Path, run: Path, schedule: str) -> str:
    """A fit in this process, or what is left of one: the hash of its model."""
    found: str = commands.fit(store, run, where=Where(executor="serial"), schedule=schedule, **PARAMETERS)["hash"]
    return found


def undisturbed(kind: str, store: Path, run: Path, schedule: str) -> float:
    """Seconds of a whole fit."""
    began = time.monotonic()
    code = end_of(begin(kind, store, run, schedule))
    assert code == DONE, f"an undisturbed fit ended with {code}"
    return time.monotonic() - began


def one(kind: str, store: Path, run: Path, delay: float, name: str, expected: str, schedule: str) -> Ending:
    """One fit, one signal, one resume."""
    process = begin(kind, store, run, schedule)
    time.sleep(delay)
    assert process.pid is not None
    sent = time.monotonic()
    with contextlib.suppress(ProcessLookupError):  # it may have been quicker
        os.kill(process.pid, getattr(signal, name))
    code = end_of(process)
    seconds = time.monotonic() - sent
    return Ending(name, code, seconds, delay, fault_of(code, name, store, run, expected, schedule))


def fault_of(code: int, name: str, store: Path, run: Path, expected: str, schedule: str = SCHEDULES[0]) -> str:
    """What is wrong with how a process ended; nothing if all is well, and the fit goes on to the same model."""
    has_run, is_whole = (run / "run.json").exists(), (run / "model.zarr").exists()
    by_signal = code == 128 + getattr(signal, name)
    if not (code in (DONE, STOPPED) or (by_signal and (is_whole or not has_run))):
        return f"exit {code}, run {'there' if has_run else 'not there'}"
    found = whole(store, run, schedule)
    return "" if found == expected else f"exit {code}; resumed to another model: {found[:12]}"


# ---- processes -------------------------------------------------------------------------------------------------------------------


def begin(kind: str, store: Path, run: Path, schedule: str) -> Any:
    """A fit in a process of its own."""
    arguments = ["fit", str(store), "--run", str(run), *OPTIONS, "--schedule", schedule]
    if kind == "started":
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*PROGRAM, *arguments], env=environment(), **quiet)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["streamgmm.shell", "streamgmm.commands.fitting", "streamgmm.estimator", "tests.reliability.signals"])
    process = context.Process(target=fit_quietly, args=(arguments,))
    process.start()
    return process


def fit_quietly(arguments: list[str]) -> None:
    """Runs in a forked process."""
    for name in SIGNALS:
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    code: Any = 0
    try:
        main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    except KeyboardInterrupt:
        code = 130
    os._exit(int(code or 0))


def end_of(process: Any) -> int:
    """Exit code; 128 + number where a signal ended it. A process that does not end is a violation of its own: it is killed."""
    if isinstance(process, subprocess.Popen):
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return 999
    else:
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            return 999
        code = process.exitcode
    return 128 - code if code < 0 else code
