"""P23: on an object store, a lost acknowledgement of one's own write is a success, a true race is a conflict."""

import random
from pathlib import Path

from obstore import exceptions

from streamgmm.checkpoint import Run
from streamgmm.errors import RunLockedError, StorageError, StreamGMMError
from streamgmm.storage.object_store import ObjectStore
from tests.reliability.outcome import Outcome
from tests.reliability.small_runs import RECORD, remembered_commits, same_state, small_state

COMMITS = 6


class SimulatedBucket:
    """A strongly consistent bucket whose replies get lost, whose requests fail, and some of whose writes land late.

    The library under the package tries again by itself, which is how a writer comes to meet its own object.
    """

    def __init__(self, rng, share, objects=None):
        self.objects = {} if objects is None else objects
        self._rng = rng
        self._share = share
        self._late = []
        self.faults = 0

    def _fault(self):
        self._land()
        if self._rng.random() >= self._share:
            return ""
        self.faults += 1
        return self._rng.choice(["not sent", "reply lost", "reply lost, tried again", "late"])

    def _land(self):
        for name, content in self._late if self._rng.random() < 0.5 else ():
            self.objects.setdefault(name, content)
            self._late = []

    def put_new(self, name, content):
        fault = self._fault()
        if fault == "not sent":
            raise exceptions.GenericError("connection refused")
        if fault == "late":
            self._late = [*self._late, (name, content)]
            raise exceptions.GenericError("timeout")
        if name in self.objects:
            raise exceptions.AlreadyExistsError(name)
        self.objects[name] = content
        if fault == "reply lost":
            raise exceptions.GenericError("connection reset")
        if fault:
            raise exceptions.AlreadyExistsError(name)

    def put(self, name, content):
        if self._fault():
            raise exceptions.GenericError("timeout")
        self.objects[name] = content

    def get(self, name):
        if self._fault():
            raise exceptions.GenericError("timeout")
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def names(self, prefix):
        if self._fault():
            raise exceptions.GenericError("timeout")
        return [name for name in self.objects if name.startswith(prefix)]

    def delete(self, name):
        if self._fault():
            raise exceptions.GenericError("timeout")
        self.objects.pop(name, None)


def trials(n, seed):
    """n schedules: half of one writer, half of two that race."""
    with remembered_commits():
        found = [_alone(random.Random(f"{seed}-{i}")) if i % 2 else _race(random.Random(f"{seed}-{i}")) for i in range(n)]
    remarks = {name: sum(each[name] for each in found) for name in ("faults", "false conflicts", "double commits", "conflicts", "commits")}
    violations = remarks["false conflicts"] + remarks["double commits"]
    return Outcome("P23", n, violations, remarks)


class _Writer:
    """One process that tries again until its commits are there, or until it is told that another one writes."""

    def __init__(self, rng, share, objects, shift):
        self.bucket = SimulatedBucket(rng, share, objects)
        self.run = Run(ObjectStore(self.bucket, "s3://bucket/run"))
        self.shift = shift
        self.acknowledged = {}
        self.stopped = False

    def attempt(self, passes):
        """Whether the commit of these passes is acknowledged."""
        try:
            made = self.run.commit(small_state(passes, self.shift))
        except RunLockedError:
            self.stopped = True
        except StorageError:
            return False
        else:
            self.acknowledged[made.number] = made
            return True
        return False


def _alone(rng):
    writer = _Writer(rng, rng.choice([0.1, 0.3, 0.5]), {}, 0.0)
    _start(writer)
    _drive([writer], rng)
    return _judged([writer], conflicts_allowed=0)


def _race(rng):
    objects = {}
    writers = [_Writer(rng, rng.choice([0.0, 0.1, 0.3]), objects, shift) for shift in (0.25, 0.5)]
    _start(writers[0])
    for writer in writers:
        while not _quietly(writer.run.latest):
            pass
    _drive(writers, rng)
    return _judged(writers, conflicts_allowed=1)


def _start(writer):
    while not _began(writer):
        if writer.bucket.objects.get("run.json"):
            writer.run = Run(ObjectStore(writer.bucket, "s3://bucket/run"))  # the next process finds what this one wrote
            return


def _quietly(action):
    try:
        action()
    except StorageError:
        return False
    return True


def _began(writer):
    try:
        return _quietly(lambda: writer.run.start(RECORD))
    except RunLockedError:
        writer.stopped = True
        return True


def _drive(writers, rng):
    passes = dict.fromkeys(range(len(writers)), 1)
    for _ in range(500):
        going = [i for i, writer in enumerate(writers) if not writer.stopped and passes[i] <= COMMITS]
        if not going:
            return
        i = rng.choice(going)
        passes[i] += writers[i].attempt(passes[i])


def _judged(writers, conflicts_allowed):
    conflicts = sum(writer.stopped for writer in writers)
    held = {int(Path(name).stem): content for name, content in writers[0].bucket.objects.items() if name.startswith("commits/")}
    acknowledged = [(number, made) for writer in writers for number, made in writer.acknowledged.items()]
    double = len(acknowledged) - len({number for number, _ in acknowledged})
    reader = Run(ObjectStore(SimulatedBucket(random.Random(0), 0.0, writers[0].bucket.objects), "s3://bucket/run"))
    try:
        newest = reader.latest()
    except StreamGMMError:
        newest, double = None, double + 1
    last = max(acknowledged, default=(0, None), key=lambda pair: pair[0])
    if newest is not None and last[1] is not None:
        double += newest.number < last[0] or (newest.number == last[0] and not same_state(newest.state, last[1].state))
    return {
        "faults": sum(writer.bucket.faults for writer in writers),
        "false conflicts": max(conflicts - conflicts_allowed, 0),
        "double commits": double,
        "conflicts": conflicts,
        "commits": len(held),
    }
