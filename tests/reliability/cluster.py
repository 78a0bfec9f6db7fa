"""P11, P29, P30, P31: fits on real worker processes that are killed, frozen and retired; poison blocks; a scheduler that dies."""

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from distributed import Client

from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import ClusterError, PoisonBlockError, SchedulerLostError
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.executors.serial import Serial
from streamgmm.job import Job
from streamgmm.model_file import model_hash
from streamgmm.sources.base import AbstractSource, EndOfSource
from tests.reliability.outcome import Outcome
from tests.supervisor import Supervisor, in_worker

PASSES, BLOCKS, BLOCK_ROWS = 3, 64, 64
CONFIGURATION = FitConfiguration(n_components=2, max_iter=PASSES, tol=0.0, block_rows=BLOCK_ROWS, checkpoint_every=0.5)
KINDS = ("kill", "kill", "kill", "freeze", "retire")


@dataclass(frozen=True, eq=False, kw_only=True)
class MadeRows(AbstractSource):
    """Rows that every process makes for itself, slowly. deadly: a block that kills the worker that reads it."""

    seconds: float = 0.02
    deadly: int = -1

    @property
    def n_rows(self):
        return BLOCKS * BLOCK_ROWS

    @property
    def dtype(self):
        return np.dtype(np.float64)

    def load(self, index):
        if not 0 <= index < BLOCKS:
            raise EndOfSource
        if in_worker():
            time.sleep(self.seconds)
            if index == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(index)
        return rng.normal(size=(BLOCK_ROWS, 2)) + np.where(rng.random(BLOCK_ROWS) < 0.5, 0.0, 6.0)[:, None]

    def portable_rows(self, first, last):
        return self


def source(**options):
    return MadeRows(feature_names=("a", "b"), units=("", ""), block_rows=BLOCK_ROWS, **options)


@contextmanager
def connected(cluster, **options):
    """An executor on a supervised cluster; its client is closed whatever happens."""
    executor = DaskDistributed(Client(cluster.address, set_as_default=False, timeout=60), **{"timeout": 60, "stall_timeout": 120} | options)
    try:
        yield executor
    finally:
        executor.close()


def _supervised(running):
    """A cluster for some trials: one that runs already, or a new one."""
    return Supervisor() if running is None else nullcontext(running)


def fitted(folder, executor, rows, observe=lambda event: None):
    """Hash of the model of a fit in a run folder, begun or gone on with."""
    run = Run(folder)
    Job(rows, CONFIGURATION, executor, observe=observe).fit_in(run)
    return model_hash(run.model_path)


def expected_hash(folder):
    return fitted(folder, Serial(), source())


class Nemesis:
    """An observer that does harm at moments drawn from a seed: `n` of them, spread over the events of a fit."""

    def __init__(self, cluster, client, n, luck):
        self._cluster, self._client, self._luck = cluster, client, luck
        self._events = 0
        self._moments = Counter(luck.randrange(1, PASSES * 4) for _ in range(n))
        self.harm, self.told = Counter(), Counter()

    def __call__(self, event):
        self.told[event.kind] += 1
        if event.kind == "reading":
            self._events += 1
            for _ in range(self._moments.pop(self._events, 0)):
                self._harm(self._luck.choice(KINDS))

    def _harm(self, kind):
        if kind == "kill":
            self.harm[kind] += self._cluster.kill(self._luck) is not None
        elif kind == "freeze":
            self.harm[kind] += self._cluster.freeze(1.0, self._luck)
        else:
            self.harm[kind] += 1
            threading.Thread(target=self._retire, daemon=True).start()

    def _retire(self):
        addresses = sorted(self._client.scheduler_info(n_workers=-1)["workers"])
        if addresses:
            self._client.retire_workers([self._luck.choice(addresses)])


