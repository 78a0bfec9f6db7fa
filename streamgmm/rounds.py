"""Rounds within a pass: which blocks the next one reads, and what the rounds of a pass add up to. Floor 6.

Most schedules make one round a pass, over all blocks. Others look at a batch of blocks, take a step and look at the next batch; a pass
ends when every block was looked at once. Of an iterator every block is a round, as nobody knows how many there are.
"""

__all__ = ["Turn", "added", "turn_of"]

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from streamgmm.em import Partial
from streamgmm.errors import CheckpointError
from streamgmm.passes import FitProblem
from streamgmm.sources._selected import select
from streamgmm.state import FitState, Tally


@dataclass(frozen=True, eq=False)
class Turn:
    """One round. problem: with the blocks of the round as its source. steps: rounds of the pass, None where nobody knows.

    share: of the table's blocks that were read of the pass when the round is done; 1 where nobody knows.
    """

    problem: FitProblem
    steps: int | None = 1
    share: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether it reads all blocks."""
        return self.problem.source.whole is self.problem.source


def turn_of(problem: FitProblem, state: FitState) -> Turn:
    """The round after `state`. Raises CheckpointError where the state has made more rounds of a pass than there are."""
    source = problem.source
    if source.n_blocks is None:
        online = not problem.schedule.needs_second_look
        return Turn(replace(problem, source=select(source, [state.step])), None) if online else Turn(problem)
    batches = problem.schedule.batches(source.n_blocks, state.passes, problem.seed) if source.n_blocks else None
    if state.step >= (1 if batches is None else len(batches)):
        raise CheckpointError(
            f"the state is after round {state.step} of pass {state.passes + 1}, which has {1 if batches is None else len(batches)} rounds;"
            " use the commit before, or a new run folder"
        )
    if batches is None:
        return Turn(problem)
    read = sum(len(batch) for batch in batches[: state.step + 1])
    return Turn(replace(problem, source=select(source, batches[state.step])), len(batches), read / source.n_blocks)


def added(turn: Turn, state: FitState, partial: Partial, reseeds: list[int]) -> Tally:
    """The sums of the pass with those of this round."""
    before, first = state.tally, partial.statistics[0]
    none = (0,) * len(partial.statistics)
    likelihoods = zip(before.log_likelihoods or none, partial.statistics, strict=True)
    return Tally(
        before.rows + first.rows,
        before.skipped + first.skipped,
        before.weight + first.weight,
        tuple(total + one.log_likelihood for total, one in likelihoods),
        tuple(old + new for old, new in zip(before.reseeds or none, reseeds, strict=True)),
        partial.checksums if turn.is_whole else _placed(turn, before, partial),
        before.lost + partial.lost,
    )


def _placed(turn: Turn, before: Tally, partial: Partial) -> npt.NDArray[np.uint32]:
    source, found = turn.problem.source, partial.checksums
    if turn.steps is None or not len(found):
        return np.concatenate((before.checksums, found))
    checksums = before.checksums.copy() if len(before.checksums) else np.zeros(source.whole.n_blocks or 0, np.uint32)
    checksums[[source.number(index) for index in range(len(found))]] = found
    return checksums
