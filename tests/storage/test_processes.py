"""Real processes on one run: together, frozen, killed at a system call."""

import shutil

import pytest

from streamgmm.checkpoint import Run
from streamgmm.errors import RunLockedError
from tests.reliability import races, system_calls
from tests.reliability.simulated_disk import Folder, SimulatedDisk
from tests.reliability.small_runs import PLACE, RECORD, run_on, same_state, small_state

PATIENCE = 60.0  # a guard against hangs: the seconds of refusals are counted where all trials are made


def test_p24_p25_p26_one_of_those_that_start_together_goes_on():
    outcome = races.trials(10, seed=1, within=PATIENCE)
    assert outcome.violations == 0, outcome


def test_p24_p25_p26_on_an_object_store_as_well():
    outcome = races.bucket_trials(20, seed=1, hurry=10, within=PATIENCE)
    assert outcome.violations == 0, outcome


def test_p2_a_real_process_killed_or_failed_at_a_system_call():
    outcome = system_calls.trials(2, seed=5)
    assert outcome.violations == 0, outcome
    assert outcome.trials == 2 or shutil.which("strace") is None or "strace" in outcome.remarks


@pytest.fixture
def two():
    """Two writers that a lock did not keep apart, both at commit 1."""
    disk = SimulatedDisk()
    disk.root.change((PLACE.parts[1], Folder()))
    first = run_on(disk)
    with first:
        first.start(RECORD)
        first.commit(small_state(1))
        second = run_on(disk)
        second.latest()
        yield first, second


@pytest.mark.parametrize("more", range(1, 7))
def test_p25_an_owner_that_wakes_up_cannot_commit_however_far_the_other_went(two, more):
    first, second = two
    for i in range(more):
        second.commit(small_state(2 + i))
    with pytest.raises(RunLockedError, match="another process"):
        first.commit(small_state(2, 0.5))
    assert same_state(second.latest().state, small_state(1 + more))
    assert second.check_chain(second.examine(3)[0]) == []


def test_p25_one_that_was_frozen_between_looking_and_writing_withdraws(two, monkeypatch):
    first, second = two
    look = Run._refuse_newer
    looks = []

    def freeze(self, top):
        looks.append(top)
        look(self, top)
        if len(looks) == 1:
            monkeypatch.setattr(Run, "_refuse_newer", look)
            for i in range(5):
                second.commit(small_state(2 + i))

    monkeypatch.setattr(Run, "_refuse_newer", freeze)
    with pytest.raises(RunLockedError):
        first.commit(small_state(2, 0.5))
    assert second.numbers() == [4, 5, 6], "what it wrote under a number that had been cleaned up is gone"
    assert same_state(second.latest().state, small_state(6))


def test_p25_without_the_look_at_newer_numbers_a_stale_commit_gets_through(two, monkeypatch):
    first, second = two
    for i in range(5):
        second.commit(small_state(2 + i))
    monkeypatch.setattr(Run, "_refuse_newer", lambda self, top: None)
    assert first.commit(small_state(2, 0.5)).number == 2, "acknowledged, and never to be read"
