"""Where blocks are mapped and merged: the abstract role. Floor 4.

An executor knows where a function of a block runs and nothing else. It hands results over span by span, in any order; the fixed
tree (`reduce.TreeReducer`) makes the sum independent of that order.
"""

__all__ = ["WAITING", "AbstractExecutor", "BlockFunction", "Found", "Merge", "Sound", "accepted", "never"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any, ClassVar, Protocol, TypeVar, final

from streamgmm.block import Block
from streamgmm.events import Event
from streamgmm.reduce import Span, TreeReducer
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Merge = Callable[[T, T], T]
Sound = Callable[[Span, T], str]  # what is wrong with the result of a span, "" for nothing
Found = tuple[Span, T] | Event  # a span's result, or something that happened meanwhile

PATIENCE = 0.25  # seconds after which an executor that has nothing to hand over says so
WAITING = Event("waiting", "nothing has finished for a moment")


class BlockFunction(Protocol[T_co]):
    """A pure function of a block; picklable where tasks run in other processes."""

    def __call__(self, block: Block) -> T_co:
        """The result of one block."""
        ...


def never() -> bool:
    """The stop request of a fit that nobody interrupts."""
    return False


def accepted(span: Span, value: object) -> str:
    """The check of results that are never refused."""
    del span, value
    return ""


class AbstractExecutor(ABC):
    """Maps a function over the blocks of a source and merges the results."""

    name: ClassVar[str]
    _strict: bool = False

    @property
    @abstractmethod
    def workers(self) -> int:
        """Blocks that are computed at the same time."""

    @property
    @abstractmethod
    def blocks_in_memory(self) -> int:
        """Blocks that a process of this executor holds at the same time, at most."""

    @property
    def memory_limit(self) -> int | None:
        """Bytes that each of its processes may use; None where that is what this process may."""
        return None

    @property
    def strict(self) -> bool:
        """Whether a numeric profile that would give other last bits is refused, not only told."""
        return self._strict

    def look_over(self, source: AbstractSource) -> Iterator[Event]:
        """Refuse a source that its processes cannot read, or processes that do not fit together, before anything begins.

        Something comes every PATIENCE seconds while it waits; a pass does the same where nobody has before.
        """
        del source
        return iter(())

    @abstractmethod
    def map_spans(
        self,
        function: BlockFunction[T],
        merge: "Merge[T]",
        source: AbstractSource,
        *,
        done: Collection[Span] = (),
        sound: "Sound[T]" = accepted,
    ) -> Generator["Found[T]", None, None]:
        """Results of disjoint spans that cover what is not done of the source, in any order, each once; events between them.

        Every PATIENCE seconds at least something comes: WAITING where nothing else does. A result that is not sound is computed anew
        where that can help. Closed early, what has not begun is given up, and what has is left to end by itself.
        """

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
        for found in self.map_spans(function, merge, source):
            if isinstance(found, Event):
                continue
            tree.add(*found)
            if on_span is not None:
                on_span(*found)
        return tree.result()
