"""Real worker processes, killed: a sample of what `tests/reliability/cluster.py` does in numbers."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamgmm.errors import NoWorkersError
from streamgmm.executors import _watch
from streamgmm.executors.serial import Serial
from tests.executors.test_conformance import Sum
from tests.reliability import cluster
from tests.supervisor import Supervisor, in_worker


@pytest.fixture(scope="module")
def running():
    with Supervisor(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="2") as found:
        yield found


def test_fits_under_kills_give_one_hash(running):
    """W7."""
    found = cluster.trials(1, kills_per_fit=4, seed=3, running=running)
    assert found.violations == 0, found.remarks
    assert sum(found.remarks["harm"].values()) >= 3


def test_a_poison_block_is_named_and_the_cluster_lives_on(running):
    """W8."""
    found = cluster.poison_trials(1, seed=1, running=running)
    assert found.violations == 0, found.remarks


class Fatal(float):
    """A number that kills the first worker that sends it."""

    marker = ""

    def __reduce__(self):
        marker = Path(self.marker)
        if in_worker() and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float, (float(self),)


@dataclass(frozen=True)
class FatalSum:
    """Sums of spans are fatal."""

    marker: str

    def __call__(self, a, b):
        found = Fatal(a + b)
        found.marker = self.marker
        return found


def test_a_worker_that_dies_while_it_sends_a_result_is_no_loss(running, tmp_path):
    rows, merge = cluster.source(seconds=0.0), FatalSum(str(tmp_path / "marker"))
    with cluster.connected(running) as executor:
        found = executor.map_reduce(Sum(), merge, rows)
    assert found == Serial().map_reduce(Sum(), merge, rows)
    assert (tmp_path / "marker").exists()


def test_when_all_workers_die_and_stay_away_the_last_ones_are_named(running):
    """W9."""
    try:
        with cluster.connected(running, timeout=3) as executor:
            executor.wait_for_workers()
            with pytest.raises(NoWorkersError, match=r"within 3 s \(last seen: tcp://127\.0\.0\.1:\d+"):
                executor.map_reduce(Sum(), lambda a, b: a + b, cluster.source(), lambda span, value: running.kill_all())
    finally:
        running.restart = True


def test_a_frozen_scheduler_does_not_hold_up_who_leaves(running):
    """Leaving a pass, and closing: both come back although nobody answers."""
    with cluster.connected(running) as executor:
        executor.wait_for_workers()
        spans = executor.map_spans(Sum(), lambda a, b: a + b, cluster.source())
        while not isinstance(next(spans), tuple):
            pass
        running.scheduler.send_signal(signal.SIGSTOP)
        try:
            leaving = threading.Thread(target=lambda: (spans.close(), executor.close()), daemon=True)
            leaving.start()
            leaving.join(30)
            assert not leaving.is_alive()
        finally:
            running.scheduler.send_signal(signal.SIGCONT)


def test_a_lost_scheduler_is_noticed_and_a_new_one_leads_to_the_same_hash(monkeypatch):
    """W10."""
    monkeypatch.setattr(_watch, "LOST_AFTER", 8.0)
    found = cluster.scheduler_trials(1, seed=2)
    assert found.violations == 0, found.remarks
