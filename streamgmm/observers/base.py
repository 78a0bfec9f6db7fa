"""What becomes of a fit's events: the abstract role. Floor 1.

An observer turns events into something to look at. It is only ever told: it cannot change a fit, and it writes to the stream that it is
given, never to standard output, which is for data. Times are taken here and nowhere else; the clock comes in as an argument.
"""

__all__ = ["SECONDS_BETWEEN", "AbstractObserver", "FirstFloors", "Reading", "message_of", "together"]

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self, final

from streamgmm.events import Event

SECONDS_BETWEEN = 10.0  # within a pass, for observers that keep what they write


class AbstractObserver(ABC):
    """Called with every event, then closed. Use as a context manager."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Take one event."""

    @abstractmethod
    def close(self) -> None:
        """Leave the stream in order; closing twice is allowed."""

    @final
    def __enter__(self) -> Self:
        return self

    @final
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@final
class FirstFloors:
    """Tells whether an event is news: a component that is held up by its floor in every pass is news once."""

    def __init__(self) -> None:
        self._seen: set[tuple[object, ...]] = set()

    def __call__(self, event: Event) -> bool:
        """Whether to show it."""
        if event.kind != "floor":
            return True
        key = tuple(event.details.get(name) for name in ("start", "component", "kind"))
        news = key not in self._seen
        self._seen.add(key)
        return news


@final
@dataclass(frozen=True)
class Reading:
    """A `reading` event in numbers: how far the present pass has come. of: rows in all, None where nobody knows."""

    task: str
    rows: int
    of: int | None
    seconds: float

    @classmethod
    def of_event(cls, event: Event) -> Self:
        """From the details of an event; other work than a fit's passes names itself in `task`."""
        details = event.details
        task = details.get("task") or f"pass {details.get('pass', '?')}"
        return cls(str(task), int(details.get("rows", 0)), details.get("of"), float(details.get("seconds", 0.0)))

    @property
    def rows_per_second(self) -> float:
        """Mean rate of this pass."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until the end of this pass at the same rate."""
        if self.of is None or self.rows_per_second == 0:
            return None
        return (self.of - self.rows) / self.rows_per_second


def message_of(event: Event) -> str:
    """What an event says to people; a warning says that it is one."""
    return f"warning: {event.message}" if event.kind == "warning" else event.message


def together(*observers: Callable[[Event], None]) -> Callable[[Event], None]:
    """One observer that tells all of these, in order."""

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    return tell
