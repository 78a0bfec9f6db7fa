"""The exception tree and the exit codes of the command line. Floor 0.

Every error derives from `StreamGMMError` and from the builtin that plain code would catch::

    StreamGMMError
    ├── ConfigError(ValueError)                  2   a parameter, option or configuration is wrong
    │   └── RunMismatchError                     5   the configuration differs from the run's own
    ├── DataError(ValueError)                    4   the rows or their store are refused
    │   ├── UnsupportedTableError(TypeError)     4   a kind of table that cannot be read
    │   ├── NonFiniteDataError                   4   NaN or infinity where none is allowed
    │   ├── SchemaError                          4   columns, shapes or dtypes do not fit
    │   ├── ChunkMissingError                    4   a piece of the store is not there
    │   ├── ChunkCorruptError                    4   a piece of the store is not what was written
    │   └── DataChangedError                     5   the rows are not those of the run
    ├── CheckpointError(OSError)                 6   no usable commit or model
    │   ├── CheckpointCorruptError               6   bytes do not match their recorded hash
    │   └── CheckpointVersionError               6   written by a newer format
    ├── RunLockedError(RuntimeError)             7   another process works on this run
    ├── StorageError(OSError)                    8   the run's storage failed
    ├── ClusterError(RuntimeError)               9   the Dask cluster failed
    │   ├── NoWorkersError                       9
    │   ├── PoisonBlockError                     9   one block fails wherever it is computed
    │   ├── SchedulerLostError                   9
    │   ├── StalledError                         9   nothing was finished for too long
    │   └── WorkerProfileError                   9   a worker would give other last bits, and the run is strict
    ├── NumericalError(ArithmeticError)         10   the numbers failed
    │   ├── SingularComponentError              10   a component collapsed and the policy is to raise
    │   └── NondeterminismError                 10   the same block gave other values at a second read
    ├── SecurityError(PermissionError)          11   refused for security
    └── MissingDependencyError(ImportError)      2   an optional library is not installed

A message says what was found, where (column, block, component), why it is refused and what to do next.
"""

__all__ = [
    "EXIT_DONE",
    "EXIT_INTERNAL",
    "EXIT_NOT_CONVERGED",
    "EXIT_STOPPED",
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointVersionError",
    "ChunkCorruptError",
    "ChunkMissingError",
    "ClusterError",
    "ConfigError",
    "DataChangedError",
    "DataError",
    "DegenerateFitWarning",
    "MissingDependencyError",
    "NoWorkersError",
    "NonFiniteDataError",
    "NondeterminismError",
    "NumericalError",
    "PoisonBlockError",
    "PrecisionWarning",
    "RunLockedError",
    "RunMismatchError",
    "SchedulerLostError",
    "SchemaError",
    "SecurityError",
    "SingularComponentError",
    "StalledError",
    "StorageError",
    "StreamGMMError",
    "UnsupportedTableError",
    "WorkerProfileError",
    "exit_code",
    "how_to_install",
    "nearest",
]

import difflib
from collections.abc import Iterable
from typing import ClassVar

EXIT_DONE = 0
EXIT_INTERNAL = 1
EXIT_NOT_CONVERGED = 3
EXIT_STOPPED = 75


class StreamGMMError(Exception):
    """Base of every error raised on purpose; `code` is the exit code of the command line."""

    code: ClassVar[int] = EXIT_INTERNAL


class ConfigError(StreamGMMError, ValueError):
    """A parameter, option or configuration value is wrong."""

    code = 2


class RunMismatchError(ConfigError):
    """The configuration differs from the one the run was started with."""

    code = 5


class DataError(StreamGMMError, ValueError):
    """The rows or their store are refused."""

    code = 4


class NonFiniteDataError(DataError):
    """NaN or infinity where none is allowed."""


class UnsupportedTableError(DataError, TypeError):
    """A kind of table that cannot be read."""


class SchemaError(DataError):
    """Columns, shapes or dtypes do not fit."""


class ChunkMissingError(DataError):
    """A chunk is not in the store, and would be read as its fill value. may_return: its store has said so of chunks that it holds."""

    may_return: bool = False


class ChunkCorruptError(DataError):
    """A chunk's bytes are not those that were written."""


class DataChangedError(DataError):
    """The rows are not those that the run or an earlier pass has seen."""

    code = 5


class CheckpointError(StreamGMMError, OSError):
    """No usable commit or model."""

    code = 6


class CheckpointCorruptError(CheckpointError):
    """Bytes do not match their recorded hash."""


class CheckpointVersionError(CheckpointError):
    """Written in a newer format than this release reads."""


class RunLockedError(StreamGMMError, RuntimeError):
    """Another process works on this run."""

    code = 7


class StorageError(StreamGMMError, OSError):
    """The run's storage failed."""

    code = 8


class ClusterError(StreamGMMError, RuntimeError):
    """The Dask cluster failed."""

    code = 9


class NoWorkersError(ClusterError):
    """No worker came within the time allowed."""


class PoisonBlockError(ClusterError):
    """One block fails wherever it is computed."""


class SchedulerLostError(ClusterError):
    """The scheduler went away."""


class StalledError(ClusterError):
    """Nothing was finished for too long."""


class WorkerProfileError(ClusterError):
    """A worker's numeric profile differs: it would give other last bits."""


class NumericalError(StreamGMMError, ArithmeticError):
    """The numbers failed."""

    code = 10


class SingularComponentError(NumericalError):
    """A component collapsed and the policy is to raise."""


class NondeterminismError(NumericalError):
    """The same block gave other values when it was read again."""


class SecurityError(StreamGMMError, PermissionError):
    """Refused for security."""

    code = 11


class MissingDependencyError(StreamGMMError, ImportError):
    """An optional library is not installed."""

    code = 2


class PrecisionWarning(UserWarning):
    """A column's spread is close to the resolution of its dtype."""


class DegenerateFitWarning(UserWarning):
    """A component was floored, reseeded or dropped."""


def exit_code(error: BaseException) -> int:
    """Exit code of the command line for `error`; scikit-learn's NotFittedError counts as a usage error."""
    if isinstance(error, StreamGMMError):
        return error.code
    return 2 if type(error).__name__ == "NotFittedError" else EXIT_INTERNAL


EXTRAS = {"pyarrow": "parquet", "pandas": "dataframe", "dask.dataframe": "dataframe", "matplotlib": "plot", "obstore": "cloud"}


def how_to_install(module: str | None) -> str:
    """The command that brings a missing library, by the extra it belongs to."""
    extra = EXTRAS.get(module or "")
    return f"pip install 'streamgmm[{extra}]'" if extra else f"pip install {module}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `allowed` is close to `name`, else nothing."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
