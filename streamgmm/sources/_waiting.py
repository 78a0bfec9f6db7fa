"""Calls that may never come back, waited for so long and no longer, in threads that are kept for the next call. Floor 4.

Starting a thread for every read took some 0.15 ms of processor time, a percent of a pass; handing the call to one that is there takes
a seventh of that. A thread whose call has not come back in time is left behind and never asked again; it ends when its call does.
"""

__all__ = ["NoAnswer", "within"]

import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Answers = queue.SimpleQueue[tuple[Any, BaseException | None]]


class NoAnswer(Exception):
    """The call has not come back in time."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What the call gives, or what it raises. Raises NoAnswer where it has not come back after so many seconds."""
    helper = _idle_or_new()
    try:
        found, error = helper.ask(call).get(timeout=seconds)
    except queue.Empty:
        helper.leave()
        raise NoAnswer from None
    except BaseException:  # told to stop while it waited: the helper is busy, and nobody may ask it again
        helper.leave()
        raise
    _idle.append(helper)
    if error is not None:
        raise error
    answer: T = found
    return answer


class _Helper:
    """A thread that makes one call at a time, and does not keep the process from ending."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Answers] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="streamgmm-guarded-read", daemon=True).start()

    def ask(self, call: Callable[[], Any]) -> Answers:
        """Where the answer will be. Every call has a place of its own: a late answer is never taken for that of another call."""
        answers: Answers = queue.SimpleQueue()
        self._asked.put((call, answers))
        return answers

    def leave(self) -> None:
        """End when the call that is being made comes back, if it ever does."""
        self._asked.put(None)

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        # A function of its own: a thread that waits for the next call holds neither the source nor the rows of the one before.
        asked = self._asked.get()
        if asked is None:
            return False
        call, answers = asked
        answers.put(_answer(call))
        return True


def _answer(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001  (it is raised where it is waited for)
        return None, error


_idle: deque[_Helper] = deque()  # as many as were ever busy at once


def _idle_or_new() -> _Helper:
    try:
        return _idle.pop()
    except IndexError:
        return _Helper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # the threads stay with the parent
