"""Executors and functions that the benchmarks map over blocks: passes with their times, and reads without any computing."""

__all__ = ["Timed", "add", "count_rows", "mixture_of", "time_passes"]

import time
from collections.abc import Collection, Generator
from statistics import median
from typing import Any, TypeVar

from benchmarks.standard import Parameters
from streamgmm.block import Block
from streamgmm.components.gaussian_full import GaussianFull
from streamgmm.em import merge_partials
from streamgmm.executors.base import AbstractExecutor, BlockFunction, Found, Merge, Sound, accepted
from streamgmm.mixture import Mixture
from streamgmm.passes import BlockStatistics
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource
from streamgmm.weights.free import FreeWeights

T = TypeVar("T")


class Timed(AbstractExecutor):
    """Another executor that notes the seconds of every pass, by the clock and of this process's processors."""

    name = "timed"

    def __init__(self, inner: AbstractExecutor) -> None:
        self.inner = inner
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []

    @property
    def workers(self) -> int:
        """See the base class."""
        return self.inner.workers

    @property
    def blocks_in_memory(self) -> int:
        """See the base class."""
        return self.inner.blocks_in_memory

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
        began, worked = time.perf_counter(), time.process_time()
        yield from self.inner.map_spans(function, merge, source, done=done, sound=sound)
        self.seconds.append(time.perf_counter() - began)
        self.processor_seconds.append(time.process_time() - worked)

    def summary(self) -> dict[str, Any]:
        """Every pass, and the medians without the first, which warms caches up (unless it is the only one)."""
        return {
            "seconds": self.seconds,
            "seconds_per_pass": median(self.seconds[1:] or self.seconds),
            "processor_seconds_per_pass": median(self.processor_seconds[1:] or self.processor_seconds),
        }


def count_rows(block: Block) -> int:
    """What a pass of reading only maps over the blocks."""
    return block.n_rows


def add(a: int, b: int) -> int:
    """What it merges by."""
    return a + b


def mixture_of(parameters: Parameters) -> Mixture:
    """streamgmm's mixture with full covariances."""
    return Mixture(GaussianFull(parameters.means, parameters.covariances), FreeWeights(parameters.weights))


def time_passes(executor: AbstractExecutor, source: AbstractSource, mixture: Mixture, n_passes: int) -> dict[str, Any]:
    """E-steps over the whole source about one mixture; the first of 1 + n_passes warms up."""
    timed = Timed(executor)
    function = BlockStatistics((mixture,), source.block_rows, hard=False)
    for _ in range(1 + n_passes):
        total = timed.map_reduce(function, merge_partials, source)
    assert total is not None
    found = total.statistics[0]
    return {**timed.summary(), "rows": found.rows, "log_likelihood": found.log_likelihood}
