"""When states are committed, and what is done when they cannot be. Floor 6.

A state that ends the fit is committed at once; others as often as `every` says, and after passes more often where that costs next to
nothing. No clock but a monotonic one is looked at, and no result depends on it. Room that is kept on a disk for the last state is not
spent on one before it: what cannot be saved now is computed on, and saved later.
"""

__all__ = ["Saver"]

import time
from collections.abc import Callable
from typing import Protocol

from streamgmm.errors import StorageError
from streamgmm.events import Event, ignore
from streamgmm.state import FitState

SHARE = 200  # a commit after a pass waits for so many times what the last one took, or until one is due in any case
MAX_UNSAVED = 900.0  # seconds for which a fit goes on while its commits fail


class Numbered(Protocol):
    """A commit."""

    @property
    def number(self) -> int:
        """Its number in the run."""


class Commits(Protocol):
    """Where commits go: a run."""

    def commit(self, state: FitState, /, *, last: bool = False) -> Numbered:
        """Write a state; the last one may take the room that is kept for it. Raises StorageError."""


class Saver:
    """Commits the states of a fit to a run.

    every: seconds of work that may be lost. max_unsaved: seconds for which failing commits (a full disk, a lost server) are told once
    and tried again; then, and where the fit ends, their error is raised, after a last attempt with the room that was kept.
    """

    def __init__(
        self,
        run: Commits,
        every: float,
        observe: Callable[[Event], None] = ignore,
        clock: Callable[[], float] = time.monotonic,
        max_unsaved: float = MAX_UNSAVED,
    ) -> None:
        self._run, self._every, self._observe, self._clock, self._max_unsaved = run, every, observe, clock, max_unsaved
        self._tried = self._saved = clock()
        self._cost = 0.0
        self._is_failing = False

    def due(self) -> bool:
        """Whether so much time has passed that a part of a pass is worth a commit."""
        return self._clock() - self._tried >= self._every

    def __call__(self, state: FitState) -> None:
        """Commit the state if it is time. Raises StorageError as said above, RunLockedError where another process has committed."""
        now = self._clock()
        after_a_pass = state.outcome is None and state.progress is None  # within one the loop asks first, or an error is on its way
        if after_a_pass and now - self._tried < min(self._every, SHARE * self._cost):
            return
        error_on_its_way = state.progress is not None and state.outcome is None and now - self._tried < self._every
        try:
            self._commit(state, last=error_on_its_way)
        except StorageError as error:
            if state.outcome is not None:
                raise
            if now - self._saved > self._max_unsaved:
                self._commit(state, last=True)
                raise
            self._tell(state, error)
        self._tried = self._clock()
        self._cost = self._tried - now

    def _commit(self, state: FitState, *, last: bool) -> None:
        commit = self._run.commit(state, last=last)
        self._saved, self._is_failing = self._clock(), False
        where = f"pass {state.passes}" if state.progress is None and not state.step else f"a part of pass {state.passes + 1}"
        self._observe(Event("commit", f"{where} is saved in commit {commit.number}", {"pass": state.passes, "commit": commit.number}))

    def _tell(self, state: FitState, error: StorageError) -> None:
        """Once, until a commit succeeds again."""
        if not self._is_failing:
            self._observe(Event("warning", f"not saved, the fit goes on and tries again: {error}", {"pass": state.passes}))
        self._is_failing = True
