"""A Dask cluster: one task per power-of-two span of blocks. Floor 4.

The function (with all parameters) is one submitted object, not scattered: it survives the loss of the worker that holds it. Merges
inside a span happen on the worker, in the fixed tree. A bounded window of spans is outstanding. No actors, no pinning, explicit
keys. streamgmm never starts a cluster here; the command line does so with `--local N` only.
"""

__all__ = ["DaskDistributed"]

import itertools
import time
import uuid
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import distributed
from dask.delayed import Delayed
from threadpoolctl import ThreadpoolController

from streamgmm.block import Block
from streamgmm.errors import ClusterError, ConfigError, DataError, NoWorkersError, PoisonBlockError, SchedulerLostError, StreamGMMError
from streamgmm.events import Event
from streamgmm.executors._address import check_address
from streamgmm.executors.base import PATIENCE, WAITING, AbstractExecutor, BlockFunction, Found, Merge, Sound, accepted
from streamgmm.reduce import Span, TreeReducer, remaining
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")

MOST_BLOCKS_A_SPAN = 64
SPANS_AHEAD = 3  # tasks a thread that are outstanding, at most
SPANS_A_THREAD = 4  # at least so many tasks a thread and pass, so that no worker waits long for the last one
MANY_SPANS = 1024  # a scheduler bears a few hundred tasks a second: beyond this many a pass, one or two a thread have to do


