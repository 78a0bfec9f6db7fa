"""Some blocks of another source, in an order of their own: what a round within a pass reads. Floor 4.

Block i is block `numbers[i]` of the other one. Messages, checksums and records keep the other one's numbers, caches and opened files are
its own. It is NOT a kind of table of its own: it cannot be cut in other blocks.
"""

__all__ = ["SelectedSource", "select"]

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.block import Block
from streamgmm.sources.base import AbstractSource, EndOfSource

AnyArray = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False, kw_only=True)
class SelectedSource(AbstractSource):
    """Blocks of another source; a piece of it that has travelled holds, from block `first` on, a source of each block's own.

    Of an iterator, which ends when it ends, nobody knows whether there are such blocks: then n_blocks is None, as it is there.
    """

    numbers: tuple[int, ...]
    source: AbstractSource | None = None
    pieces: tuple[AbstractSource, ...] = ()
    first: int = 0
    stored_dtype: np.dtype[Any]

    @property
    def n_rows(self) -> None:
        """See the base class."""
        return

    @property
    def n_blocks(self) -> int | None:
        """See the base class."""
        return None if self.source is not None and self.source.n_blocks is None else len(self.numbers)

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.stored_dtype

    @property
    def whole(self) -> AbstractSource:
        """See the base class."""
        return self._any

    @property
    def repeatable(self) -> bool:
        """See the base class."""
        return self._any.repeatable

    @property
    def in_memory(self) -> bool:
        """See the base class."""
        return self._any.in_memory

    @property
    def computed(self) -> bool:
        """See the base class."""
        return self._any.computed

    @property
    def rows_per_read(self) -> int:
        """A block: its neighbours here are none there."""
        return self.block_rows

    @property
    def retries(self) -> Sequence[Any]:
        """See the base class."""
        return self._any.retries

    def number(self, index: int) -> int:
        """See the base class."""
        if not 0 <= index < len(self.numbers):
            raise EndOfSource(f"block {index} of a selection of {len(self.numbers)}")
        return self.numbers[index]

    def start(self, index: int) -> int:
        """See the base class."""
        return self._of(index).start(self.number(index))

    def refuse_changes(self) -> None:
        """See the base class."""
        self._any.refuse_changes()

    def lost(self, index: int, error: Exception) -> Block:
        """See the base class."""
        block = self._of(index).lost(self.number(index), error)
        return block if self.sample_weight is None else replace(block, sample_weight=np.empty(0))

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        return self._of(index).load(self.number(index))

    def portable_rows(self, first: int, last: int) -> Any:
        """See the base class. Each block brings what its own source gives it to travel with."""
        numbers = [self.number(index) for index in range(first, last)]
        pieces = [self._of(index).portable_rows(b, b + 1) for index, b in zip(count(first), numbers, strict=False)]
        empty = replace(self, source=None, pieces=(), first=first, sample_weight=None)
        if all(isinstance(piece, AbstractSource) for piece in pieces):
            return _filled(pieces, empty)
        return importlib.import_module("streamgmm.sources._delayed").delayed_with(_filled, pieces, empty)

    @property
    def _any(self) -> AbstractSource:
        return self.pieces[0] if self.source is None else self.source

    def _of(self, index: int) -> AbstractSource:
        if self.source is not None:
            return self.source
        if not 0 <= index - self.first < len(self.pieces):
            raise EndOfSource(f"block {index} is not in this piece of a selection")
        return self.pieces[index - self.first]


def _filled(pieces: Sequence[AbstractSource], empty: SelectedSource) -> SelectedSource:
    return replace(empty, pieces=tuple(pieces))


def select(source: AbstractSource, blocks: Sequence[int] | npt.NDArray[np.intp]) -> SelectedSource:
    """These blocks of a source, with their weights."""
    numbers = tuple(int(block) for block in blocks)
    return SelectedSource(
        feature_names=source.feature_names,
        units=source.units,
        block_rows=source.block_rows,
        missing=source.missing,
        sample_weight=None if source.sample_weight is None else select(source.sample_weight, numbers),
        numbers=numbers,
        source=source,
        stored_dtype=source.dtype,
    )
