"""One block after the other in the calling thread: for debugging and for profiles. Floor 4."""

__all__ = ["Serial"]

from collections.abc import Iterator
from typing import TypeVar

from streamgmm.executors.base import AbstractExecutor, BlockFunction, Merge
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")


class Serial(AbstractExecutor):
    """Reads and computes in turn; a debugger stops where the error is."""

    name = "serial"

    @property
    def workers(self) -> int:
        """1."""
        return 1

    @property
    def blocks_in_memory(self) -> int:
        """1."""
        return 1

    def map_spans(self, function: BlockFunction[T], merge: "Merge[T]", source: AbstractSource) -> Iterator[tuple[Span, T]]:
        """See the base class."""
        del merge
        for number, block in enumerate(source.blocks()):
            yield Span(number, 0), function(block)
