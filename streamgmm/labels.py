"""Labels of a whole table, as a column of a column store. Floor 7.

Blocks are labelled where the executor says and written in their order, chunk by chunk: what is in memory is the executor's window and
one chunk of labels. The column appears whole or not at all.
"""

__all__ = ["LABEL_DTYPE", "label_blocks", "write_labels"]

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.block import Block
from streamgmm.column_store import ColumnStoreWriter, write_column
from streamgmm.errors import SchemaError
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor
from streamgmm.mixture import Mixture
from streamgmm.passes import Observer
from streamgmm.prediction import Question
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource

LABEL_DTYPE = np.dtype(np.int32)

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """The function that executors map: labels of all rows of a block, -1 for those left out."""

    question: Question

    def __call__(self, block: Block) -> Labels:
        return self.question.of_block(block).astype(LABEL_DTYPE)


def label_blocks(mixture: Mixture, source: AbstractSource, executor: AbstractExecutor, observe: Observer = ignore) -> Iterator[Labels]:
    """Labels piece by piece, in the order of the rows. Pieces that come early wait."""
    function = LabelBlock(Question(mixture, "labels", source.feature_names, source.missing))
    early: dict[int, tuple[Span, Labels]] = {}
    wanted = rows = 0
    began = time.monotonic()
    for found in executor.map_spans(function, _joined, source):
        if isinstance(found, Event):
            continue
        early[found[0].first] = found
        while wanted in early:
            done, ready = early.pop(wanted)
            wanted = done.first + (1 << done.level)
            rows += len(ready)
            details = {"task": "labels", "rows": rows, "of": source.n_rows, "seconds": time.monotonic() - began}
            observe(Event("reading", f"labels: {rows:,} rows", details))
            yield ready


def write_labels(
    pieces: Iterator[Labels],
    store: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    attributes: dict[str, Any],
    overwrite: bool = False,
) -> int:
    """Write labels as column `out` of a store, or, without a store, as the column `label` of a new store at `out`; the rows written.

    Raises ConfigError (exists), SchemaError (not a column store), StorageError.
    """
    counted = _Counted(pieces)
    if store is None:
        with ColumnStoreWriter(out, {"label": LABEL_DTYPE}, overwrite=overwrite) as writer:
            for labels in counted:
                writer.append({"label": labels})
        return counted.rows
    if not (Path(store) / "zarr.json").is_file():
        raise SchemaError(
            f"{store} is not a column store on this machine, so it gets no column {str(out)!r}; name a new store, as in labels.zarr"
        )
    write_column(store, str(out), counted, LABEL_DTYPE, attributes=attributes, overwrite=overwrite)
    return counted.rows


class _Counted:
    """An iterator that counts what passes."""

    def __init__(self, pieces: Iterator[Labels]) -> None:
        self._pieces, self.rows = pieces, 0

    def __iter__(self) -> Iterator[Labels]:
        for piece in self._pieces:
            self.rows += len(piece)
            yield piece


def _joined(a: Labels, b: Labels) -> Labels:
    return np.concatenate([a, b])
