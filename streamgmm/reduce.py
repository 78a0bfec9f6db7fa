"""One fixed binary tree over blocks, whatever the order in which results arrive. Floor 0.

Node (level l, number j) covers blocks j 2^l .. (j+1) 2^l - 1, cut off at the last block. The shape depends on the number of blocks
alone; hence the same bits for any executor, worker count, retry or order of arrival. Appending blocks keeps all complete subtrees.
"""

__all__ = ["Span", "TreeReducer", "remaining", "spans"]

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Span:
    """A node of the tree: 2^level blocks from number * 2^level on."""

    number: int
    level: int

    @property
    def first(self) -> int:
        """First block."""
        return self.number << self.level

    def last(self, n_blocks: int) -> int:
        """One past the last block, cut off at the end of the table."""
        return min((self.number + 1) << self.level, n_blocks)

    def is_within(self, other: "Span") -> bool:
        """Whether all its blocks are blocks of the other."""
        return other.level >= self.level and other.number == self.number >> (other.level - self.level)


def spans(n_blocks: int, level: int) -> Iterator[Span]:
    """All spans of one level, in order."""
    return (Span(number, level) for number in range(-(-n_blocks >> level)))


def remaining(n_blocks: int, level: int, done: Collection[Span] = ()) -> Iterator[Span]:
    """What is left to do beside disjoint spans that are done: spans of at most `level`, as large as they can be, in order."""
    at = 0
    for span in sorted(done, key=lambda one: one.first):
        yield from _between(at, min(span.first, n_blocks), level, may_reach_beyond=False)
        at = max(at, span.last(n_blocks))
    yield from _between(at, n_blocks, level, may_reach_beyond=True)


def _between(start: int, stop: int, level: int, *, may_reach_beyond: bool) -> Iterator[Span]:
    """The largest spans from block `start` on, up to block `stop`; at the end of a table the last one is cut off there."""
    while start < stop:
        largest = level if start == 0 else min(level, (start & -start).bit_length() - 1)
        while largest and start + (1 << largest) > stop and not may_reach_beyond:
            largest -= 1
        yield Span(start >> largest, largest)
        start += 1 << largest


class TreeReducer(Generic[T]):
    """Merges the results of spans as their neighbours arrive; holds at most one result a level and those that wait for a neighbour.

    done: what another tree held (`held`); going on from there gives the same sums.
    """

    def __init__(self, merge: Callable[[T, T], T], done: Iterable[tuple[Span, T]] = ()) -> None:
        self._merge = merge
        self._waiting: dict[Span, T] = dict(done)

    @property
    def held(self) -> tuple[tuple[Span, T], ...]:
        """Disjoint spans with what they give, in order: all that was added so far."""
        return tuple(sorted(self._waiting.items(), key=lambda item: item[0].first))

    def add(self, span: Span, value: T) -> None:
        """Take the result of a span; each span once."""
        if any(span.is_within(other) for other in self._waiting):
            raise ValueError(f"the result of {span} came twice")
        while True:
            neighbour = Span(span.number ^ 1, span.level)
            if neighbour not in self._waiting:
                break
            other = self._waiting.pop(neighbour)
            value = self._merge(value, other) if span.number < neighbour.number else self._merge(other, value)
            span = Span(span.number // 2, span.level + 1)
        self._waiting[span] = value

    def result(self) -> T | None:
        """The whole, after the last span: what is left merges from the right edge inwards. None where nothing was added."""
        whole: T | None = None
        for span in sorted(self._waiting, key=lambda s: s.first, reverse=True):
            value = self._waiting[span]
            whole = value if whole is None else self._merge(value, whole)
        return whole
