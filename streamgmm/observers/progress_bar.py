"""A bar on a terminal: pass, rows per second, log-likelihood, its change, time left within the pass. Floor 1.

It leaves nothing behind but the lines that are worth keeping: repairs, warnings, the end. Where there is no terminal, plain_lines is
the one to take.
"""

__all__ = ["ProgressBar"]

import math
from typing import TextIO, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from streamgmm.events import Event
from streamgmm.observers.base import AbstractObserver, FirstFloors, Reading, message_of
from streamgmm.wording import human_number, human_seconds, one_line

NARROW = 60  # columns of a terminal, below which only pass, bar and time left are shown


@final
class ProgressBar(AbstractObserver):
    """The bar of the present pass; what is unusual is printed above it."""

    name = "progress_bar"

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream, markup=False, highlight=False, emoji=False)
        shown = ("rate", "likelihood", "change", "left") if console.width >= NARROW else ("left",)
        columns = [_text("{task.description}"), BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4))]
        columns += [_text(f"{{task.fields[{name}]}}") for name in shown]
        self._progress = Progress(*columns, console=console, transient=True, expand=True)
        self._task: TaskID | None = None
        self._is_news = FirstFloors()

    def __call__(self, event: Event) -> None:
        """See the base class."""
        if event.kind == "reading":
            self._show(Reading.of_event(event))
        elif event.kind == "pass":
            self._show_likelihood(event)
        elif event.kind == "start":
            self._begin(one_line(event.message))
        elif event.kind != "commit" and self._is_news(event):
            self._progress.console.print(one_line(message_of(event)), soft_wrap=True)

    def _begin(self, description: str) -> TaskID:
        self._progress.start()
        if self._task is None:
            self._task = self._progress.add_task(description, total=None, rate="", likelihood="", change="", left="")
        else:
            self._progress.update(self._task, description=description)
        return self._task

    def _show(self, reading: Reading) -> None:
        left = "" if reading.seconds_left is None else f"{human_seconds(reading.seconds_left)} left"
        self._progress.update(
            self._begin(one_line(reading.task)),
            total=reading.of,
            completed=reading.rows,
            rate=f"{human_number(reading.rows_per_second)} rows/s",
            left=left,
        )

    def _show_likelihood(self, event: Event) -> None:
        value, change = event.details.get("log_likelihood"), event.details.get("change")
        likelihood = f"log L {value:.6f}" if isinstance(value, float) and math.isfinite(value) else ""
        self._progress.update(
            self._begin(f"pass {event.details.get('pass', '?')}"),
            likelihood=likelihood,
            change="" if change is None else f"change {change:+.2g}",
        )

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.stop()


def _text(template: str) -> TextColumn:
    return TextColumn(template, markup=False, table_column=Column(no_wrap=True))
