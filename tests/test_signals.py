"""Signals: the first asks, the second ends; what the caller ignores or had before is left as it was."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from streamgmm.signals import NAMES, StopRequest, leaving_on_term

numbers = pytest.mark.parametrize("number", [getattr(signal, name) for name in NAMES], ids=NAMES)


@numbers
def test_a_signal_sets_the_flag_and_is_told_once(number):
    said = []
    with StopRequest(said.append) as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
    assert asked()
    assert len(said) == 1
    assert signal.Signals(number).name in said[0]


@numbers
def test_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with StopRequest(print):
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(print) as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
def test_a_second_signal_leaves_at_once(second):
    code = (
        "import os, signal\nfrom streamgmm.signals import StopRequest\n"
        "try:\n    with StopRequest(print):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        f"        os.kill(os.getpid(), signal.{second})\nfinally:\n    print('not at once')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + getattr(signal, second)
    assert "not at once" not in done.stdout


def test_other_threads_leave_the_handlers_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopRequest(print), leaving_on_term():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_term_unwinds_the_stack():
    unwound = []

    def work():
        with leaving_on_term(), contextlib.ExitStack() as stack:
            stack.callback(unwound.append, True)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as leaving:
        work()
    assert (leaving.value.code, unwound) == (143, [True])
