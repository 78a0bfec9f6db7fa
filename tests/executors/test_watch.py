"""The watchdog: silence becomes an error that says whose, and what changes is told. No cluster, no time that passes."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from streamgmm.errors import ClusterError, NoWorkersError, SchedulerLostError, StalledError, exit_code
from streamgmm.executors import _watch
from streamgmm.executors._watch import LOST_AFTER, Watch
from tests.simulation import FakeClock


class FakeClient:
    """Answers with `threads`, or not at all where that is None."""

    status = "running"
    scheduler = SimpleNamespace(address="tcp://127.0.0.1:8786")

    def __init__(self, **threads):
        self.threads = threads

    def nthreads(self):
        return self.threads

    def scheduler_info(self, n_workers):
        assert n_workers == -1
        return {"workers": {name: {"nthreads": n, "memory_limit": 100 * n} for name, n in self.threads.items()}}


@pytest.fixture
def clock(monkeypatch):
    def at_once(call, *arguments, **options):
        future = Future()
        client = call.__self__
        if client.threads is not None:
            future.set_result(call(*arguments, **options))
        return future

    monkeypatch.setattr(_watch, "in_background", at_once)
    return FakeClock()


def watching(client, clock):
    watch = Watch(client, timeout=60.0, stall_timeout=300.0, clock=clock)
    if client.threads is not None:
        watch.first_answer()
    return watch


def looks(watch, clock, seconds, *, working=True):
    """Events of so many seconds."""
    events = []
    for _ in range(4 * seconds):
        clock.now += 0.25
        if working:
            watch.progress()
        events.extend(watch.look(lambda: "3 tasks"))
    return events


def test_a_quiet_cluster_gives_no_events(clock):
    watch = watching(FakeClient(a=2, b=1), clock)
    assert looks(watch, clock, 1000) == []
    assert watch.threads == {"a": 2, "b": 1}
    assert watch.memory == {"a": 200, "b": 100}


def test_workers_that_go_and_come_are_told(clock):
    """W7."""
    client = FakeClient(a=1, b=1)
    watch = watching(client, clock)
    client.threads = {"b": 1, "c": 4}
    assert [(event.kind, event.details["worker"]) for event in looks(watch, clock, 5)] == [("worker_lost", "a"), ("worker_added", "c")]


def test_a_silent_scheduler_is_lost(clock):
    """W10."""
    client = FakeClient(a=1)
    watch = watching(client, clock)
    client.threads = None
    looks(watch, clock, int(LOST_AFTER))
    with pytest.raises(SchedulerLostError, match="has not answered for 20 s") as caught:
        looks(watch, clock, 10)
    assert exit_code(caught.value) == 9


def test_a_closed_client_is_a_lost_scheduler(clock):
    """W10."""
    client = FakeClient(a=1)
    watch = watching(client, clock)
    client.status = "closed"
    with pytest.raises(SchedulerLostError, match="start a scheduler and workers, then resume"):
        looks(watch, clock, 1)


def test_a_connection_that_breaks_and_comes_back_is_told_and_no_error(clock):
    client = FakeClient(a=1)
    watch = watching(client, clock)
    client.status = "connecting"
    events = looks(watch, clock, 5)
    client.status = "running"
    events += looks(watch, clock, 5)
    assert [event.details["connected"] for event in events] == [False, True]


def test_no_workers_is_an_error_after_the_timeout(clock):
    """W4, W9."""
    client = FakeClient(a=1)
    watch = watching(client, clock)
    client.threads = {}
    looks(watch, clock, 59)
    with pytest.raises(NoWorkersError, match=r"within 60 s \(last seen: a\)"):
        looks(watch, clock, 10)


def test_no_progress_is_an_error_that_says_what_for(clock):
    watch = watching(FakeClient(a=1), clock)
    looks(watch, clock, 299, working=False)
    with pytest.raises(StalledError, match=r"no span finished within 300 s; 1 workers are there, waiting for 3 tasks"):
        looks(watch, clock, 10, working=False)


def test_time_in_which_this_process_slept_is_nobodys_fault(clock):
    client = FakeClient(a=1)
    watch = watching(client, clock)
    client.threads = None
    for _ in range(5):
        clock.now += 3600
        assert not list(watch.look(lambda: ""))


def test_a_client_that_does_not_answer_at_all_is_refused(clock, monkeypatch):
    """W16."""
    monkeypatch.setattr(_watch, "LOST_AFTER", 0.01)
    client = FakeClient()
    client.threads = None
    with pytest.raises(ClusterError, match="A client does not survive a fork"):
        Watch(client, 60.0, 300.0, clock).first_answer()
