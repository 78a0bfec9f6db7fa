"""A Dask cluster of real processes on loopback that comes back when it is killed: nothing of Dask's own restarts them.

Only processes that were started here are ever signalled, by their number. Workers are forked from a process that has imported all
they need: hundreds of them start in a time in which a few would be imported.
"""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from distributed.cli import dask_worker

from tests.running import environment

ROOT = Path(__file__).resolve().parents[1]
WORKER = "STREAMGMM_TESTS_WORKER"  # set in the workers, so that rows that kill spare the process of the test
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SECONDS_TO_START = 90.0
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.supervisor", "streamgmm.passes", "streamgmm.executors.dask_distributed"])


class Supervisor:
    """One scheduler and `n_workers` workers of one thread; a worker that ends is started again while `restart` is true.

    settings: more environment variables, such as DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES.
    """

    def __init__(self, n_workers=2, **settings):
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        self.restart = True
        self.starts = 0
        self._environment = environment(**ONE_THREAD, PYTHONPATH=str(ROOT), **settings)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.scheduler = None
        self.workers = [None] * n_workers
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self):
        self.start_scheduler()
        self._keeper.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._keeper.join(10)
        for process in (*self.workers, self.scheduler):
            _end(process)

    def start_scheduler(self):
        """A new one at the same address, without any memory of the one before; so are the workers."""
        with self._lock:
            for process in self.workers:
                _end(process)
        port = self.address.rpartition(":")[2]
        self.scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        until = time.monotonic() + SECONDS_TO_START
        while not _listens(int(port)):
            assert time.monotonic() < until, "the scheduler did not start"
            time.sleep(0.05)

    def kill_scheduler(self):
        _end(self.scheduler)

    def kill(self, luck=random, number=signal.SIGKILL):
        """Signal a worker; its process, None where none is alive."""
        with self._lock:
            alive = [process for process in self.workers if process is not None and process.is_alive()]
            if not alive:
                return None
            process = luck.choice(alive)
            os.kill(process.pid, number)
            return process

    def freeze(self, seconds, luck=random):
        """Stop a worker, and let it go on after a while; whether one was alive."""
        process = self.kill(luck, signal.SIGSTOP)
        if process is not None:
            waker = threading.Timer(seconds, self._wake, (process,))
            waker.daemon = True
            waker.start()
        return process is not None

    def _wake(self, process):
        with self._lock:
            if process.is_alive():
                os.kill(process.pid, signal.SIGCONT)

    def kill_all(self):
        """All workers, for good."""
        self.restart = False
        with self._lock:
            for process in self.workers:
                _end(process)

    def _keep(self):
        while not self._ended.wait(0.1):
            with self._lock:
                for place, process in enumerate(self.workers):
                    if self.restart and (process is None or not process.is_alive()):
                        self.starts += 1
                        self.workers[place] = FORKS.Process(target=_work, args=(self.address,), daemon=True)
                        self.workers[place].start()

    def _start(self, module, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=ROOT, env=self._environment, start_new_session=True, **quiet)


def _work(address):
    """Runs in a worker process."""
    os.environ[WORKER] = "1"
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    arguments = [address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", "--memory-limit", "0", "--no-dashboard"]
    dask_worker.main([*arguments, "--death-timeout", "60"])


def in_worker():
    """Whether this process is a worker of a supervisor."""
    return WORKER in os.environ


def _end(process):
    if process is not None:
        with suppress(ProcessLookupError):
            process.kill()
        process.join(10) if hasattr(process, "join") else process.wait(10)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _listens(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
