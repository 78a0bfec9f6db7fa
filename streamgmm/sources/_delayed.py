"""What the Dask sources share: where a chunk is computed, and pieces of a table as Delayed objects. Floor 4.

A chunk that this process needs is computed by the scheduler that Dask itself would take, so a current client and persisted chunks
are honoured. Where Dask would fall back to its thread pool and this is a reader thread of ours, the chunk is computed in this
thread: the readers are the parallelism, and a pool for each of them would only crowd the cores.
"""

__all__ = ["compute", "delayed_with", "weighted"]

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dask.base
from dask.delayed import delayed

from streamgmm.sources.base import AbstractSource

# Dask annotates only some of its functions.
_compute: Any = dask.base.compute
_get_scheduler: Any = dask.base.get_scheduler
_delayed: Any = delayed


def compute(pieces: Sequence[Any]) -> tuple[Any, ...]:
    """Values of Delayed objects."""
    in_reader_thread = threading.current_thread() is not threading.main_thread()
    scheduler = "synchronous" if in_reader_thread and _get_scheduler() is None else None
    return tuple(_compute(*pieces, scheduler=scheduler))


def delayed_with(function: Callable[..., AbstractSource], pieces: Sequence[Any], *arguments: Any) -> Any:
    """A Delayed of function(list of computed pieces, *arguments). It depends on these pieces alone."""
    return _delayed(function, pure=False)(list(pieces), *arguments)


def weighted(rows: Any, weight: Any) -> Any:
    """A Delayed of the rows with their weights; either may be a source or a Delayed of one."""
    return _delayed(_attach, pure=False)(rows, weight)


def _attach(rows: AbstractSource, weight: AbstractSource) -> AbstractSource:
    return replace(rows, sample_weight=weight)