def trials(n_fits: int, kills_per_fit: int, seed: int, running: Supervisor | None = None) -> Outcome:
    """P11: fits under kills; a violation is a fit that ends with an error or with another hash."""
    harm, told, hashes, failures, seconds = Counter(), Counter(), Counter(), [], []
    with tempfile.TemporaryDirectory() as folder, _supervised(running) as cluster:
        expected = expected_hash(Path(folder) / "expected")
        undisturbed = _timed(cluster, Path(folder) / "undisturbed", 0, random.Random(seed))[1]
        for number in range(n_fits):
            found, spent, nemesis = _timed(cluster, Path(folder) / str(number), kills_per_fit, random.Random(seed + number))
            hashes[found] += 1
            seconds.append(spent)
            harm.update(nemesis.harm)
            told.update(nemesis.told)
            if found != expected:
                failures.append((seed + number, found))
    remarks = {
        "distinct hashes": len(hashes),
        "failures": failures[:5],
        "harm": dict(harm),
        "events": dict(told),
        "seconds undisturbed": round(undisturbed, 2),
        "seconds": [round(value, 2) for value in seconds],
    }
    return Outcome("P11", n_fits, len(failures), remarks)


def worker_trials(n: int, seed: int) -> Outcome:
    """`n` fits with six kills each."""
    return trials(n, 6, seed)


def _timed(cluster, folder, n_kills, luck):
    with connected(cluster) as executor:
        executor.wait_for_workers()
        began, nemesis = time.monotonic(), Nemesis(cluster, executor.client, n_kills, luck)
        try:
            found = fitted(folder, executor, source(), nemesis)
        except Exception as error:  # noqa: BLE001  (whatever it is, it ended a fit)
            found = f"{type(error).__name__}: {error}"
        return found, time.monotonic() - began, nemesis


def poison_trials(n: int, seed: int, running: Supervisor | None = None) -> Outcome:
    """P31: a block that kills its workers is named, and the cluster lives on."""
    luck, wrong, starts = random.Random(seed), [], []
    with _supervised(running) as cluster:
        for _ in range(n):
            block, before = luck.randrange(1, BLOCKS), cluster.starts
            with connected(cluster) as executor:
                said = poisoned(executor, block)
                if f"block {block} (rows" not in said or not lives(executor):
                    wrong.append((block, said))
            starts.append(cluster.starts - before)
    return Outcome("P31", n, len(wrong), {"wrong": wrong[:5], "workers started again": starts})


def poisoned(executor, block):
    """What the error of a fit with a poison block says."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            fitted(Path(folder) / "run", executor, source(deadly=block, seconds=0.0))
        except PoisonBlockError as error:
            return str(error)
    return "no error"


def lives(executor):
    """Whether the cluster still computes."""
    executor.wait_for_workers()
    return executor.client.submit(sum, (1, 2), pure=False).result(timeout=60) == 3


def scheduler_trials(n: int, seed: int) -> Outcome:
    """P30: the scheduler is killed in mid-pass; it is noticed, the run is kept, and a new one leads to the same hash."""
    luck, seconds, wrong = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as folder:
        expected = expected_hash(Path(folder) / "expected")
        for number in range(n):
            found, noticed = without_scheduler(Path(folder) / str(number), luck.randrange(1, PASSES * 4))
            seconds.append(noticed)
            if found != expected or noticed > 30:
                wrong.append((number, found, noticed))
    return Outcome("P30", n, len(wrong), {"wrong": wrong[:5], "seconds until noticed": [round(value, 1) for value in seconds]})


def without_scheduler(folder, moment):
    """Hash after a resume on a new scheduler, and the seconds until the death of the first one was noticed."""
    killed = []
    with Supervisor(2) as cluster:

        def observe(event, seen=Counter()):  # noqa: B006  (one counter for each call of this function)
            seen[event.kind] += 1
            if seen["reading"] == moment and not killed:
                cluster.kill_scheduler()
                killed.append(time.monotonic())

        try:
            with connected(cluster) as executor:
                executor.wait_for_workers()
                fitted(folder, executor, source(), observe)
        except SchedulerLostError as error:
            if not killed:
                return str(error), 0.0
            noticed = time.monotonic() - killed[0]
        except ClusterError as error:
            return f"{type(error).__name__}: {error}", 0.0
        else:
            return "no error", 0.0
        cluster.start_scheduler()
        with connected(cluster) as executor:
            return fitted(folder, executor, source()), noticed
