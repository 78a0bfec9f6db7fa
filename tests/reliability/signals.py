"""Signals at random times to real fits: saved, out, and gone on with to the same model. Promise P27.

Three of four processes are forked from one that has everything imported, so that many signals meet the work itself; the others are
started as a user does, and most of theirs meet imports. Three of four fits are made of passes, and quick; the others begin with a sample
that is explored, where there is nothing to save yet.
"""

import contextlib
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
DEAF = 10.0  # seconds; a fit that ends by itself so long after a signal has not listened


@dataclass(frozen=True)
class Ending:
    """How one process ended: signal, exit code (128 + number where a signal ended it), seconds from signal to end, when it was sent."""

    name: str
    code: int
    seconds: float
    sent_after: float
    fault: str


def trials(n: int, seed: int) -> Outcome:
    """Signals to fits at random times until `n` of them met a running fit: those that came after its end are checked, and not counted."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made))
        endings: list[Ending] = []
        while bench.met < n and len(endings) < 20 + 4 * n:  # a program that is deaf to signals is not tried for good
            kind, how = KINDS[bench.met % 4], SCHEDULES[bench.met // 4 % 4]
            endings.append(bench.one(kind, how, rng.random(), rng.choice(SIGNALS)))
    deaf = bench.met < n
    return Outcome("P27: signals", bench.met, sum(bool(ending.fault) for ending in endings) + deaf, remarks_of(endings))


class Bench:
    """A table, the models that its fits lead to, and how long they take: learnt as they go, a machine is not as busy all the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = write_store(folder / "stars.zarr", survey_rows(ROWS), chunk_rows=4096)
        self.expected: dict[str, str] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        self.fits = self.met = 0
        undisturbed("forked", self.store, folder / "first", SCHEDULES[0])  # brings up the process that the others are forked from

    def one(self, kind: str, how: str, when: float, name: str) -> Ending:
        """One fit, one signal within a little more than a whole fit takes, one resume. when: 0..1 of that."""
        if how not in self.expected:
            self.expected[how] = whole(self.store, self.folder / how, how)
        if (kind, how) not in self.seconds:
            self.seconds[kind, how] = undisturbed(kind, self.store, self.folder / f"{kind}-{how}", how)
        self.fits += 1
        delay = when * 1.1 * self.seconds[kind, how]
        ending = one(kind, self.store, self.folder / f"run{self.fits}", delay, name, self.expected[how], how)
        if ending.code == DONE:
            self.seconds[kind, how] *= 0.9
        else:
            self.met += 1
            self.seconds[kind, how] *= 1.02
        return ending


def remarks_of(endings: list[Ending]) -> dict[str, Any]:
    """Seconds, codes, faults."""
    stopped = [round(ending.seconds, 4) for ending in endings if ending.code == STOPPED]
    codes: dict[int, int] = {}
    for ending in endings:
        if ending.code != DONE:
            codes[ending.code] = codes.get(ending.code, 0) + 1
    return {
        "seconds to exit 75": {"values": stopped} if stopped else {},
        "exit codes": dict(sorted(codes.items())),
        "signals after the end, not counted": sum(ending.code == DONE for ending in endings),
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
    fault = fault_of(code, name, store, run, expected, schedule)
    if code == DONE and seconds > DEAF:
        fault = f"it went on for {seconds:.1f} s to its end"
    return Ending(name, code, seconds, delay, fault)


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
