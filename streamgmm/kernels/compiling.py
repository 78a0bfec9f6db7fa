"""How kernels are compiled: on first call, without the interpreter lock, cached on disk. Floor 0.

Numba's cache looks only at the file that holds the outer function, so a change in `tile.py` would leave stale machine code of
`e_step.py` in use. Here the cache is stamped with the text of the whole folder instead: any change compiles anew.
"""

__all__ = ["inlined", "intrinsic", "kernel", "overload"]

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import extending

F = TypeVar("F", bound=Callable[..., Any])

overload: Any = extending.overload
intrinsic: Any = extending.intrinsic

# "contract" lets a*b+c become one fused instruction, "nsz" ignores the sign of zero. Reassociation is allowed only where a sum is
# to be spread over vector lanes (`reassociate=True`): elsewhere it would undo the two-part constants of the exponential.
STRICT = {"contract", "nsz"}
SUMS = {"contract", "nsz", "reassoc"}


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
    dispatcher._cache._cache_file._source_stamp = _folder_stamp()  # noqa: SLF001  (numba has no public way; a test guards it)
    return dispatcher


def inlined(*, reassociate: bool = False) -> Callable[[F], F]:
    """Compile a helper into its callers."""

    def decorate(function: F) -> F:
        return numba.njit(forceinline=True, fastmath=SUMS if reassociate else STRICT)(function)

    return decorate
