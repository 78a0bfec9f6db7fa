"""What is asked of rows once a mixture is known: labels, probabilities, log densities. Floor 5.

A question is a pure function of a block and pickles; tables in memory are answered here, lazy ones in `lazy`.
"""

__all__ = ["Question", "answer_now", "shaped_like"]

import operator
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from streamgmm.block import Block, as_block
from streamgmm.executors.base import AbstractExecutor
from streamgmm.mixture import Mixture
from streamgmm.sources.numpy_array import NumpyArraySource

Answer = npt.NDArray[Any]
NO_LABEL = -1  # of a row that was left out


@dataclass(frozen=True, eq=False)
class Question:
    """kind: what is asked of each row. feature_names: of the table, for messages. missing: "raise" or "skip" (see `as_block`)."""

    mixture: Mixture
    kind: Literal["labels", "probabilities", "log_densities"]
    feature_names: tuple[str, ...]
    missing: str = "raise"

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of the answers."""
        return np.dtype(np.int64 if self.kind == "labels" else np.float64)

    @property
    def columns(self) -> tuple[int, ...]:
        """Shape of the answer to one row: () or (K,)."""
        return (self.mixture.n_components,) if self.kind == "probabilities" else ()

    def of_block(self, block: Block) -> Answer:
        """Answers to all rows of a block, those left out included: label -1, probabilities and log density NaN."""
        answers = self._of_rows(block)
        if block.kept is None:
            return answers
        out = np.full((block.n_rows + block.skipped, *self.columns), NO_LABEL if self.kind == "labels" else np.nan, self.dtype)
        out[block.kept] = answers
        return out

    def of_rows(self, rows: Any, index: int = 0, start: int = 0) -> Answer:
        """Answers to raw rows (n d) of any dtype. index, start: of the block, for messages."""
        block = as_block(np.asarray(rows), index=index, start=start, feature_names=self.feature_names, missing=self.missing)
        return self.of_block(block)

    def _of_rows(self, block: Block) -> Answer:
        if self.kind == "labels":
            return self.mixture.predict(block.x).astype(np.int64)
        if self.kind == "probabilities":
            return self.mixture.responsibilities(block.x)
        return self.mixture.score_samples(block.x)


def answer_now(question: Question, source: NumpyArraySource, executor: AbstractExecutor) -> Answer:
    """Answers to all rows of a table in memory, block by block into one array."""
    out = np.empty((source.n_rows, *question.columns), question.dtype)

    def write(block: Block) -> int:
        answers = question.of_block(block)
        out[block.start : block.start + len(answers)] = answers
        return len(answers)

    executor.map_reduce(write, operator.add, source)
    return out


def shaped_like(table: Any, answers: Any) -> Any:
    """Answers to an xarray object as a DataArray, with the dimension and coordinates of its rows."""
    xarray = sys.modules.get("xarray")
    if xarray is None or not isinstance(table, xarray.DataArray | xarray.Dataset):
        return answers
    columns = table if isinstance(table, xarray.DataArray) else next(iter(table.data_vars.values()))
    rows = columns.dims[0]
    coordinates = {name: value for name, value in table.coords.items() if value.dims == (rows,)}
    return xarray.DataArray(answers, coordinates, (rows, "component")[: answers.ndim])
