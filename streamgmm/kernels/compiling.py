"""How kernels are compiled: on first call, without the interpreter lock, cached on disk. Floor 0.

Numba's cache looks only at the file that holds the outer function, so a change in `tile.py` would leave stale machine code of
`e_step.py` in use. Here the cache is stamped with the text of the whole folder instead: any change compiles anew.
"""

__all__ = ["cache_folder", "inlined", "intrinsic", "kernel", "overload"]

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import extending
from numba.core.caching import FunctionCache, IndexDataCacheFile

F = TypeVar("F", bound=Callable[..., Any])

overload: Any = extending.overload
intrinsic: Any = extending.intrinsic

# "contract" lets a*b+c become one fused instruction, "nsz" ignores the sign of zero. Sums are never reordered by the compiler: which
# numbers are added side by side is written down in the kernels (`lanes`), and is the same on every machine.
STRICT = {"contract", "nsz"}


@cache
def _folder_stamp() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(function: F) -> F:
    """Compile an outer kernel on first call; keep the machine code on disk where a writable cache folder exists."""
    dispatcher = numba.njit(nogil=True, fastmath=STRICT)(function)
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # no writable place for a cache: compile in every process
        return dispatcher
    cache_of_function = dispatcher._cache  # noqa: SLF001  (numba has no public way; tests guard it)
    cache_of_function._cache_file = KernelCacheFile.like(cache_of_function._cache_file)  # noqa: SLF001
    return dispatcher


def cache_folder() -> Path | None:
    """Where compiled kernels are kept; None where no place can be written."""
    try:
        return Path(FunctionCache(kernel).cache_path)
    except RuntimeError:
        return None


class KernelCacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """A cache whose files are named by what they hold.

    Numba numbers them: two processes that compile different signatures at the same time take the same number, and a third then runs
    the machine code of one for the other. Here a lost race costs a compilation, no more.
    """

    @classmethod
    def like(cls, other: IndexDataCacheFile) -> "KernelCacheFile":
        """In the same place under the same name, stamped with the kernels' text."""
        return cls(other._cache_path, other._index_name.removesuffix(".nbi"), _folder_stamp())  # noqa: SLF001

    def save(self, key: Any, data: Any) -> None:
        """Write the machine code, then the index that names it."""
        name = self._index_name.removesuffix("nbi") + self.digest(key) + ".nbc"
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})

    def digest(self, key: Any) -> str:
        """Of signature, processor and text: another one, another file."""
        return hashlib.sha256(f"{self._source_stamp} {key!r}".encode()).hexdigest()[:24]


def inlined() -> Callable[[F], F]:
    """Compile a helper into its callers."""

    def decorate(function: F) -> F:
        return numba.njit(forceinline=True, fastmath=STRICT)(function)

    return decorate
