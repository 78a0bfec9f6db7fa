"""A table of any length that exists nowhere: rows of a drawn pool, repeated with another shift in every block.

It costs a fraction of an E-step (one addition and one fresh array a row), so that a pass over billions of rows measures the package
and not a disk; no two blocks are equal.
"""

__all__ = ["VirtualSource", "virtual_source"]

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from benchmarks.standard import Array, standard_mixture, standard_rows
from streamgmm.sources.base import AbstractSource

POOL_ROWS = 2**18
STEP = 40_503  # odd: the blocks' places in the pool differ
SHIFT = 0.05


@dataclass(frozen=True, eq=False, kw_only=True)
class VirtualSource(AbstractSource):
    """`rows` rows from the standard mixture of `n_components`, in blocks that any process can make alone."""

    rows: int
    n_components: int
    seed: int = 0

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
        start, stop = self.span(index)
        pool = drawn_pool(self.n_components, self.n_features, self.seed, max(POOL_ROWS, 2 * self.block_rows))
        place = index * STEP % (len(pool) - self.block_rows + 1)
        shift = SHIFT * np.sin(index * np.arange(1, self.n_features + 1, dtype=np.float64))
        rows: Array = pool[place : place + stop - start] + shift
        return rows

    def portable_rows(self, first: int, last: int) -> "VirtualSource":
        """See the base class."""
        return self

    def prefix(self, rows: int) -> "VirtualSource":
        """The first rows of it."""
        return replace(self, rows=rows)


@cache
def drawn_pool(n_components: int, n_features: int, seed: int, rows: int) -> Array:
    """Drawn once in a process: on a cluster, every task brings a source of its own."""
    return standard_rows(standard_mixture(n_components, n_features, seed), rows, seed)


def virtual_source(rows: int, n_components: int, n_features: int) -> VirtualSource:
    """The standard virtual table."""
    names = tuple(f"x{j}" for j in range(n_features))
    return VirtualSource(feature_names=names, units=("",) * n_features, rows=rows, n_components=n_components)
