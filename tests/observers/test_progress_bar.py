"""The bar: what it shows on terminals wide and narrow, and what it leaves behind."""

import io
import re

import pytest
from rich.console import Console

from streamgmm.events import Event
from streamgmm.observers import progress_bar
from streamgmm.observers.progress_bar import ProgressBar

EVENTS = [
    Event("start", "1 start(s) kmeans on a sample of 100 rows"),
    Event("pass", "pass 6", {"pass": 6, "log_likelihood": -9.8765432, "change": 0.0123}),
    Event("floor", "component 1 was held up", {"start": 0, "component": 1, "kind": "variance"}),
    Event("reading", "", {"pass": 7, "rows": 1_500_000, "of": 3_000_000, "seconds": 0.5}),
]


def shown(monkeypatch, width, events, encoding="utf-8"):
    """What a terminal of this width gets, without the sequences that move its cursor."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)

    def terminal(**options):
        return Console(**options, force_terminal=True, width=width, color_system=None)

    monkeypatch.setattr(progress_bar, "Console", terminal)
    with ProgressBar(stream) as bar:
        for event in events:
            bar(event)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.getvalue().decode(encoding))


def test_pass_rate_likelihood_change_and_time_left(monkeypatch):
    text = shown(monkeypatch, 100, EVENTS)
    for part in ("pass 7", "3 M rows/s", "log L -9.876543", "change +0.012", "1 s left"):
        assert part in text


def test_a_narrow_terminal_gets_pass_bar_and_time(monkeypatch):
    text = shown(monkeypatch, 40, EVENTS)
    assert "pass 7" in text
    assert "1 s left" in text
    assert "rows/s" not in text


@pytest.mark.parametrize("width", [1, 8, 20, 60, 300])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_terminal_is_too_narrow_or_too_old(monkeypatch, width, encoding):
    shown(monkeypatch, width, [*EVENTS, Event("warning", "größer als \N{SNOWMAN}")], encoding)


def test_what_is_unusual_stays_on_the_screen(monkeypatch):
    assert "component 1 was held up\n" in shown(monkeypatch, 80, EVENTS)
