"""What a fit will read, hold and compute, from shapes alone. Floor 8.

Nothing is read but metadata, and no cluster is started. The memory is a bound, not a guess: every part of it follows from shapes and
from the executor's window, but for the measured size of a process that has all libraries loaded and its kernels compiled.
"""

__all__ = ["kept_bytes", "plan"]

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamgmm.commands._places import open_table
from streamgmm.commands.where import Where
from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.exploration import MOST_SURVIVORS, explored_rows, parameters
from streamgmm.information import TILE
from streamgmm.initialisers._sample import SAMPLE_ROWS
from streamgmm.job import describe_source
from streamgmm.registry import implementation
from streamgmm.remaining_error import MOST_PARAMETERS
from streamgmm.sources._row_cache import BYTES_KEPT
from streamgmm.sources.base import AbstractSource

# Peak of a process that fits a table of 1,000 rows (Linux x86-64, Python 3.11, numpy 2.4, numba 0.68, scikit-learn 1.9, zarr 3.1):
# 337 MB, and 384 MB where it compiles the kernels, which is over before many blocks are in memory; of a Dask worker that compiles: 330 MB;
# of a process with client, scheduler and no rows: 420 MB.
PROCESS_BYTES = 370_000_000
WORKER_BYTES = 350_000_000
DRIVER_BYTES = 450_000_000
INFORMATION_COPIES, INFORMATION_TILES = 6, 6  # matrices of p x p, tiles of products on each of a few threads
SAMPLE_COPIES = 6  # rows as drawn, joined, standardised, and what k-means makes of them
RECORD_BYTES = 16_384  # of the kept sample's record and metadata
EXP_AND_SUMS = 35  # floating-point operations of a row and component that do not depend on d


class Window(NamedTuple):
    """What a process holds at the same time: blocks, readers that decode chunks; and how many processes and threads there are."""

    blocks: int
    readers: int
    processes: int
    threads: int


@dataclass(frozen=True)
class Shapes:
    """The numbers that everything follows from."""

    block_rows: int
    d: int
    k: int
    contenders: int
    n_blocks: int
    structure: Structure
    explores: bool = False


