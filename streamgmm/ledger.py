"""Exactly-once accounting of a pass, whatever executors deliver: late, twice, from another pass. Floor 4.

Work may run more than once; its result counts once. What came first counts, the same again is dropped, something else for the same
span is an error: then nobody knows which of the two is right.
"""

__all__ = ["Ledger"]

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from streamgmm.em import Partial, merge_partials
from streamgmm.errors import NondeterminismError, NumericalError
from streamgmm.reduce import Span, TreeReducer


class Ledger:
    """The spans of one pass that are done, and their sum in the fixed tree.

    stamp: what partials of this pass carry. n_blocks: of the source, None where nobody knows. done: what an earlier ledger held.
    number: what messages call a block. misfit: why a partial cannot be merged with the others, "" where it can.
    """

    def __init__(
        self,
        stamp: str,
        n_blocks: int | None,
        done: Iterable[tuple[Span, Partial]] = (),
        number: Callable[[int], int] = int,
        misfit: Callable[[Span, Partial], str] = lambda span, partial: "",
    ) -> None:
        self.stamp, self._n_blocks, self._number, self._misfit = stamp, n_blocks, number, misfit
        self._refused = ""
        self._edge: tuple[tuple[Span, Partial], ...] = ()
        self._tree: TreeReducer[Partial] = TreeReducer(merge_partials, self._without_edge(done))
        self._digests: dict[Span, int] = {}
        self._counted = np.zeros(n_blocks or 0, bool)
        self._sound = True
        for span, _ in self.held:
            self._counted[self._blocks(span)] = True

    @property
    def held(self) -> tuple[tuple[Span, Partial], ...]:
        """All that was accepted, merged as far as it goes."""
        return self._tree.held + self._edge

    @property
    def lasting(self) -> tuple[tuple[Span, Partial], ...]:
        """The same without the span that ends with the table: rows that are appended change that one, and none of these."""
        return self._tree.held

    @property
    def worth_saving(self) -> tuple[tuple[Span, Partial], ...]:
        """All that was accepted; nothing where a part of it is not sound: the M-step is going to refuse it, and so would a reader."""
        return self.held if self._sound else ()

    @property
    def rows(self) -> int:
        """Rows of all that was accepted."""
        return sum(partial.rows for _, partial in self.held)

    @property
    def missing(self) -> int:
        """Blocks that were not accepted yet, as far as their number is known."""
        return int((~self._counted).sum())

    def accept(self, span: Span, partial: Partial) -> str:
        """Count a partial: "" where it counts, else why it does not ("late", "twice", or what is wrong with its form).

        Raises NondeterminismError where other numbers were accepted for the same blocks.
        """
        if partial.stamp != self.stamp:
            return "late"
        refused = self._misfit(span, partial)
        if refused:
            self._refused = f"; the last result that was refused is of {self._named(span)}: {refused}"
            return refused
        if self._counted[self._blocks(span)].any():
            self._compare(span, partial)
            return "twice"
        self._counted[self._blocks(span)] = True
        self._sound = self._sound and not partial.fault()
        self._digests[span] = partial.digest()
        for one in self._without_edge([(span, partial)]):
            self._tree.add(*one)
        return ""

    def _without_edge(self, found: Iterable[tuple[Span, Partial]]) -> Iterator[tuple[Span, Partial]]:
        """All but what ends with the table, which is kept apart."""
        for span, partial in found:
            if self._blocks(span).stop == self._n_blocks:
                self._edge = ((span, partial),)
            else:
                yield span, partial

    def _compare(self, span: Span, partial: Partial) -> None:
        if self._digests.get(span, partial.digest()) != partial.digest():
            raise NondeterminismError(
                f"{self._named(span)} gave two different results in one pass: a worker computes wrongly, or the rows differ from read to"
                " read. streamgmm doctor compares the workers; then resume."
            )

    def total(self) -> Partial | None:
        """The sum over all blocks, None where there are none. Raises NumericalError where a block is missing."""
        if not self._counted.all():
            missing = int(np.argmin(self._counted))
            raise NumericalError(
                f"{self._counted.sum()} of {len(self._counted)} blocks were delivered; block {self._number(missing)} was not{self._refused}"
            )
        tree: TreeReducer[Partial] = TreeReducer(merge_partials, self._tree.held)
        for one in self._edge:
            tree.add(*one)
        return tree.result()

    def _blocks(self, span: Span) -> slice:
        return slice(0, 0) if self._n_blocks is None else slice(span.first, span.last(self._n_blocks))

    def _named(self, span: Span) -> str:
        last = span.last(self._n_blocks or span.first + 1)
        first, end = self._number(span.first), self._number(last - 1)
        return f"block {first}" if last == span.first + 1 else f"the span of blocks {first} to {end}"
