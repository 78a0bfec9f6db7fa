"""Where a command runs: this process's threads, a cluster that is there, or one that is started for it alone. Floor 8.

`--local N` is the only thing in the package that starts a cluster: N processes of one thread, on loopback, without a dashboard.
"""

__all__ = ["Where"]

import contextlib
import importlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import dask
from dask.system import cpu_count

from streamgmm.errors import ClusterError, ConfigError, nearest
from streamgmm.executors._address import check_address
from streamgmm.executors._background import in_background
from streamgmm.executors.base import AbstractExecutor
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads

try:
    import resource
except ImportError:  # pragma: no cover  (not on Windows)
    resource = None  # type: ignore[assignment]

HERE = ("serial", "threads")
MOST_A_CORE = 4
LEAVING = 2.0  # seconds that ending a cluster of our own may take, before it is left to end by itself
LARGEST_SCHEDULER_FILE = 1 << 20


@final
@dataclass(frozen=True)
class Where:
    """At most one of: executor ("serial" or "threads"), scheduler (address), scheduler_file, local (processes to start).

    threads, local: a number, or "auto" for the cores that this process may use. insecure_cluster: accept an address whose traffic is
    neither encrypted nor authenticated. strict: a worker, or a machine that goes on with a run, is refused where it would give other last
    bits. stall_timeout: seconds without any result of a cluster that are borne, None for the executor's own.
    """

    executor: str | None = None
    threads: int | str | None = None
    scheduler: str | None = None
    scheduler_file: str | os.PathLike[str] | None = None
    local: int | str | None = None
    insecure_cluster: bool = False
    strict: bool = False
    stall_timeout: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("executor", "scheduler", "scheduler_file", "local") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} contradict each other; give one of them")
        if self.executor is not None and self.executor not in HERE:
            raise ConfigError(f"executor must be one of {', '.join(HERE)}, got {self.executor!r}{nearest(self.executor, HERE)}")
        if self.threads is not None and (given not in ([], ["executor"]) or self.executor == "serial"):
            raise ConfigError(f"threads={self.threads!r} is for the executor 'threads'; leave one of the two out")

        if self.stall_timeout is not None and self.name != "dask_distributed":
            raise ConfigError(f"stall_timeout={self.stall_timeout!r} is for a cluster; name one (scheduler, local), or leave it out")

    @property
    def name(self) -> str:
        """Name of the executor."""
        clustered = self.local is not None or self.scheduler is not None or self.scheduler_file is not None
        return "dask_distributed" if clustered else self.executor or "threads"

    @property
    def n_threads(self) -> int:
        """Threads of this process that compute."""
        return 1 if self.executor == "serial" else _count("threads", "auto" if self.threads is None else self.threads)

    @property
    def n_processes(self) -> int:
        """Worker processes to be started."""
        return 0 if self.local is None else _count("local", self.local)

    @property
    def address(self) -> str | None:
        """Address of the scheduler, checked. Raises SecurityError, ConfigError."""
        found = _address_in(Path(self.scheduler_file)) if self.scheduler_file is not None else self.scheduler
        if found is not None:
            check_address(found, insecure=self.insecure_cluster)
        return found

    @contextlib.contextmanager
    def open(self) -> Iterator[AbstractExecutor]:
        """The executor; what was started or opened for it is closed at the end. Raises ClusterError and its kin."""
        if self.name == "serial":
            yield Serial(strict=self.strict)
        elif self.name == "threads":
            yield Threads(self.n_threads, strict=self.strict)
        elif self.local is not None:
            with _local_cluster(self.n_processes) as address:
                yield from self._on_cluster(address)
        else:
            yield from self._on_cluster(str(self.address))

    def _on_cluster(self, address: str) -> Iterator[AbstractExecutor]:
        how = {"insecure": True, "strict": self.strict} | ({} if self.stall_timeout is None else {"stall_timeout": self.stall_timeout})
        # distributed takes half a second to import: only those who use a cluster pay for it.
        executor = importlib.import_module("streamgmm.executors.dask_distributed").DaskDistributed(address, **how)
        try:
            yield executor
        finally:
            executor.close()


@contextlib.contextmanager
def _local_cluster(n_processes: int) -> Iterator[str]:
    distributed = importlib.import_module("distributed")
    options = {
        # A worker that is restarting when the scheduler looks is given up for good after 15 s by default.
        "distributed.deploy.lost-worker-timeout": "1h",
        "distributed.scheduler.allowed-failures": 3,
        "distributed.scheduler.no-workers-timeout": None,  # the executor watches, and says what to do
        # The scheduler shares this process with the fit: profiles and ticks that nobody looks at cost it a part of a core.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        # No pages: they tell anybody on this machine what is computed, and some of them do things.
        "distributed.scheduler.http.routes": ["distributed.http.health"],
        "distributed.worker.http.routes": ["distributed.http.health"],
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(options))
        try:
            cluster = distributed.LocalCluster(
                n_workers=n_processes,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.ERROR,
                preload=["streamgmm.commands._worker"],
            )
        except (RuntimeError, OSError) as error:  # distributed says what failed in the causes of an error of its own
            raise ClusterError(f"a cluster of {n_processes} process(es) cannot be started: {_first_cause(error)}{_limits()}") from error
        # Workers end with this process: a stop does not wait long for those that do not answer.
        stack.callback(lambda: wait([in_background(cluster.close, LEAVING)], timeout=2 * LEAVING))
        yield str(cluster.scheduler_address)


def _first_cause(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"


def _limits() -> str:
    """How many files and processes this process may have, which is what a cluster runs out of."""
    if resource is None:
        return ""
    files, processes = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    said = ["no limit" if number == resource.RLIM_INFINITY else str(number) for number in (files, processes)]
    return (
        f"; open files allowed: {said[0]}, processes: {said[1]}; a worker needs some 20 files: raise the limit (ulimit -n) or start fewer"
    )


def _count(name: str, wanted: int | str) -> int:
    """A number of threads or processes, no more than the machine can be expected to run."""
    cores = int(cpu_count())  # as far as affinity and control groups let this process
    if wanted == "auto":
        return cores
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise ConfigError(f"{name} must be a whole number >= 1 or 'auto', got {wanted!r}; this process may use {cores} core(s)")
    if wanted > MOST_A_CORE * cores:
        message = f"{name}={wanted} is more than {MOST_A_CORE} for each of the {cores} core(s) that this process may use"
        warnings.warn(f"{message}; {MOST_A_CORE * cores} are taken", UserWarning, stacklevel=3)
    return min(wanted, MOST_A_CORE * cores)


def _address_in(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_SCHEDULER_FILE or not path.is_file():
            raise ConfigError(f"{path} is not a scheduler file")
        found: Any = json.loads(path.read_bytes())
        address = found["address"]
    except OSError as error:
        raise ConfigError(f"cannot read the scheduler file {path}: {error.strerror or error}; has the scheduler started?") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f"{path} is not a scheduler file: expected JSON with the key 'address'") from None
    if not isinstance(address, str):
        raise ConfigError(f"{path} is not a scheduler file: its address is {type(address).__name__}, not text")
    return address
