"""Threads of this process: kernels release the interpreter lock, so blocks run side by side. Floor 4.

Reader threads fetch and decode the next blocks while the current ones are computed; rows that are in memory need none. A bounded
window of blocks is in flight.
"""

__all__ = ["Threads", "available_cores"]

import os
from collections import deque
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from typing import Any, TypeVar

from streamgmm.block import Block
from streamgmm.errors import ConfigError
from streamgmm.events import Event
from streamgmm.executors.base import PATIENCE, WAITING, AbstractExecutor, BlockFunction, Found, Merge, Sound, accepted
from streamgmm.reduce import Span, remaining
from streamgmm.sources.base import AbstractSource, EndOfSource

T = TypeVar("T")

LEAVING = 1.0  # seconds that a pass left early waits for what has begun; longer blocks end by themselves, and nobody takes their results


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads(AbstractExecutor):
    """`n_threads` blocks at a time (default: the cores this process may use), the next ones read meanwhile.

    strict: a run that was begun where the last bits come out differently is refused, not only told.
    """

    name = "threads"

    def __init__(self, n_threads: int | None = None, *, strict: bool = False) -> None:
        if n_threads is not None and (isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1):
            raise ConfigError(f"n_threads must be an int >= 1, got {n_threads!r}")
        self._n_threads = n_threads or available_cores()
        self._strict = strict

    @property
    def workers(self) -> int:
        """Threads that compute."""
        return self._n_threads

    @property
    def _readers(self) -> int:
        return (self._n_threads + 1) // 2

    @property
    def blocks_in_memory(self) -> int:
        """The window: those computed, and as many read ahead."""
        return 2 * self._n_threads + 1

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
        del merge, sound
        in_order = source.n_blocks is None  # an iterator hands its blocks to one reader
        readers = _pool("streamgmm-read", 1 if in_order else self._readers)
        workers = _pool("streamgmm-compute", self._n_threads)
        window: deque[tuple[Span, Future[T | None]]] = deque()
        reads: deque[Future[Block | None]] = deque(maxlen=self.blocks_in_memory)
        try:
            for index in count() if source.n_blocks is None else (span.first for span in remaining(source.n_blocks, 0, done)):
                if source.in_memory:  # handing a block from thread to thread would cost more than reading it
                    future = workers.submit(_read_and_compute, function, source, index)
                else:
                    reads.append(readers.submit(_read, source, index))
                    future = workers.submit(_compute, function, reads[-1])
                window.append((Span(index, 0), future))
                if len(window) >= self.blocks_in_memory:
                    yield from _patiently(window[0][1])
                    span, value = _next(window)
                    if value is None:
                        break
                    yield span, value
            while window:
                yield from _patiently(window[0][1])
                span, value = _next(window)
                if value is not None:
                    yield span, value
        finally:
            # Left early: what has not begun never does. A read may be needed by a computation that has begun: those first.
            begun: list[Future[Any]] = [future for _, future in window if not future.cancel()]
            wait([*begun, *(read for read in reads if not read.cancel())], timeout=LEAVING)


@cache
def _pool(name: str, n_threads: int) -> ThreadPoolExecutor:
    """Threads outlive a pass: starting them anew would cost milliseconds of each."""
    return ThreadPoolExecutor(n_threads, name)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # the threads stay with the parent


def _read(source: AbstractSource, index: int) -> Block | None:
    try:
        return source.read(index)
    except EndOfSource:
        return None


def _compute(function: BlockFunction[T], read: "Future[Block | None]") -> T | None:
    block = read.result()
    return None if block is None else function(block)


def _read_and_compute(function: BlockFunction[T], source: AbstractSource, index: int) -> T | None:
    block = _read(source, index)
    return None if block is None else function(block)


def _patiently(future: "Future[T | None]") -> Iterator[Event]:
    """WAITING until the future is done."""
    while not future.done():
        try:
            future.exception(PATIENCE)
        except TimeoutError:
            yield WAITING


def _next(window: "deque[tuple[Span, Future[T | None]]]") -> tuple[Span, T | None]:
    span, future = window.popleft()
    return span, future.result()
