"""Signals that ask a fit to stop. Floor 0.

The handler only sets a flag (and says so); the fit keeps its newest commit and ends. A second signal ends the process at once, which
harms no commit.
"""

__all__ = ["StopRequest", "leave_at_once", "leaving_on_term", "nothing_to_save"]

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self, final

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")


@final
class StopRequest:
    """A context manager that listens; calling it tells whether a signal came. say: told once, when the first one comes."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        self._say = say
        self._asked = False
        self._before: dict[int, Any] = {}
        self.leaves_with: int | None = None  # the exit code, while there is nothing to save

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self._asked

    @property
    def listens(self) -> bool:
        """Whether signals come here."""
        return bool(self._before)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell that keeps Ctrl-C from its background jobs
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        if self.leaves_with is not None:
            self._say(f"{signal.Signals(number).name}: stopped before the first pass, start again")
            leave_at_once(self.leaves_with)
        self._say(f"{signal.Signals(number).name}: stopping; a second signal leaves at once")


@contextlib.contextmanager
def nothing_to_save(stop_requested: Callable[[], bool], code: int) -> Iterator[None]:
    """While a start is made, which may take long (a sample of a large table, k-means), a signal ends the process at once with `code`."""
    if not isinstance(stop_requested, StopRequest) or not stop_requested.listens:
        yield
        return
    if stop_requested():
        leave_at_once(code)
    stop_requested.leaves_with = code
    try:
        yield
    finally:
        stop_requested.leaves_with = None


def leave_at_once(code: str | int | None) -> NoReturn:
    """End this process with its streams flushed, whatever its threads are at: a long block, or a server that does not answer."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


@contextlib.contextmanager
def leaving_on_term() -> Iterator[None]:
    """SIGTERM unwinds the stack, as Ctrl-C does, so that what is half written is removed; then the process ends with 143."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
