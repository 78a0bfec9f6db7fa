"""What results of a pass must look like, whoever computed them: shapes, references, rows, checksums, sums. Floor 5.

A result of another form can never be merged: numbers of another shape would spread over the sums. One whose numbers are odd may be
what the rows give; it is computed again, and what uses it says what is wrong.
"""

__all__ = ["PartialCheck", "check_of"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgmm.block import Block
from streamgmm.em import MixtureStatistics, Partial, e_step
from streamgmm.mixture import Mixture
from streamgmm.reduce import Span
from streamgmm.sources.base import AbstractSource

SAME_SUM = 1e-3  # relative: responsibilities add up to one for each row, in single arithmetic as well


@dataclass(frozen=True, eq=False)
class PartialCheck:
    """Of one pass over a source. empty: what no rows at all give, one for each mixture."""

    mixtures: tuple[Mixture, ...]
    empty: tuple[MixtureStatistics, ...]
    source: AbstractSource

    def __call__(self, span: Span, partial: Partial) -> str:
        """What is wrong with the result of a span, "" where nothing is."""
        return self.misfit(span, partial) or partial.fault() or self._wrong_sum(partial)

    def misfit(self, span: Span, partial: Partial) -> str:
        """Why it cannot be merged with the others, or counted."""
        if len(partial.statistics) != len(self.empty):
            return f"it is of {len(partial.statistics)} starts, {len(self.empty)} are being fitted"
        for number, (one, like) in enumerate(zip(partial.statistics, self.empty, strict=True)):
            unlike = one.misfit(like)
            if unlike:
                return f"the statistics of start {number} are of another form: {unlike}; is it another release of streamgmm?"
        return self._wrong_rows(span, partial)

    def _wrong_rows(self, span: Span, partial: Partial) -> str:
        n_blocks = self.source.n_blocks
        if n_blocks is None:
            return ""
        blocks = range(span.first, span.last(n_blocks))
        if not blocks:
            return f"it is of blocks from {span.first} on, there are {n_blocks}"
        if len(partial.checksums) not in (0, len(blocks)):
            return f"it has {len(partial.checksums)} checksums for {len(blocks)} blocks"
        rows = partial.statistics[0].rows, partial.statistics[0].skipped
        if any((one.rows, one.skipped) != rows for one in partial.statistics):
            return "its starts count different rows"
        wanted = self._rows_of(blocks)
        return "" if wanted in (None, partial.rows) else f"it counts {partial.rows} rows, the span has {wanted}"

    def _rows_of(self, blocks: range) -> int | None:
        whole = self.source.whole
        if whole is self.source:  # without a loop: what claims to be a span may claim to be of any length
            return whole.rows_in(blocks.start, blocks.stop)
        counts = [whole.rows_in(number, number + 1) for number in map(self.source.number, blocks)]
        return None if None in counts else sum(count or 0 for count in counts)

    def _wrong_sum(self, partial: Partial) -> str:
        for number, (one, mixture) in enumerate(zip(partial.statistics, self.mixtures, strict=True)):
            if self.source.sample_weight is None and one.weight != one.rows:
                return f"the {one.rows} rows of start {number} weigh {one.weight:g}, and have no weights"
            counts = mixture.components.counts(one.components)
            if not abs(float(counts.sum()) - one.weight) <= SAME_SUM * max(one.weight, 1.0) or (counts < -SAME_SUM).any():
                return f"the responsibilities of start {number} add up to {counts.sum():g}, the rows weigh {one.weight:g}"
        return ""


def check_of(mixtures: Sequence[Mixture], source: AbstractSource, *, hard: bool, arithmetic: str) -> PartialCheck:
    """The check of a pass in which these mixtures are fitted."""
    nothing = Block(0, 0, np.empty((0, source.n_features)))
    empty = e_step(mixtures, nothing, block_rows=source.block_rows, hard=hard, arithmetic=arithmetic)
    return PartialCheck(tuple(mixtures), empty, source)
