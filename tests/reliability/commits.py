"""P2, P5 and P17: every system call of a run's commits may be the last, may fail, or may do half its work."""

import errno

from streamgmm.checkpoint import COMMITS_KEPT
from streamgmm.errors import StorageError, StreamGMMError
from tests.reliability.outcome import Outcome
from tests.reliability.simulated_disk import Folder, Killed, ShortWrite, SimulatedDisk
from tests.reliability.small_runs import PLACE, RECORD, remembered_commits, run_on, same_state, small_state

COMMITS = 6
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EDQUOT, errno.EROFS, errno.EMFILE)
FAULTS = ("SIGKILL", "short write", "short write, then SIGKILL", *(errno.errorcode[number] for number in ERRORS))


def trials(n, seed=0):
    """Every call x every fault, or the n first of them in an order that the seed gives a turn; all of them where n is 0."""
    with remembered_commits():
        calls = _Scenario(lambda count, call, path: None).play().disk.count
        points = [(at, fault) for at in range(1, calls + 2) for fault in FAULTS]
        step = 1 if n in (0, len(points)) else max(len(points) // n, 1) | 1
        chosen = points[seed % step :: step]
        lost, fewest, saved_again = [], COMMITS_KEPT, 0
        for at, fault in chosen:
            played = _Scenario(_faulty(at, fault)).play()
            problem, good = played.judge()
            fewest = min(fewest, good)
            saved_again += played.failed
            if problem:
                lost.append((at, fault, played.disk.calls[min(at, len(played.disk.calls)) - 1], problem))
    remarks = {
        "calls": calls,
        "faults": len(FAULTS),
        "fewest good commits": fewest,
        "commits that failed": saved_again,
        "violations": lost[:5],
    }
    return Outcome("P2, P5", len(chosen), len(lost), remarks)


def _faulty(at, fault):
    """A `before` that makes the call at this place fail."""

    def before(count, call, path):
        if count == at:
            if fault == "SIGKILL":
                raise Killed
            if fault.startswith("short write"):
                if call == "write":
                    raise ShortWrite(then_killed=fault.endswith("SIGKILL"))
                return
            number = getattr(errno, fault)
            raise OSError(number, fault, str(path))

    return before


class _Scenario:
    """A run of some commits whose process tries again what failed, and what the next process finds."""

    def __init__(self, before):
        self.disk = SimulatedDisk(before=before)
        self.disk.root.change((PLACE.parts[1], Folder()))
        self.acknowledged = -1
        self.failed = 0
        self.problem = ""

    def play(self):
        try:
            self._work()
        except Killed:
            pass
        except StreamGMMError as error:
            if not isinstance(error, StorageError):
                self.problem = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  (what is looked for)
            self.problem = f"{type(error).__name__}: {error}"
        return self

    def _work(self):
        run = run_on(self.disk)
        with run:
            run.start(RECORD)
            self.acknowledged = 0
            for passes in range(1, COMMITS + 1):
                self._commit(run, passes)

    def _commit(self, run, passes):
        try:
            run.commit(small_state(passes))
        except StorageError:
            self.failed += 1
            run.commit(small_state(passes))  # one fault, and the second attempt goes well
        self.acknowledged = passes

    def judge(self):
        """(what is wrong, "" for nothing; good commits beyond what there can be are not missed)."""
        if self.problem:
            return self.problem, COMMITS_KEPT
        disk = self.disk.reopened()
        try:
            run = run_on(disk)
            with run:
                commit = run.latest()
                good, faults = run.examine(99)
                found = 0 if commit is None else commit.state.passes
                if found < self.acknowledged or (commit and not same_state(commit.state, small_state(found))):
                    return f"found {found}, acknowledged {self.acknowledged}", len(good)
                if faults:
                    return f"half a commit was left: {faults}", len(good)
                if self.acknowledged >= 0:
                    run.commit(small_state(found + 1))
        except StreamGMMError as error:
            return f"{type(error).__name__}: {error}", COMMITS_KEPT
        return "", COMMITS_KEPT if len(good) >= min(COMMITS_KEPT, self.acknowledged) else len(good)
