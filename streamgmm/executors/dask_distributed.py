"""A Dask cluster: one task per power-of-two span of blocks. Floor 4.

The function (with all parameters) is one submitted object, not scattered: it survives the loss of the worker that holds it. Merges
inside a span happen on the worker, in the fixed tree. A bounded window of spans is outstanding. No actors, no pinning, explicit
keys. streamgmm never starts a cluster here; the command line does so with `--local N` only.
"""

__all__ = ["DaskDistributed"]

import os
import time
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TypeVar

import distributed

from streamgmm.errors import ClusterError, ConfigError, DataError
from streamgmm.events import Event
from streamgmm.executors import _worker_checks
from streamgmm.executors._address import check_address
from streamgmm.executors._background import in_background
from streamgmm.executors._flight import Flight
from streamgmm.executors._span_task import Work
from streamgmm.executors._watch import Watch
from streamgmm.executors.base import PATIENCE, WAITING, AbstractExecutor, BlockFunction, Found, Merge, Sound, accepted
from streamgmm.numeric_profile import numeric_profile
from streamgmm.reduce import Span, remaining
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")

MOST_BLOCKS_A_SPAN = 16  # a lost worker, and a stop, cost so many blocks of each thread at most; silence longer than these is a stall
SPANS_A_THREAD = 4  # at least so many tasks a thread and pass, so that no worker waits long for the last one
MANY_SPANS = 1024  # a scheduler bears a few hundred tasks a second: beyond this many a pass, one or two a thread have to do
LEAVING = 2.0  # seconds that closing a client may take
CHECKS = 3  # times that the cluster is looked over while its workers come and go

# Errors of clients that could not connect; each holds its client. Collected while another one starts, such a client waits for good for a
# lock that its own thread holds (distributed 2026.8: Client.__del__, LoopRunner._lock).
_FAILED: list[BaseException] = []


