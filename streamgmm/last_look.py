"""One more read of all rows after the last pass, for what is said of a fit that has come to its end. Floor 6.

It commits nothing: a process that is killed in it begins it again. Rows that are more or fewer than those of the passes are refused, and
what the source tells of changes; values that were changed in place are not noticed here.
"""

__all__ = ["StoppedLooking", "last_look"]

import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from streamgmm.errors import DataChangedError, DataError
from streamgmm.events import Event
from streamgmm.executors.base import AbstractExecutor, BlockFunction
from streamgmm.held_out_scores import HeldOutScores, merge_scores
from streamgmm.reduce import TreeReducer
from streamgmm.sources.base import AbstractSource
from streamgmm.state import FitState

S = TypeVar("S", bound=HeldOutScores)


class StoppedLooking(Exception):
    """The caller asked to stop meanwhile."""


def last_look(
    function: BlockFunction[S],
    source: AbstractSource,
    executor: AbstractExecutor,
    state: FitState,
    task: str,
    observe: Callable[[Event], None],
    stop_requested: Callable[[], bool],
) -> S:
    """The scores of a whole table of which a fit has come to this state. task: what it is called while it goes on.

    Raises StoppedLooking, and DataChangedError where the rows are not those of the passes.
    """
    tree: TreeReducer[S] = TreeReducer(merge_scores)
    began, rows = time.monotonic(), 0
    with closing(executor.map_spans(function, merge_scores, source, sound=lambda _, one: one.fault())) as found:
        for one in found:
            if stop_requested():
                raise StoppedLooking
            if not isinstance(one, Event):
                tree.add(*one)
                rows += one[1].rows + one[1].skipped
                details = {"task": task, "rows": rows, "of": source.n_rows, "seconds": time.monotonic() - began}
                observe(Event("reading", f"{task}: {rows:,} rows", details))
            elif one.kind != "waiting":
                observe(one)
    source.refuse_changes()
    scores = tree.result()
    if scores is None:
        raise DataError("the table has no rows")
    if (scores.rows, scores.skipped) != (state.rows, state.skipped):
        raise DataChangedError(
            f"the passes read {state.rows} rows and left out {state.skipped}, the last read {scores.rows} and {scores.skipped}: the"
            " table has changed since; use a new run folder"
        )
    return scores
