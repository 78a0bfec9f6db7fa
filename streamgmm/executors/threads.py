"""Threads of this process: kernels release the interpreter lock, so blocks run side by side. Floor 4.

Reader threads fetch and decode the next blocks while the current ones are computed. A bounded window of blocks is in flight.
"""

__all__ = ["Threads"]

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import TypeVar

from streamgmm.block import Block
from streamgmm.errors import ConfigError
from streamgmm.executors.base import AbstractExecutor, BlockFunction, Merge
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource, EndOfSource

T = TypeVar("T")


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads(AbstractExecutor):
    """`n_threads` blocks at a time (default: the cores this process may use), the next ones read meanwhile."""

    name = "threads"

    def __init__(self, n_threads: int | None = None) -> None:
        if n_threads is not None and (isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1):
            raise ConfigError(f"n_threads must be an int >= 1, got {n_threads!r}")
        self._n_threads = n_threads or available_cores()

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

    def map_spans(self, function: BlockFunction[T], merge: "Merge[T]", source: AbstractSource) -> Iterator[tuple[Span, T]]:
        """See the base class."""
        del merge
        in_order = source.n_blocks is None  # an iterator hands its blocks to one reader
        readers = ThreadPoolExecutor(1 if in_order else self._readers, "streamgmm-read")
        workers = ThreadPoolExecutor(self._n_threads, "streamgmm-compute")
        window: deque[tuple[Span, Future[T | None]]] = deque()
        try:
            for index in count() if source.n_blocks is None else range(source.n_blocks):
                read = readers.submit(_read, source, index)
                window.append((Span(index, 0), workers.submit(_compute, function, read)))
                if len(window) >= self.blocks_in_memory:
                    span, value = _next(window)
                    if value is None:
                        break
                    yield span, value
            while window:
                span, value = _next(window)
                if value is not None:
                    yield span, value
        finally:
            for pool in (workers, readers):
                pool.shutdown(wait=True, cancel_futures=True)


def _read(source: AbstractSource, index: int) -> Block | None:
    try:
        return source.read(index)
    except EndOfSource:
        return None


def _compute(function: BlockFunction[T], read: "Future[Block | None]") -> T | None:
    block = read.result()
    return None if block is None else function(block)


def _next(window: "deque[tuple[Span, Future[T | None]]]") -> tuple[Span, T | None]:
    span, future = window.popleft()
    return span, future.result()
