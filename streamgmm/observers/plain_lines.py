"""Lines of text where there is no terminal: log files, batch jobs, pipes. Floor 1."""

__all__ = ["PlainLines"]

import time
from collections.abc import Callable
from typing import TextIO, final

from streamgmm.events import Event
from streamgmm.observers.base import SECONDS_BETWEEN, AbstractObserver, FirstFloors, Reading, message_of
from streamgmm.wording import human_number, human_seconds, one_line


@final
class PlainLines(AbstractObserver):
    """One line a pass, one at most every ten seconds within a pass, one for everything unusual."""

    name = "plain_lines"

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._last = clock()
        self._is_news = FirstFloors()

    def __call__(self, event: Event) -> None:
        """See the base class."""
        if event.kind == "commit" or not self._is_news(event):
            return
        now = self._clock()
        if event.kind == "reading":
            if now - self._last < SECONDS_BETWEEN:
                return
            line = _reading_line(Reading.of_event(event))
        else:
            line = message_of(event)
        self._last = now
        self._stream.write(one_line(line) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left to do: the stream is the caller's."""


def _reading_line(reading: Reading) -> str:
    share = "" if not reading.of else f" of {reading.of:,} ({100 * reading.rows / reading.of:.0f} %)"
    left = "" if reading.seconds_left is None else f", {human_seconds(reading.seconds_left)} left"
    return f"{reading.task}: {reading.rows:,} rows{share}, {human_number(reading.rows_per_second)} rows/s{left}"
