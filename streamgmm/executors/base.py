"""Where blocks are mapped and merged: the abstract role. Floor 4.

An executor knows where a function of a block runs and nothing else. It hands results over span by span, in any order; the fixed
tree (`reduce.TreeReducer`) makes the sum independent of that order.
"""

__all__ = ["AbstractExecutor", "BlockFunction", "Merge", "never"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol, TypeVar, final

from streamgmm.block import Block
from streamgmm.reduce import Span, TreeReducer
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Merge = Callable[[T, T], T]


class BlockFunction(Protocol[T_co]):
    """A pure function of a block; picklable where tasks run in other processes."""

    def __call__(self, block: Block) -> T_co:
        """The result of one block."""
        ...


def never() -> bool:
    """The stop request of a fit that nobody interrupts."""
    return False


class AbstractExecutor(ABC):
    """Maps a function over the blocks of a source and merges the results."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def workers(self) -> int:
        """Blocks that are computed at the same time."""

    @property
    @abstractmethod
    def blocks_in_memory(self) -> int:
        """Blocks that a process of this executor holds at the same time, at most."""

    @abstractmethod
    def map_spans(self, function: BlockFunction[T], merge: "Merge[T]", source: AbstractSource) -> Iterator[tuple[Span, T]]:
        """Results of spans of one level that together cover the source, in any order, each once."""

    @final
    def map_reduce(
        self,
        function: BlockFunction[T],
        merge: "Merge[T]",
        source: AbstractSource,
        on_span: Callable[[Span, T], Any] | None = None,
    ) -> T | None:
        """The merged result over all blocks; None for a source without blocks. `on_span` sees every span's result as it comes."""
        tree: TreeReducer[T] = TreeReducer(merge)
        for span, value in self.map_spans(function, merge, source):
            tree.add(span, value)
            if on_span is not None:
                on_span(span, value)
        return tree.result()
