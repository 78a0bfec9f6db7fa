"""P2 on a real process and a real file system: strace kills it at, or fails, the k-th of a system call.

Where strace is not there or may not trace, no trial is made and the outcome says so; the simulated disk (commits.py) takes the same
points everywhere.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from streamgmm.checkpoint import Run
from streamgmm.errors import StreamGMMError
from tests.reliability.outcome import Outcome
from tests.reliability.small_runs import RECORD, same_state, small_state

ROOT = Path(__file__).resolve().parents[2]
COMMITS = 4
CALLS = {"fsync": 13, "link": 6, "unlink": 9, "fallocate": 1, "ftruncate": 1, "mkdir": 5, "flock": 1}
FAULTS = ("signal=SIGKILL", "error=EIO", "error=ENOSPC", "error=EACCES", "error=EINTR")
DEADLINE = 600


def trials(n, seed=0):
    """n points of those that there are, all of them where n is 0."""
    points = [(call, k, fault) for k in range(1, max(CALLS.values()) + 1) for call in CALLS for fault in FAULTS if k <= CALLS[call]]
    step = 1 if n == 0 else max(len(points) // n, 1)
    chosen = points[seed % step :: step][: n or None]
    if not _traces():
        return Outcome("P2 (strace)", 0, 0, {"strace": "not usable here"})
    lost, fired = [], 0
    for call, k, fault in chosen:
        problem, stopped = _trial(call, k, fault)
        fired += stopped
        if problem:
            lost.append(f"{call} {k} {fault}: {problem}")
    return Outcome(
        "P2 (strace)", len(chosen), len(lost), {"points": len(points), "processes that ended early": fired, "examples": lost[:5]}
    )


def _traces():
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-qq", "-e", "trace=none", "true"], capture_output=True, check=False, timeout=DEADLINE).returncode == 0


def _trial(call, k, fault):
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch, "runs", "run")
        # A leading "?" lets strace go on where the machine has no call of that name (link, on some, is linkat).
        calls = {"link": "?link,?linkat", "unlink": "?unlink,?unlinkat", "mkdir": "?mkdir,?mkdirat"}.get(call, call)
        command = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]
        command += ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={k}"]
        program = [sys.executable, "-m", "tests.reliability.system_calls", str(place)]
        done = subprocess.run([*command, *program], capture_output=True, text=True, check=False, cwd=ROOT, timeout=DEADLINE)
        acknowledged = max([int(word) for word in done.stdout.split()], default=-1)
        if done.returncode != 0 and "Error" in done.stderr and "StorageError" not in done.stderr:
            return done.stderr[-200:], True
        return _judge(place, acknowledged), done.returncode != 0


def _judge(place, acknowledged):
    if acknowledged < 0:
        return ""
    try:
        with Run(place) as run:
            commit = run.latest()
            found = 0 if commit is None else commit.state.passes
            if found < acknowledged or (commit and not same_state(commit.state, small_state(found))):
                return f"found {found}, acknowledged {acknowledged}"
            run.commit(small_state(found + 1))
    except StreamGMMError as error:
        return repr(error)
    return ""


def _work(place):
    """A run of some commits; a number on standard output for each that is acknowledged."""
    with Run(place) as run:
        run.start(RECORD)
        for passes in range(1, COMMITS + 1):
            run.commit(small_state(passes))
            sys.stdout.write(f"{passes}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
