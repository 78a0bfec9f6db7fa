"""A foreign table as a column store sees it: the abstract format. Floor 4.

A format opens files of one kind as one table. Dtypes have to hold for all rows before the first is written, so a format says how it
makes sure of that. It is NOT a source: nothing is read by block number, and nothing twice.
"""

__all__ = ["AbstractFormat", "Table", "choose_columns", "leave_out", "listed", "refuse_duplicates"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from streamgmm.errors import SchemaError, nearest

Batch = dict[str, npt.NDArray[np.generic]]


@final
@dataclass(frozen=True)
class Table:
    """Files of one kind with common columns.

    dtypes, units: per column to be stored. left_out: column -> reason. batches: starts to read; pieces of any length, arrays of the
    dtypes said. n_rows: in all, or None where only reading can tell.
    """

    dtypes: Mapping[str, np.dtype[Any]]
    left_out: Mapping[str, str]
    batches: Callable[[], Iterator[Batch]]
    units: Mapping[str, str] = field(default_factory=dict)
    n_rows: int | None = None


class AbstractFormat(ABC):
    """One kind of file."""

    @abstractmethod
    def open(self, paths: Sequence[Path], columns: Sequence[str] | None, null_values: Sequence[str]) -> Table:
        """The files as one table, from their headers or first rows.

        columns: None for every numeric column. null_values: spellings of a missing number, for formats of text.

        Raises SchemaError, DataError, StorageError.
        """


def choose_columns(columns: Sequence[str] | None, faults: Mapping[str, str], path: Path) -> tuple[list[str], dict[str, str]]:
    """Columns to store, and those left out with reasons. faults: column -> why it cannot be stored, or nothing, in the file's order."""
    if columns is None:
        chosen = [name for name, fault in faults.items() if not fault]
        if not chosen:
            raise SchemaError(f"{path}: no numeric columns among {listed([f'{name!r} ({fault})' for name, fault in faults.items()])}")
        return chosen, {name: fault for name, fault in faults.items() if fault}
    refuse_duplicates(columns, "the columns asked for")
    for name in columns:
        if name not in faults:
            raise SchemaError(f"{path}: no column {name!r}{nearest(name, faults)}. Columns: {listed(list(faults))}")
        if faults[name]:
            raise SchemaError(f"{path}: column {name!r} cannot be stored: {faults[name]}")
    return list(columns), {}


def refuse_duplicates(names: Sequence[str], where: object) -> None:
    """Two columns of one name cannot be told apart."""
    if len(set(names)) < len(names):
        raise SchemaError(f"{where}: column names used twice: {sorted({name for name in names if list(names).count(name) > 1})}")


def leave_out(name: str) -> str:
    """What to do about a column that stands in the way."""
    return f"leave {name!r} out by naming the columns you want"


def listed(items: Sequence[object], most: int = 12) -> str:
    """The first few of a list, for a message."""
    text = ", ".join(str(item) for item in items[:most])
    return text if len(items) <= most else f"{text} and {len(items) - most} more"
