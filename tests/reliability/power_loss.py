"""P3: after a power loss the newest acknowledged commit is still read, whatever of the rest is there."""

import random

from streamgmm.errors import StreamGMMError
from tests.reliability.outcome import Outcome
from tests.reliability.simulated_disk import Killed, SimulatedDisk
from tests.reliability.small_runs import PLACE, RECORD, remembered_commits, run_on, same_state, small_state

COMMITS = 5
SHARES = (0.0, 0.2, 0.5, 0.8, 1.0)


def trials(n, seed, skip=lambda kind, path: False):
    """At least n disk states after losses at every call of a run. skip: a sync left out, to see that its loss is found."""
    rng = random.Random(seed)
    with remembered_commits():
        calls = _scenario(SimulatedDisk(skip=skip))[0]
        each = -(-n // (calls + 1))
        made = violations = 0
        for at in range(1, calls + 2):
            disk = SimulatedDisk(before=_killer(at), skip=skip)
            acknowledged = _scenario(disk)[1]
            for i in range(each):
                lost = disk.after_power_loss(rng, SHARES[i % len(SHARES)])
                violations += not _holds(lost, acknowledged, go_on=i % 10 == 0)
                made += 1
    return Outcome("P3", made, violations, {"calls": calls, "commits of a run": COMMITS, "states per call": each})


def _killer(at):
    def before(count, call, path):
        if count == at:
            raise Killed

    return before


def _scenario(disk):
    """A run from nothing; (calls made, acknowledged: -1 nothing, 0 run.json, else passes of the newest commit)."""
    disk.root.change((PLACE.parts[1], type(disk.root)()))
    disk.root.durable, disk.root.since = dict(disk.root.now), []
    acknowledged = -1
    try:
        run = run_on(disk)
        with run:
            run.start(RECORD)
            acknowledged = 0
            for passes in range(1, COMMITS + 1):
                run.commit(small_state(passes))
                acknowledged = passes
    except Killed:
        pass
    return disk.count, acknowledged


def _holds(disk, acknowledged, *, go_on):
    try:
        run = run_on(disk)
        commit = run.latest()
        found = 0 if commit is None else commit.state.passes
        whole = commit is None or same_state(commit.state, small_state(found))
        if not whole or found < acknowledged or (acknowledged >= 0 and not run.exists):
            return False
        return not go_on or acknowledged < 0 or _goes_on(run, found)
    except StreamGMMError:
        return False


def _goes_on(run, found):
    """The next process commits, and its commit is the newest."""
    with run:
        run.latest()
        run.commit(small_state(found + 1))
    return run_on(run.storage._disk).latest().state.passes == found + 1
