"""Lines where there is no terminal: one a pass, one at most every ten seconds within a pass."""

import io

from streamgmm.events import Event
from streamgmm.observers.plain_lines import PlainLines


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def lines_of(events, step):
    """What is written for events that come `step` seconds apart."""
    stream, clock = io.StringIO(), Clock()
    observer = PlainLines(stream, clock)
    for event in events:
        clock.now += step
        observer(event)
    return stream.getvalue().splitlines()


def reading(rows, seconds):
    return Event("reading", "", {"pass": 3, "rows": rows, "of": 1_000_000, "seconds": seconds})


def test_quick_passes_give_one_line_each():
    events = [event for n in (1, 2) for event in (reading(10, 0.1), reading(20, 0.2), Event("pass", f"pass {n}: log-likelihood -1"))]
    assert lines_of(events, 0.01) == ["pass 1: log-likelihood -1", "pass 2: log-likelihood -1"]


def test_a_long_pass_gives_a_line_every_ten_seconds():
    events = [reading(1000 * (i + 1), i + 1.0) for i in range(35)]
    found = lines_of(events, 1.0)
    assert len(found) == 3
    assert found[0] == "pass 3: 10,000 rows of 1,000,000 (1 %), 1 k rows/s, 16 min 30 s left"


def test_a_table_of_unknown_length_has_no_time_left():
    event = Event("reading", "", {"task": "ingest", "rows": 500, "of": None, "seconds": 2.0})
    assert lines_of([event], 10.0) == ["ingest: 500 rows, 250 rows/s"]


def test_commits_are_not_told_and_repairs_are():
    events = [Event("commit", "saved"), Event("reseed", "component 2 is empty: reseed", {"component": 2})]
    assert lines_of(events, 0.0) == ["component 2 is empty: reseed"]
