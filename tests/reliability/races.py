"""P24, P25 and P26: processes that start together, wake up too late, or are killed, on one run. Real processes.

In a local folder, and in an object store whose objects are files (obstore's), with the lease in place of the lock. They are forked by a
process of their own that has everything imported and has no threads: `python -m tests.reliability.races`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from obstore.store import LocalStore

from streamgmm.checkpoint import Run
from streamgmm.errors import RunLockedError
from streamgmm.storage import _lease
from streamgmm.storage.object_store import Bucket, ObjectStore
from tests.reliability.outcome import Outcome
from tests.reliability.small_runs import RECORD, small_state

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120


def bucket_trials(n, seed, **options):
    """The same on an object store."""
    return trials(n, seed, "bucket", **options)


def trials(n, seed, kind="folder", *, hurry=1, within=2.0):
    """n simultaneous starts, a tenth of them of eight processes; with each tenth one frozen and one killed owner.

    hurry: leases beat, and are looked at, so many times as often. within: seconds that a refusal may take, a violation where it is more.
    """
    command = [sys.executable, "-m", "tests.reliability.races", str(n), str(seed), kind, str(hurry), str(within)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=DEADLINE + 10 * n)
    if done.returncode:
        raise AssertionError(done.stderr)
    return Outcome(**json.loads(done.stdout))


def run_at(folder, kind):
    """The run of a folder, as itself or as a bucket. A bucket has threads: only processes that fork no more open one."""
    if kind == "folder":
        return Run(folder)
    return Run(ObjectStore(Bucket(LocalStore(folder, mkdir=True)), f"s3://bucket/{folder.name}"))


def _all(n, seed, kind, hurry, within):
    _lease.BEAT, _lease.LOOK = _lease.BEAT / hurry, _lease.LOOK / hurry
    rng = random.Random(seed)
    slowest, wrong, made = 0.0, [], {"starts": 0, "frozen owners": 0, "killed owners": 0}
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(n):
            folder = Path(scratch, f"run{i}")
            many = 8 if i % 10 == 0 else 2
            results = _start_together(folder, many, kind)
            made["starts"] += 1
            slowest = max(slowest, *(seconds for _, seconds, _ in results))
            wrong += _judge_starts(folder, results, within)
            if i % 10 == 0:
                made["frozen owners"] += 1
                made["killed owners"] += 1
                wrong += _frozen_owner(folder, rng.randint(1, 6), kind, 2.0 / hurry) + _killed_owner(folder, kind, 2.0 / hurry)
    return {
        "promise": "P24, P25, P26" if kind == "folder" else "P23, P24, P25, P26",
        "trials": n,
        "violations": len(wrong),
        "remarks": {**made, "slowest refusal": slowest, "wrong": wrong[:5]},
    }


def _forked(action):
    """(process id, a file that reads what `action` writes); the child never comes back."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid:
        os.close(send)
        return pid, os.fdopen(receive)
    os.close(receive)
    with os.fdopen(send, "w") as out:
        try:
            action(out)
        except BaseException as error:  # noqa: BLE001  (the parent reports it)
            out.write(json.dumps(["error", 0.0, repr(error)]) + "\n")
            out.flush()
    os._exit(0)


def _start_together(folder, many, kind):
    gate, opened = os.pipe()
    leave, left = os.pipe()
    children = [_forked(lambda out, late=late: _contend(folder, kind, (gate, opened), (leave, left), late, out)) for late in range(many)]
    os.close(gate)
    os.close(leave)
    os.close(opened)
    results = [json.loads(lines.readline()) for _, lines in children]
    os.close(left)
    for pid, lines in children:
        os.waitpid(pid, 0)
        lines.close()
    return results


def _contend(folder, kind, gate, leave, late, out):
    os.close(gate[1])
    os.close(leave[1])
    os.read(gate[0], 1)
    time.sleep((late // 2) * 0.05)  # two at once, then more that find them there
    began = time.monotonic()
    try:
        with run_at(folder, kind) as run:
            run.start(RECORD)
            run.commit(small_state(1))
            _tell(out, "won", began, str(os.getpid()))
            os.read(leave[0], 1)
    except RunLockedError as error:
        _tell(out, "refused", began, str(error))


def _tell(out, what, began, said):
    out.write(json.dumps([what, time.monotonic() - began, said]) + "\n")
    out.flush()


def _judge_starts(folder, results, within):
    winners = [said for what, _, said in results if what == "won"]
    refused = [(seconds, said) for what, seconds, said in results if what == "refused"]
    wrong = [said for what, _, said in results if what == "error"]
    if len(winners) != 1:
        return [*wrong, f"{len(winners)} winners"]
    wrong += [said for seconds, said in refused if seconds > within or f"process {winners[0]} on" not in said]
    commits = Run(folder).examine(9)[0]
    return wrong if [commit.number for commit in commits] == [1] else [*wrong, "not one commit"]


def _frozen_owner(folder, more, kind, silence):
    """An owner is stopped, its lock taken away, another goes on for some commits; then the first one wakes."""
    pid, lines = _forked(lambda out: _own(folder, kind, out))
    assert lines.readline() == "owns\n"
    os.kill(pid, signal.SIGSTOP)
    if kind == "folder":
        (folder / "lock").unlink()
    passes = Run(folder).latest().state.passes
    other, told = _forked(lambda out: _go_on(folder, more, kind, silence, out))
    gone_on = told.read()
    os.waitpid(other, 0)
    told.close()
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGUSR1)
    said = lines.read()
    os.waitpid(pid, 0)
    lines.close()
    good, _ = Run(folder).examine(9)
    whole = good[0].state.passes == passes + more and not Run(folder).check_chain(good[:3])
    return [] if "refused" in said and whole else [f"a frozen owner: {said}; the next one: {gone_on}"]


def _go_on(folder, more, kind, silence, out):
    """Follow an owner that is silent for a moment: it is stopped, or gone."""
    _lease.SILENCE = silence
    with run_at(folder, kind) as other:
        passes = other.latest().state.passes
        for i in range(1, more + 1):
            other.commit(small_state(passes + i))
    out.write("done")


def _own(folder, kind, out):
    """Hold the run until told by a signal to commit."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    with run_at(folder, kind) as run:
        passes = run.latest().state.passes
        out.write("owns\n")
        out.flush()
        signal.sigwait({signal.SIGUSR1})
        try:
            run.commit(small_state(passes + 1))
        except RunLockedError:
            out.write("refused")
        else:
            out.write("committed")


def _killed_owner(folder, kind, silence):
    pid, lines = _forked(lambda out: _own(folder, kind, out))
    assert lines.readline() == "owns\n"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lines.close()
    other, told = _forked(lambda out: _go_on(folder, 1, kind, silence, out))
    said = told.read()
    os.waitpid(other, 0)
    told.close()
    return [] if said == "done" else [f"after a killed owner: {said}"]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_all(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