class DaskDistributed(AbstractExecutor):
    """Computes on the cluster of a client, of an address, or of the current client.

    client: distributed.Client, a scheduler address, or None for the current client. timeout: seconds without any worker that are borne.
    insecure: accept an address off this machine whose traffic is neither encrypted nor authenticated.
    stall_timeout: seconds without any finished span after which the fit stops with StalledError. strict: workers whose numeric profile
    differs from this process's are refused, not only told.
    """

    name = "dask_distributed"

    def __init__(
        self,
        client: "distributed.Client | str | None" = None,
        *,
        timeout: float = 60.0,
        stall_timeout: float = 300.0,
        insecure: bool = False,
        strict: bool = False,
    ) -> None:
        for name, seconds in (("timeout", timeout), ("stall_timeout", stall_timeout)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
                raise ConfigError(f"{name} must be a number of seconds > 0, got {seconds!r}")
        if isinstance(client, str):
            check_address(client, insecure=insecure)
        self._client = _find_client(client, timeout)
        self._strict, self._process = strict, os.getpid()
        self._watch = Watch(self._client, timeout, stall_timeout)
        self._watch.first_answer()
        self._looked_over: AbstractSource | None = None
        self._odd: set[str] = set()

    @property
    def client(self) -> "distributed.Client":
        """The client in use."""
        return self._client

    @property
    def workers(self) -> int:
        """Threads of all workers."""
        return max(1, sum(self._watch.threads.values()))

    @property
    def blocks_in_memory(self) -> int:
        """A worker process holds two blocks a thread: the one computed and the next one."""
        return 2 * max(self._watch.threads.values(), default=1)

    @property
    def memory_limit(self) -> int | None:
        """The smallest limit of a worker process."""
        return min((limit for limit in self._watch.memory.values() if limit), default=None)

    def wait_for_workers(self) -> None:
        """Until there is one. Raises NoWorkersError; a pass waits by itself, and can be interrupted."""
        self._watch.begin()
        for _ in self._until(lambda: bool(self._watch.threads)):
            pass

    def close(self) -> None:
        """Close the client, without waiting long for a cluster that does not answer."""
        wait([in_background(self._client.close, LEAVING)], timeout=LEAVING)

    def map_spans(
        self,
        function: BlockFunction[T],
        merge: "Merge[T]",
        source: AbstractSource,
        *,
        done: Collection[Span] = (),
        sound: "Sound[T]" = accepted,
    ) -> Generator["Found[T]", None, None]:
        """See the base class."""
        if source.n_blocks is None or not source.repeatable:
            raise DataError("a Dask cluster needs rows that can be read by block number; an iterator cannot be. Store the rows first.")
        _leave_pool()
        yield from self.look_over(source)
        self._watch.begin()
        todo = remaining(source.n_blocks, span_level(source, self.workers), done)
        work = Work(function, merge, None, numeric_profile(), self._strict)
        flight = Flight(self._client, lambda: self._watch.threads, work, source, todo, sound, self._odd)
        try:
            while flight.fill():
                for found in flight.take():
                    if not isinstance(found, Event):
                        self._watch.progress()
                    yield found
                yield from self._watch.look(flight.waiting)
        finally:
            flight.cancel()

    def _until(self, ready: Callable[[], bool], what: str = "workers") -> Iterator[Event]:
        """WAITING until it is, under the watchdog's eyes."""
        while not ready():
            time.sleep(PATIENCE / 5)
            yield WAITING
            yield from self._watch.look(lambda: what)

    def look_over(self, source: AbstractSource) -> Iterator[Event]:
        """Wait for a worker; then versions, and a first read on every worker, once for each source. Raises ClusterError."""
        self._refuse_fork()
        self._watch.begin()
        yield from self._until(lambda: bool(self._watch.threads))
        source = source.whole
        for check in range(CHECKS if source is not self._looked_over else 0):
            before = set(self._watch.threads)
            call = in_background(_worker_checks.refuse_unfit_cluster, self, source)
            yield from self._until(call.done, "the answers of all workers to a first read")
            error = call.exception()
            if error is None:
                break
            yield from self._until(self._fresh_answer())
            if check + 1 == CHECKS or before == set(self._watch.threads):
                raise error
        self._looked_over = source

    def _fresh_answer(self) -> Callable[[], bool]:
        heard = self._watch.heard
        return lambda: self._watch.heard > heard + 1

    def _refuse_fork(self) -> None:
        if os.getpid() != self._process:
            raise ClusterError("this executor was made in another process, and its client does not survive a fork; make both in this one")


def span_level(source: AbstractSource, workers: int) -> int:
    """Level of the spans: whole chunks of the store, at most 16 blocks, and several tasks for each thread."""
    assert source.n_blocks is not None
    chunk = -(-source.rows_per_read // source.block_rows)
    tasks = min(SPANS_A_THREAD * workers, max(workers, MANY_SPANS))
    wanted = min(MOST_BLOCKS_A_SPAN, source.n_blocks // tasks)
    return max(max(wanted, 1).bit_length() - 1, (min(chunk, MOST_BLOCKS_A_SPAN) - 1).bit_length())


def _find_client(client: "distributed.Client | str | None", timeout: float) -> "distributed.Client":
    if isinstance(client, distributed.Client):
        if client.asynchronous:
            raise ClusterError("an asynchronous client cannot lead a fit; pass its address, or a Client made without asynchronous=True")
        return client
    if client is None:
        try:
            return distributed.get_client()
        except ValueError as error:
            raise ConfigError("there is no current Dask client; make one, or pass a client or a scheduler address") from error
    if not isinstance(client, str):
        raise ConfigError(f"client must be a distributed.Client, a scheduler address or None, got {type(client).__name__}")
    # What answers there may be no scheduler, and then a client waits for good: it is made beside, and not waited for.
    call: Future[distributed.Client] = in_background(distributed.Client, client, timeout=timeout, set_as_default=False)
    try:
        return call.result(timeout + LEAVING)
    except Exception as error:  # whatever answers there may send anything
        call.add_done_callback(_close_late)
        raise ClusterError(f"no Dask scheduler answered at {client!r} within {timeout:g} s: {type(error).__name__}: {error}") from error


def _close_late(call: "Future[distributed.Client]") -> None:
    error = call.exception()
    if error is None:
        call.result().close(timeout=LEAVING)
    else:
        _FAILED.append(error)


def _leave_pool() -> None:
    """A task that leads a fit gives its place in the worker's pool to the tasks that it waits for."""
    with suppress(ValueError, KeyError, AttributeError):  # no task, or it has left already
        distributed.secede()
