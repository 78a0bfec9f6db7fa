"""Where rows come from: the abstract source. Floor 4.

A source cuts a table into canonical blocks of `block_rows` rows by global row number, whatever the chunks of the store, so that
re-chunking a store changes no bit of an answer. A table in partitions of unknown length makes every partition one block; the
E-step cuts it from its own start. `load` gives raw rows as the store holds them; `read` gives a checked Block.

The end: where `n_blocks` is known, blocks are 0 .. n_blocks-1. Where it is None (an iterator), blocks are read from 0 upwards until
`load` or `read` raises EndOfSource; `blocks()` is the loop that does so. EndOfSource is raised only when the last row has been
given out: a source that fails in the middle raises a DataError, now and at every later call, so that no table is cut short in
silence.
"""

__all__ = ["DEFAULT_BLOCK_ROWS", "AbstractSource", "EndOfSource"]

import hashlib
import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import count
from typing import Any, Self, TypeVar, final

import numpy as np
import numpy.typing as npt

from streamgmm.block import MISSING_POLICIES, Block, as_block
from streamgmm.errors import ChunkCorruptError, ChunkMissingError, ConfigError, DataError, SchemaError, nearest

DEFAULT_BLOCK_ROWS = 65_536
LARGEST_BLOCK_ROWS = 2**24

AnyArray = npt.NDArray[np.generic]
T = TypeVar("T")

_making = threading.RLock()


