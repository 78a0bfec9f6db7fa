"""What every observer keeps to: it takes every event, writes to its own stream only, and sends no control characters to a terminal."""

import io
import math

import pytest

from streamgmm import registry
from streamgmm.events import Event
from streamgmm.observers.base import AbstractObserver, Reading, together

HOSTILE = "name\nwith\x1b[31m\x07 escapes \ud800"
EVENTS = [
    Event("start", "2 start(s) kmeans on a sample of 100 rows", {"rows": 100}),
    Event("reading", "pass 1: 50 rows", {"pass": 1, "rows": 50, "of": 100, "seconds": 0.5}),
    Event("reading", "pass 1: 100 rows", {"pass": 1, "rows": 100, "of": None, "seconds": 0.0}),
    Event("reading", "labels", {"task": HOSTILE, "rows": 0, "of": 0, "seconds": 1.0}),
    Event("pass", "pass 1: log-likelihood -3", {"pass": 1, "log_likelihood": -3.0, "rows": 100, "skipped": 2, "change": None}),
    Event("pass", "pass 2: log-likelihood nan", {"pass": 2, "log_likelihood": math.nan, "change": math.inf}),
    Event("floor", "component 3 was held up", {"pass": 2, "start": 0, "component": 3, "kind": "variance", "value": 1e-9, "floor": 1e-6}),
    Event("commit", "pass 2 is saved", {"pass": 2, "commit": 2}),
    Event("warning", HOSTILE, {"path": HOSTILE}),
    Event("something new", "an event of a later release"),
    Event("finish", "done", {"outcome": "converged", "passes": 2, "start": 0}),
]

observers = pytest.mark.parametrize("name", registry.names("observers"))


def made(name, stream):
    return registry.implementation("observers", name)(stream)


@observers
def test_it_is_an_observer_under_its_name(name):
    kind = registry.implementation("observers", name)
    assert issubclass(kind, AbstractObserver)
    assert kind.name == name


@observers
def test_it_takes_every_event_and_writes_to_its_own_stream_only(name, capfd):
    stream = io.StringIO()
    with made(name, stream) as observer:
        for event in EVENTS:
            observer(event)
    assert stream.getvalue()
    assert capfd.readouterr() == ("", "")


@observers
def test_it_can_be_closed_twice_and_without_any_event(name):
    observer = made(name, io.StringIO())
    observer.close()
    observer.close()


@observers
def test_hostile_names_stay_text(name):
    stream = io.StringIO()
    with made(name, stream) as observer:
        observer(Event("warning", HOSTILE, {"path": HOSTILE}))
    written = stream.getvalue()
    assert "\x1b[31m" not in written
    assert "\x07" not in written
    assert written.count("\n") == 1
    written.encode("utf-8")


@observers
def test_an_event_is_left_as_it_is(name):
    details = {"pass": 1, "rows": 5, "of": 10, "seconds": 1.0}
    with made(name, io.StringIO()) as observer:
        observer(Event("reading", "reading", details))
    assert details == {"pass": 1, "rows": 5, "of": 10, "seconds": 1.0}


def test_together_tells_all_in_order():
    told = []
    together(lambda e: told.append(("first", e.kind)), lambda e: told.append(("second", e.kind)))(EVENTS[0])
    assert told == [("first", "start"), ("second", "start")]


@pytest.mark.parametrize(
    ("rows", "of", "seconds", "rate", "left"),
    [(50, 100, 5.0, 10.0, 5.0), (0, 100, 5.0, 0.0, None), (50, None, 5.0, 10.0, None), (5, 5, 0.0, 0.0, None)],
)
def test_rate_and_time_left(rows, of, seconds, rate, left):
    reading = Reading("pass 1", rows, of, seconds)
    assert (reading.rows_per_second, reading.seconds_left) == (rate, left)
