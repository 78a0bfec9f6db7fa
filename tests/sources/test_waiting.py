"""Calls that may never come back: waited for so long, in threads that are used again, and left behind where they hang."""

import gc
import queue
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamgmm.sources import _waiting
from streamgmm.sources._waiting import NoAnswer, within

LONG = 60.0


@pytest.fixture(autouse=True)
def own_threads(monkeypatch):
    monkeypatch.setattr(_waiting, "_idle", type(_waiting._idle)())


def test_it_gives_what_the_call_gives_or_raises():
    assert within(LONG, lambda: 7) == 7
    with pytest.raises(OSError, match="busy"):
        within(LONG, lambda: (_ for _ in ()).throw(OSError("busy")))
    with pytest.raises(queue.Empty):  # of the call itself: no word about time
        within(LONG, queue.SimpleQueue().get_nowait)


def test_one_thread_serves_call_after_call():
    assert len({within(LONG, threading.get_ident) for _ in range(50)}) == 1


def test_calls_at_once_get_threads_of_their_own():
    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        idents = list(pool.map(lambda _: within(LONG, lambda: (together.wait(LONG), threading.get_ident())[1]), range(4)))
    assert len(set(idents)) == 4
    assert len(_waiting._idle) == 4


def test_a_thread_that_hangs_is_never_asked_again_and_its_late_answer_is_nobodys():
    """D28: a read that never answers."""
    let_go, hung = threading.Event(), []

    def hang():
        hung.append(threading.current_thread())
        let_go.wait(LONG)
        return "late"

    with pytest.raises(NoAnswer):
        within(0.02, hang)
    assert not _waiting._idle
    assert within(LONG, lambda: "mine") == "mine"
    let_go.set()
    hung[0].join(LONG)
    assert not hung[0].is_alive(), "it ends when its call does"
    assert within(LONG, lambda: "mine again") == "mine again"


def test_the_guard_matters_a_hung_thread_that_is_asked_again_hangs_the_next_call(monkeypatch):
    let_go = threading.Event()

    def asked_again(self):
        _waiting._idle.append(self)

    monkeypatch.setattr(_waiting._Helper, "leave", asked_again)
    with pytest.raises(NoAnswer):
        within(0.02, lambda: let_go.wait(LONG))
    with pytest.raises(NoAnswer):
        within(0.02, lambda: 1)
    let_go.set()


def test_a_waiting_thread_holds_nothing_of_the_call_before():
    class Rows:
        pass

    def read(kept=Rows()):  # noqa: B008
        return kept

    gone = weakref.ref(within(LONG, read))
    del read
    within(LONG, lambda: None)  # the thread is past the line that held the answer
    gc.collect()
    assert gone() is None
