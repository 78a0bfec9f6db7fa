"""Answers for tables that are not in memory, as dask arrays: nothing is read here. Floor 7.

The answers come in the chunks of the table: those of a dask array, the partitions of a data frame, else pieces of whole reads of the
store. dtype, shape and chunks are set explicitly, so dask never tries a function on made-up rows; unknown lengths stay unknown.
"""

__all__ = ["answer_lazily"]

import math
import uuid
from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from streamgmm.errors import DataError
from streamgmm.prediction import Answer, Question
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.dask_array import DaskArraySource
from streamgmm.sources.numpy_array import NumpyArraySource

Lazy = Any  # a dask array: dask's functions have no types
LARGEST_CHUNK = 2**25  # numbers (rows, or answers) of one chunk of a store's answers: 256 MiB


def answer_lazily(question: Question, source: AbstractSource) -> Lazy:
    """A dask array (n) or (n K) of answers. Raises DataError for rows that can be read only once."""
    if isinstance(source, DaskArraySource):
        return _of_dask_array(question, source.array)
    if isinstance(source, NumpyArraySource):
        return _of_dask_array(question, da.from_array(source.array, chunks=(source.block_rows, -1)))
    if source.n_blocks is None or not source.repeatable:
        raise DataError("an iterator of arrays cannot be read later, when lazy answers are computed; ask for one array at a time")
    return _of_partitions(question, source) if source.n_rows is None else _of_store(question, source)


def _of_dask_array(question: Question, array: Lazy) -> Lazy:
    starts = np.concatenate(([0], np.cumsum(array.chunks[0], dtype=np.int64)))
    shared, chunks = _one_object((question, starts)), _chunks(question, array.chunks[0])
    drop_axis = () if question.columns else 1
    return da.map_blocks(_answer_chunk, array, shared=shared, drop_axis=drop_axis, chunks=chunks, **_kind(question))


def _answer_chunk(rows: Any, *, shared: tuple[Question, npt.NDArray[np.int64]], block_id: tuple[int, ...]) -> Answer:
    question, starts = shared
    return question.of_rows(rows, block_id[0], int(starts[block_id[0]]))


def _of_partitions(question: Question, source: AbstractSource) -> Lazy:
    # One layer for all partitions: an array of each, concatenated, takes milliseconds a partition to build.
    assert source.n_blocks is not None
    name, shared = f"answers-{uuid.uuid4().hex}", _one_object(question)
    parts = [source.portable_rows(i, i + 1) for i in range(source.n_blocks)]
    held = [part if isinstance(part, Delayed) else _one_object(part) for part in parts]
    inside = (0,) * len(question.columns)
    tasks: dict[Any, Any] = {(name, i, *inside): (_answer_partition, part.key, shared.key, i) for i, part in enumerate(held)}
    dependencies: list[Any] = [shared, *held]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=dependencies)
    return da.Array(graph, name, _chunks(question, (math.nan,) * len(held)), **_kind(question))


def _answer_partition(part: AbstractSource, question: Question, index: int) -> Answer:
    return question.of_block(part.read(index))


def _of_store(question: Question, source: AbstractSource) -> Lazy:
    pieces = source.without_weights().with_block_rows(_rows_of_chunk(question, source))
    assert pieces.n_blocks is not None
    lengths = tuple(stop - start for start, stop in map(pieces.span, range(pieces.n_blocks)))
    shared = _one_object((question, pieces))
    return da.map_blocks(_answer_piece, shared=shared, chunks=_chunks(question, lengths), **_kind(question))


def _answer_piece(*, shared: tuple[Question, AbstractSource], block_id: tuple[int, ...]) -> Answer:
    question, source = shared
    return question.of_block(source.read(block_id[0]))


def _rows_of_chunk(question: Question, source: AbstractSource) -> int:
    """Whole reads of the store, about a block or more; a block where they are too large for memory."""
    rows = source.rows_per_read * -(-source.block_rows // source.rows_per_read)
    width = max(source.n_features, *question.columns, 1)
    return rows if rows * width <= LARGEST_CHUNK else source.block_rows


def _one_object(value: Any) -> Delayed:
    """What all tasks share, once in the graph and once on every worker, never taken apart by dask."""
    return dask.delayed(value, traverse=False)  # type: ignore[attr-defined, no-any-return]


def _chunks(question: Question, lengths: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    return (tuple(lengths), *((width,) for width in question.columns))


def _kind(question: Question) -> dict[str, Any]:
    return {"dtype": question.dtype, "meta": np.empty((0,) * (1 + len(question.columns)), question.dtype)}