def plan(
    store: str | os.PathLike[str],
    *,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    where: Where | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """Rows, blocks, bytes, chunks, executor, memory per process and floating-point operations of a pass; nothing is computed."""
    configuration, where = FitConfiguration.checked(parameters), where or Where()
    source = open_table(store, features, weight, configuration.missing, configuration.block_rows)
    shapes = _shapes(source, configuration)
    window = _window(where)
    facts = describe_source(source)
    memory = _memory(source, shapes, window, driver=where.name != "dask_distributed")
    rows = source.n_rows or 0
    return {
        "store": str(store),
        **facts,
        "weight": weight,
        "configuration": configuration.model_dump(),
        "executor": where.name,
        "processes": window.processes or None,
        "threads": window.threads or None,
        "blocks_in_memory": window.blocks,
        "memory_per_worker": memory,
        "memory_of_driver": None if where.name != "dask_distributed" else _memory_of_driver(shapes),
        "bytes_kept_in_run": kept_bytes(configuration, source),
        "flops_per_pass": rows * shapes.k * shapes.contenders * flops_per_row(shapes.structure, shapes.d) if source.n_rows else None,
        "bytes_read_per_pass": source.nbytes,
        "remarks": _remarks(source),
    }


def _shapes(source: AbstractSource, configuration: FitConfiguration) -> Shapes:
    return Shapes(
        source.block_rows,
        source.n_features,
        configuration.n_components,
        MOST_SURVIVORS if configuration.explores else configuration.n_init,
        source.n_blocks or 1,
        _family(configuration).structure,
        configuration.explores,
    )


def _family(configuration: FitConfiguration) -> type[AbstractGaussian]:
    found: type[AbstractGaussian] = implementation("components", f"gaussian_{configuration.covariance_type}")
    return found


def _window(where: Where) -> Window:
    """Of the executor that `where` will open, without opening it. Of a cluster that is there, only a worker thread's share is known."""
    if where.name == "serial":
        return Window(Serial().blocks_in_memory, 1, 1, 1)
    if where.name == "threads":
        threads = Threads(where.n_threads)
        return Window(threads.blocks_in_memory, (threads.workers + 1) // 2, 1, threads.workers)
    _ = where.address  # refused before anything is connected
    return Window(2, 1, where.n_processes, where.n_processes)


def _memory(source: AbstractSource, shapes: Shapes, window: Window, *, driver: bool) -> dict[str, int]:
    """Bytes of a process, part by part, and their sum under `bound`."""
    row = 8 * (shapes.d + 2)  # the row as float64, its weight, its place
    parts = {
        "interpreter_and_libraries": PROCESS_BYTES if driver else WORKER_BYTES,
        "blocks": window.blocks * shapes.block_rows * row,
        "decoded_chunks": _decoded_chunks(source, shapes, window.readers),
        "statistics": _statistics(shapes, window.blocks),
        "sample_for_starts": _sample(shapes) if driver else 0,
    }
    return {**parts, "bound": sum(parts.values())}


def _memory_of_driver(shapes: Shapes) -> dict[str, int]:
    parts = {
        "interpreter_and_libraries": DRIVER_BYTES,
        "statistics": _statistics(shapes, 2),
        "sample_for_starts": _sample(shapes) + 3 * shapes.block_rows * 8 * (2 * shapes.d + 2),
    }
    return {**parts, "bound": sum(parts.values())}


def _decoded_chunks(source: AbstractSource, shapes: Shapes, readers: int) -> int:
    """What a source keeps of its chunks between reads, and what its readers are decoding."""
    run_rows = source.rows_per_read * math.ceil(shapes.block_rows / source.rows_per_read)
    run = min(run_rows, source.n_rows or run_rows) * shapes.d * source.dtype.itemsize
    kept = max(BYTES_KEPT, min((readers + 1) * run, 4 * BYTES_KEPT), 2 * run)
    return min(kept, source.nbytes or kept) + readers * run


def _statistics(shapes: Shapes, blocks: int) -> int:
    """One set a block and start, and one for each level of the tree."""
    k, d = shapes.k, shapes.d
    numbers = k + 2 * k * d + math.prod(shapes.structure.second_shape(k, d))
    levels = math.ceil(math.log2(max(shapes.n_blocks, 2))) + 1
    return 8 * numbers * shapes.contenders * (blocks + levels)


def _sample(shapes: Shapes) -> int:
    """The sample that starts are made from; where it is explored, as much of it as there are rows, and what Newton's step takes."""
    if not shapes.explores:
        return SAMPLE_COPIES * SAMPLE_ROWS * 8 * (shapes.d + 1)
    rows = explored_rows(shapes.structure, shapes.k, shapes.d)
    p = parameters(shapes.structure, shapes.k, shapes.d)
    matrices = INFORMATION_COPIES * p**2 if p <= MOST_PARAMETERS else 0
    return 8 * (SAMPLE_COPIES * rows * (shapes.d + 1) + matrices + INFORMATION_TILES * TILE)


def kept_bytes(configuration: FitConfiguration, source: AbstractSource) -> int:
    """Bytes of the sample that a run keeps, at most; its commits come on top. 0 where it keeps none."""
    if not configuration.explores or source.in_memory:
        return 0
    wanted = explored_rows(_family(configuration).structure, configuration.n_components, source.n_features) + (source.n_blocks or 0)
    return 8 * (source.n_features + 1) * min(wanted, source.n_rows or wanted) + RECORD_BYTES


def flops_per_row(structure: Structure, d: int) -> int:
    """Floating-point operations of the E-step for a row and a component: distance, exponential, moments."""
    distance_and_moments = 2 * d * (d + 1) if structure.dense else 4 * d
    return distance_and_moments + 4 * d + EXP_AND_SUMS


def _remarks(source: AbstractSource) -> list[str]:
    said, block, read = [], source.block_rows, source.rows_per_read
    if block % read and read % block and (source.n_rows is None or source.n_rows > max(block, read)):
        said.append(
            f"the store gives {read:,} rows at a time and blocks have {block:,}: neither is a multiple of the other, so a chunk between two"
            f" spans is decoded twice on a cluster. Blocks of {_block_rows_for(read):,} rows (--block-rows) would fit."
        )
    if source.n_rows is None:
        said.append("the number of rows is unknown until they are read")
    elif source.n_rows < block:
        said.append(f"all {source.n_rows:,} rows fit into one block: one thread computes")
    return said


def _block_rows_for(read: int) -> int:
    """A divisor of the store's chunks near 65,536 rows, or the chunks themselves."""
    return next((read // parts for parts in range(1, 257) if read % parts == 0 and read // parts <= 2**17), read)
