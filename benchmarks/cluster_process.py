"""A part of a cluster in a process of its own, for benchmarks.scheduler_load: the scheduler, many workers, or the driver.

    python -m benchmarks.cluster_process scheduler FILE                the scheduler; writes its address to FILE
    python -m benchmarks.cluster_process workers FILE 100              so many real workers of one thread each, all in this process
    python -m benchmarks.cluster_process light FILE 1000 64 6 0.5      so many light ones (benchmarks/light_workers.py), 0.5 s a task
    python -m benchmarks.cluster_process driver FILE 100 1000 64 6     waits for 100 workers, one pass of 1,000 spans, K = 64, D = 6

Scheduler and workers end when their standard input ends. Each prints one line of JSON at its end. The driver runs the real executor;
blocks cost nothing, and their function returns at once a statistics object of real size. The only thing changed is the executor's
limit on blocks a span (1 here), so that so many spans need no more blocks.
"""

__all__ = ["main"]

import argparse
import asyncio
import json
import logging
import pickle
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np

from benchmarks.light_workers import light_workers
from benchmarks.processes import peak_bytes
from benchmarks.standard import Array, standard_mixture
from benchmarks.timed import mixture_of
from streamgmm.block import Block
from streamgmm.checksums import checksum
from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.em import MixtureStatistics, Partial, merge_partials
from streamgmm.executors import dask_distributed
from streamgmm.executors._span_task import Answer
from streamgmm.mixture import Mixture
from streamgmm.sources.base import AbstractSource

LOOPBACK = Path("/proc/net/dev")


@dataclass(frozen=True, eq=False)
class Instant:
    """A function of a block that computes nothing: statistics of one row."""

    mixture: Mixture

    def __call__(self, block: Block) -> Partial:
        components = self.mixture.components
        assert isinstance(components, AbstractGaussian)
        k, d = components.means.shape
        second = np.zeros(components.structure.second_shape(k, d))
        moments = GaussianMoments(components.means, np.zeros(k), np.zeros((k, d)), second)
        statistics = (MixtureStatistics(block.n_rows, 0, 1.0, -1.0, moments),)
        return Partial("", statistics, np.array([checksum(block.x)], np.uint32))


@dataclass(frozen=True, eq=False, kw_only=True)
class Blank(AbstractSource):
    """Blocks of one row of zeros."""

    rows: int

    @property
    def n_rows(self) -> int:
        """See the base class."""
        return self.rows

    @property
    def dtype(self) -> "np.dtype[Any]":
        """See the base class."""
        return np.dtype(np.float64)

    def load(self, index: int) -> Array:
        """See the base class."""
        return np.zeros((1, self.n_features))

    def portable_rows(self, first: int, last: int) -> "Blank":
        """See the base class."""
        return self


def usage() -> dict[str, Any]:
    """Of this process."""
    return {"peak_bytes": peak_bytes(), "processor_seconds": time.process_time()}


def answer_of_a_span(k: int, d: int) -> Answer[Partial]:
    """What a worker sends back, of real size."""
    source = blank(d, 1)
    return Answer(Instant(mixture_of(standard_mixture(k, d, 0)))(source.read(0)), "tcp://127.0.0.1:40000", {})


def blank(d: int, rows: int) -> Blank:
    """So many blocks of one row."""
    return Blank(feature_names=tuple(map(str, range(d))), units=("",) * d, block_rows=1, rows=rows)


async def work_lightly(address: str, given: argparse.Namespace) -> dict[str, Any]:
    """Many light workers in one process and event loop."""
    result = answer_of_a_span(given.n_components, given.n_features)
    async with light_workers(address, given.n_workers, result, len(pickle.dumps(result)), given.seconds):
        await until_input_ends()
        return usage()


async def until_input_ends() -> None:
    """The parent closes it."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def schedule(file: Path) -> dict[str, Any]:
    """A scheduler on loopback."""
    async with distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0") as scheduler:
        file.with_suffix(".new").write_text(str(scheduler.address), encoding="ascii")
        file.with_suffix(".new").rename(file)
        await until_input_ends()
        return {**usage(), "transitions": scheduler.transition_counter}


async def work(address: str, n_workers: int) -> dict[str, Any]:
    """Many workers in one process and event loop, without nannies."""
    async with AsyncExitStack() as stack:
        for number in range(n_workers):
            worker = distributed.Worker(address, nthreads=1, name=str(number), memory_limit=0, dashboard=False)
            await stack.enter_async_context(worker)
        await until_input_ends()
        return usage()


def loopback_bytes() -> int:
    """That went through the loopback device so far; 0 where nobody counts."""
    if not LOOPBACK.exists():
        return 0
    line = next(line for line in LOOPBACK.read_text(encoding="ascii").splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def drive(address: str, given: argparse.Namespace) -> dict[str, Any]:
    """One pass of the real executor."""
    dask_distributed.MOST_BLOCKS_A_SPAN = 1
    source = blank(given.n_features, given.spans)
    function = Instant(mixture_of(standard_mixture(given.n_components, given.n_features, 0)))
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(given.n_workers, timeout=300)
        executor = dask_distributed.DaskDistributed(client)
        executor.map_reduce(function, merge_partials, replace(source, rows=2 * given.n_workers))
        moved, began, worked = loopback_bytes(), time.perf_counter(), time.process_time()
        total = executor.map_reduce(function, merge_partials, source)
        seconds, worked, moved = time.perf_counter() - began, time.process_time() - worked, loopback_bytes() - moved
        assert total is not None
    return {
        "spans": total.rows,
        "seconds": seconds,
        "moved_bytes": moved,
        "result_bytes": len(pickle.dumps(answer_of_a_span(given.n_components, given.n_features))),
        "source_bytes": len(pickle.dumps(source)),
        **usage(),
        "pass_processor_seconds": worked,
    }


def main() -> None:
    """Print what was used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, numbers in {
        "scheduler": (),
        "workers": ("n_workers",),
        "light": ("n_workers", "n_components", "n_features"),
        "driver": ("n_workers", "spans", "n_components", "n_features"),
    }.items():
        one = verbs.add_parser(verb)
        one.add_argument("file", type=Path)
        for number in numbers:
            one.add_argument(number, type=int)
        if verb == "light":
            one.add_argument("seconds", type=float, help="that a task takes")
    given = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if given.verb == "scheduler":
        found = asyncio.run(schedule(given.file))
    elif given.verb == "workers":
        with dask.config.set({"distributed.worker.memory.spill": False, "distributed.admin.system-monitor.interval": "10s"}):
            found = asyncio.run(work(given.file.read_text(encoding="ascii"), given.n_workers))
    elif given.verb == "light":
        found = asyncio.run(work_lightly(given.file.read_text(encoding="ascii"), given))
    else:
        found = drive(given.file.read_text(encoding="ascii"), given)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