class DaskDistributed(AbstractExecutor):
    """Computes on the cluster of a client, of an address, or of the current client.

    client: distributed.Client, a scheduler address, or None for the current client. timeout: seconds to wait for the first worker.
    insecure: accept an address off this machine whose traffic is neither encrypted nor authenticated.
    stall_timeout: seconds without any finished span after which the fit stops with ClusterError.
    """

    name = "dask_distributed"

    def __init__(
        self,
        client: "distributed.Client | str | None" = None,
        *,
        timeout: float = 60.0,
        stall_timeout: float = 300.0,
        insecure: bool = False,
    ) -> None:
        if isinstance(client, str):
            check_address(client, insecure=insecure)
        self._client = _find_client(client, timeout)
        self._timeout, self._stall_timeout = timeout, stall_timeout
        self._wait_for_workers()

    @property
    def client(self) -> "distributed.Client":
        """The client in use."""
        return self._client

    @property
    def workers(self) -> int:
        """Threads of all workers."""
        return max(1, sum(int(n) for n in self._client.nthreads().values()))

    @property
    def blocks_in_memory(self) -> int:
        """A worker process holds two blocks a thread: the one computed and the next one."""
        return 2 * max((int(n) for n in self._client.nthreads().values()), default=1)

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=self._timeout)
        except TimeoutError as error:
            raise NoWorkersError(
                f"no Dask worker came to {self._client.scheduler.address if self._client.scheduler else 'the scheduler'}"
                f" within {self._timeout:g} s; start workers, then resume"
            ) from error

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
        del sound
        if source.n_blocks is None or not source.repeatable:
            raise DataError("a Dask cluster needs rows that can be read by block number; an iterator cannot be. Store the rows first.")
        run = uuid.uuid4().hex[:12]
        todo = remaining(source.n_blocks, span_level(source, self.workers), done)
        outstanding: dict[Any, Span] = {}
        try:
            first = list(itertools.islice(todo, SPANS_AHEAD * self.workers + 2))
            rows = self._portable(source, first)
            # A source that is the same for all spans travels once for all of them.
            common = source if rows and all(piece is source for piece in rows) else None
            shared = self._client.submit(_identity, (function, merge, common), key=f"streamgmm-{run}-parameters", pure=False)
            outstanding.update(self._submit(shared, rows, source, first, run))
            while outstanding:
                yield from self._finished(outstanding, source)
                # Many at once: a graph costs the scheduler milliseconds, however few its tasks are.
                if len(outstanding) <= (SPANS_AHEAD - 1) * self.workers + 1:
                    following = list(itertools.islice(todo, self.workers + 1))
                    outstanding.update(self._submit(shared, self._portable(source, following), source, following, run))
        finally:
            if outstanding:
                self._client.cancel(list(outstanding), force=True)

    def _portable(self, source: AbstractSource, some: list[Span]) -> list[Any]:
        assert source.n_blocks is not None
        rows = [source.portable(span.first, span.last(source.n_blocks)) for span in some]
        delayed = [piece for piece in rows if isinstance(piece, Delayed)]
        computed = iter(self._client.compute(delayed) if delayed else ())
        return [next(computed) if isinstance(piece, Delayed) else piece for piece in rows]

    def _submit(self, shared: Any, rows: list[Any], source: AbstractSource, some: list[Span], run: str) -> dict[Any, Span]:
        assert source.n_blocks is not None
        if not some:
            return {}
        own = [None if piece is source else piece for piece in rows]
        first, last = [span.first for span in some], [span.last(source.n_blocks) for span in some]
        keys = [f"streamgmm-{run}-{span.level}-{span.number}" for span in some]
        futures = self._client.map(_run_span, own, first, last, shared=shared, key=keys, pure=False, batch_size=len(some))
        return dict(zip(futures, some, strict=True))

    def _finished(self, outstanding: dict[Any, Span], source: AbstractSource) -> Iterator["Found[Any]"]:
        """Results of the spans that are done, at least one, taken out of those outstanding."""
        done = yield from self._wait(outstanding)
        try:
            values = self._client.gather(done)
        except Exception:  # noqa: BLE001  (any task's own error: each future says below what is wrong with it)
            values = None
        for number, future in enumerate(done):
            span = outstanding.pop(future)
            yield span, self._result(future, span, source) if values is None else values[number]

    def _wait(self, outstanding: dict[Any, Span]) -> Generator[Event, None, list[Any]]:
        began = time.monotonic()
        while time.monotonic() - began < self._stall_timeout:
            try:
                with self._client.as_current():
                    return list(distributed.wait(list(outstanding), timeout=PATIENCE, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                yield WAITING
        names = ", ".join(str(span.first) for span in list(outstanding.values())[:5])
        raise ClusterError(
            f"no span finished within {self._stall_timeout:g} s; {len(self._client.nthreads())} workers are there, waiting for the"
            f" spans that start at blocks {names}. Look at the cluster, then resume."
        )

    def _result(self, future: Any, span: Span, source: AbstractSource) -> Any:
        try:
            return future.result()
        except StreamGMMError:
            raise
        except distributed.KilledWorker as error:
            raise PoisonBlockError(
                f"blocks {span.first} to {span.last(source.n_blocks or 0) - 1}: the workers that computed them died"
                f" ({error.last_worker.address}). Look at that worker's log (memory?), then resume."
            ) from error
        except (distributed.client.FutureCancelledError, distributed.CancelledError, OSError) as error:
            raise SchedulerLostError(f"the cluster lost blocks from {span.first} on: {error}. Start a scheduler, then resume.") from error


def span_level(source: AbstractSource, workers: int) -> int:
    """Level of the spans: whole chunks of the store, at most 64 blocks, and several tasks for each thread."""
    assert source.n_blocks is not None
    chunk = -(-source.rows_per_read // source.block_rows)
    tasks = min(SPANS_A_THREAD * workers, max(workers, MANY_SPANS))
    wanted = min(MOST_BLOCKS_A_SPAN, source.n_blocks // tasks)
    return max(max(wanted, 1).bit_length() - 1, (min(chunk, MOST_BLOCKS_A_SPAN) - 1).bit_length())


def _identity(value: T) -> T:
    return value


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of this process that have threads of their own; finding them takes milliseconds."""
    return ThreadpoolController()


def _run_span(
    own: AbstractSource | None, first: int, last: int, *, shared: tuple[BlockFunction[T], "Merge[T]", AbstractSource | None]
) -> T:
    """Runs on a worker: the blocks of one span in the fixed tree, each read while the one before is computed."""
    function, merge, common = shared
    source = common if own is None else own
    assert source is not None
    tree: TreeReducer[T] = TreeReducer(merge)
    with _libraries().limit(limits=1), ThreadPoolExecutor(1, "streamgmm-read") as reader:
        ahead = reader.submit(source.read, first)
        for index in range(first, last):
            block: Block = ahead.result()
            if index + 1 < last:
                ahead = reader.submit(source.read, index + 1)
            tree.add(Span(index - first, 0), function(block))
    whole = tree.result()
    assert whole is not None
    return whole


def _find_client(client: "distributed.Client | str | None", timeout: float) -> "distributed.Client":
    if isinstance(client, distributed.Client):
        return client
    if client is None:
        try:
            return distributed.get_client()
        except ValueError as error:
            raise ConfigError("there is no current Dask client; make one, or pass a client or a scheduler address") from error
    if not isinstance(client, str):
        raise ConfigError(f"client must be a distributed.Client, a scheduler address or None, got {type(client).__name__}")
    try:
        return distributed.Client(client, timeout=timeout, set_as_default=False)
    except Exception as error:  # whatever answers there may send anything
        raise ClusterError(f"no Dask scheduler answered at {client!r} within {timeout:g} s: {type(error).__name__}: {error}") from error