class EndOfSource(IndexError):
    """There is no block of this number: every row has been given out."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractSource(ABC):
    """A table of N rows and d features, read by block number.

    feature_names, units: one each per column ("" where no unit is known). block_rows: rows of a canonical block.
    missing: "raise" or "skip" (see `as_block`). sample_weight: a source of one column cut in the same blocks.

    A source pickles by its fields; what it has decoded or opened stays behind.
    """

    feature_names: tuple[str, ...]
    units: tuple[str, ...]
    block_rows: int = DEFAULT_BLOCK_ROWS
    missing: str = "raise"
    sample_weight: "AbstractSource | None" = None

    def __post_init__(self) -> None:
        """Check what all kinds share. A kind that adds checks calls this first."""
        if isinstance(self.block_rows, bool) or not isinstance(self.block_rows, int) or not 1 <= self.block_rows <= LARGEST_BLOCK_ROWS:
            raise ConfigError(f"block_rows must be an int from 1 to {LARGEST_BLOCK_ROWS}, got {self.block_rows!r}; 65536 is the default")
        if self.missing not in MISSING_POLICIES:
            raise ConfigError(f"missing must be one of {MISSING_POLICIES}, got {self.missing!r}{nearest(self.missing, MISSING_POLICIES)}")
        if len(self.units) != len(self.feature_names):
            raise SchemaError(f"{len(self.units)} units for {len(self.feature_names)} columns; one per column is needed, '' where unknown")

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    # ---- what each kind of source says -------------------------------------------------------------------------------

    @property
    @abstractmethod
    def n_rows(self) -> int | None:
        """Rows in all, or None where only reading can tell."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """dtype of the rows as stored (the widest of the columns)."""

    @abstractmethod
    def load(self, index: int) -> AnyArray:
        """Raw rows (n d) of block `index`. Thread-safe. Raises EndOfSource past the last block.

        The array may be a view of the user's rows or of rows kept for the next block: callers do not write to it.
        """

    @abstractmethod
    def portable_rows(self, first: int, last: int) -> Any:
        """`portable` without the weights."""

    # ---- what a kind of source may say otherwise ---------------------------------------------------------------------

    @property
    def n_blocks(self) -> int | None:
        """Blocks in all, or None for a source that ends when it ends."""
        return None if self.n_rows is None else -(-self.n_rows // self.block_rows)

    @property
    def repeatable(self) -> bool:
        """Whether a block can be read again with the same values."""
        return True

    @property
    def in_memory(self) -> bool:
        """Whether reading a block costs next to nothing, because its rows are there: nobody needs to read ahead."""
        return False

    @property
    def computed(self) -> bool:
        """Whether reading computes the rows anew, so that only the user knows whether they are the same every time."""
        return False

    @property
    def rows_per_read(self) -> int:
        """Rows that the store hands over in one piece (a chunk or a whole shard)."""
        return self.block_rows

    @property
    def retries(self) -> Sequence[Any]:
        """Tries of this process that failed and were repeated: (block, try, reason) each; none where nothing is tried again."""
        return ()

    def refuse_changes(self) -> None:  # noqa: B027  (most kinds have nothing to look at)
        """Look whether the store is still the one that was opened; called after a pass. Raises DataChangedError naming what changed."""

    def lost(self, index: int, error: Exception) -> Block:
        """The block in place of one that is damaged or gone. Raises the error where the block may not be left out."""
        raise error

    def start(self, index: int) -> int:
        """Global number of the first row of a block (0 where a block is a partition)."""
        return index * self.block_rows

    def rows_in(self, first: int, last: int) -> int | None:
        """Rows of blocks first .. last-1, None where nobody knows."""
        return None if self.n_rows is None else min(last * self.block_rows, self.n_rows) - first * self.block_rows

    def number(self, index: int) -> int:
        """Number of a block in the whole table: what messages and records call it."""
        return index

    @property
    def whole(self) -> "AbstractSource":
        """The source of the whole table, where this one holds a choice of its blocks."""
        return self

    # ---- what all sources share --------------------------------------------------------------------------------------

    @property
    def n_features(self) -> int:
        """Columns d."""
        return len(self.feature_names)

    @property
    def nbytes(self) -> int | None:
        """Bytes of the rows, uncompressed, as stored; None where the length is unknown."""
        return None if self.n_rows is None else self.n_rows * self.n_features * self.dtype.itemsize

    @final
    def span(self, index: int) -> tuple[int, int]:
        """Rows start .. stop-1 of a block of a table of known length. Raises EndOfSource."""
        start, n_rows = index * self.block_rows, self.n_rows or 0
        if index < 0 or start >= n_rows:
            raise EndOfSource(f"block {index} of a table of {n_rows} rows in {self.n_blocks} blocks")
        return start, min(start + self.block_rows, n_rows)

    @final
    def read(self, index: int) -> Block:
        """Read one block and check it. Raises EndOfSource, or DataError and its kin (see `as_block`)."""
        try:
            rows = self.load(index)
            weight = self._load_weight(index)
        except EndOfSource:
            self._refuse_more_weights(index)
            raise
        except (ChunkCorruptError, ChunkMissingError) as error:
            return self.lost(index, error)
        return as_block(
            rows,
            index=self.number(index),
            start=self.start(index),
            feature_names=self.feature_names,
            missing=self.missing,
            sample_weight=weight,
        )

    @final
    def blocks(self) -> Iterator[Block]:
        """All blocks in order, checked."""
        for index in count() if self.n_blocks is None else range(self.n_blocks):
            try:
                block = self.read(index)
            except EndOfSource:
                return
            yield block

    @final
    def portable(self, first: int, last: int) -> Any:
        """What a task on another machine needs to read blocks first .. last-1, weights included.

        A picklable source that answers for those block numbers, or a Dask Delayed that computes to one on the worker.
        """
        rows = self.portable_rows(first, last)
        if self.sample_weight is None:
            return rows
        weight = self.sample_weight.portable(first, last)
        if isinstance(rows, AbstractSource) and isinstance(weight, AbstractSource):
            return replace(rows, sample_weight=weight)
        return importlib.import_module("streamgmm.sources._delayed").weighted(rows, weight)

    @final
    def with_sample_weight(self, weight: "AbstractSource") -> Self:
        """The same rows, each with a weight from a source of one column and equal length."""
        if weight.n_features != 1:
            raise DataError(f"sample_weight must have one value per row, got {weight.n_features} columns")
        weight = weight.with_block_rows(self.block_rows)
        if weight.n_rows != self.n_rows or weight.n_blocks != self.n_blocks:
            raise DataError(
                f"sample_weight has {_length(weight)} for {_length(self)}; one weight per row is needed, cut in the same partitions"
                " where lengths are unknown"
            )
        return replace(self, sample_weight=weight)

    @final
    def without_weights(self) -> Self:
        """The same rows without their weights."""
        return self if self.sample_weight is None else replace(self, sample_weight=None)

    @final
    def with_block_rows(self, block_rows: int) -> Self:
        """The same table in blocks of another size."""
        if block_rows == self.block_rows:
            return self
        weight = None if self.sample_weight is None else self.sample_weight.with_block_rows(block_rows)
        return replace(self, block_rows=block_rows, sample_weight=weight)

    @final
    def with_missing(self, missing: str) -> Self:
        """The same table with another policy for missing values."""
        return self if missing == self.missing else replace(self, missing=missing)

    @final
    def once(self, name: str, make: Callable[[], T]) -> T:
        """A value made at first use, once however many threads ask, and not pickled: caches, opened files."""
        with _making:
            if name not in self.__dict__:
                self.__dict__[name] = make()
            made: T = self.__dict__[name]
            return made

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the table whatever its chunks: shape, names, units, block size, hashes of the first and last block.

        Strict JSON. Sources that cannot be read twice, or whose length is unknown, give no hash.
        """
        return {
            "n_rows": self.n_rows,
            "n_blocks": self.n_blocks,
            "feature_names": list(self.feature_names),
            "units": list(self.units),
            "block_rows": self.block_rows,
            "weighted": self.sample_weight is not None,
            "sha256_of_ends": self.ends_hash(),
            "sha256_of_weight_ends": "" if self.sample_weight is None else self.sample_weight.ends_hash(),
        }

    @final
    def ends_hash(self) -> str:
        """SHA-256 of the first and the last block as float64, nothing where they cannot be read again or one of them is left out."""
        if not self.repeatable or not self.n_rows or not self.n_blocks:
            return ""
        digest = hashlib.sha256()
        for index in sorted({0, self.n_blocks - 1}):
            try:
                digest.update(np.ascontiguousarray(self.load(index), dtype="<f8").tobytes())
            except (ChunkCorruptError, ChunkMissingError) as error:
                self.lost(index, error)  # raises it, where the block may not be left out
                return ""
        return digest.hexdigest()

    def _load_weight(self, index: int) -> AnyArray | None:
        if self.sample_weight is None:
            return None
        try:
            return self.sample_weight.load(index)
        except EndOfSource as error:
            raise DataError(
                f"sample_weight ends before block {self.number(index)}, the rows do not; one weight per row is needed"
            ) from error

    def _refuse_more_weights(self, index: int) -> None:
        if self.sample_weight is None or self.sample_weight.n_blocks is not None:
            return
        try:
            self.sample_weight.load(index)
        except EndOfSource:
            return
        raise DataError(f"the rows end before block {self.number(index)}, sample_weight does not; one weight per row is needed")


def _length(source: AbstractSource) -> str:
    if source.n_rows is not None:
        return f"{source.n_rows} rows"
    return "an iterator" if source.n_blocks is None else f"{source.n_blocks} partitions"
