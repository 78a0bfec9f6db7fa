"""The watchdog of a cluster: which workers are there, whether the scheduler answers, whether anything gets done. Floor 4.

Nothing here blocks: the scheduler is asked in a thread of its own, and its silence becomes an error.
"""

__all__ = ["LOST_AFTER", "Watch"]

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from streamgmm.errors import ClusterError, NoWorkersError, SchedulerLostError, StalledError
from streamgmm.events import Event
from streamgmm.executors._background import in_background

HEARTBEAT = 1.0  # seconds between two questions to the scheduler
LOST_AFTER = 20.0  # seconds of silence after which the scheduler counts as lost
LONGEST_STEP = 1.0  # a look counts for so many seconds at most: those in which this process slept, or was busy, are nobody's fault


class Watch:
    """Looks after one client; `look` is to be called a few times a second while a pass runs.

    timeout: seconds without any worker that are borne. stall_timeout: seconds without any finished span. threads: of each worker, as
    last heard; heard: how often. memory: limit of each worker that was there at the first answer, 0 where it has none.
    """

    def __init__(self, client: Any, timeout: float, stall_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.threads: dict[str, int] = {}
        self.memory: dict[str, int] = {}
        self.heard = 0
        self._client, self._timeout, self._stall_timeout, self._clock = client, timeout, stall_timeout, clock
        self._address = client.scheduler.address if client.scheduler else "the scheduler"
        self._asked: Future[Any] | None = None
        self._last_seen: tuple[str, ...] = ()
        self._connected = True
        self.begin()

    def begin(self) -> None:
        """A pass begins: what was silent before does not count."""
        self._looked = self._clock()
        self._now = self._answered_at = self._asked_at = self._workers_at = self._progress_at = 0.0

    def progress(self) -> None:
        """A span has finished."""
        self._progress_at = self._now

    def first_answer(self) -> None:
        """Wait for the first answer. Raises ClusterError where none comes."""
        call = in_background(self._client.scheduler_info, n_workers=-1)
        try:
            workers = call.result(min(self._timeout, LOST_AFTER))["workers"]
        except Exception as error:
            raise ClusterError(
                f"the scheduler at {self._address} does not answer through this client ({type(error).__name__}). A client does not"
                " survive a fork: make one in this process, Client(address), and pass that."
            ) from error
        self.threads = {address: int(worker["nthreads"]) for address, worker in workers.items()}
        self.memory = {address: int(worker["memory_limit"] or 0) for address, worker in workers.items()}

    def look(self, waiting: Callable[[], str]) -> Iterator[Event]:
        """What has changed. Raises SchedulerLostError, NoWorkersError, StalledError; `waiting` says what for."""
        now = self._clock()
        self._now += min(now - self._looked, LONGEST_STEP)
        self._looked = now
        yield from self._connection()
        yield from self._hear()
        if self._now - self._answered_at > LOST_AFTER:
            raise self._lost(f"has not answered for {LOST_AFTER:g} s")
        if self.threads:
            self._workers_at = self._now
        elif self._now - self._workers_at > self._timeout:
            seen = f"last seen: {', '.join(self._last_seen)}" if self._last_seen else "none was seen"
            raise NoWorkersError(f"no Dask worker came to {self._address} within {self._timeout:g} s ({seen}); start workers, then resume")
        if self._now - self._progress_at > self._stall_timeout:
            raise StalledError(
                f"no span finished within {self._stall_timeout:g} s; {len(self.threads)} workers are there, waiting for {waiting()}."
                " Look at the cluster, then resume."
            )

    def _connection(self) -> Iterator[Event]:
        status = self._client.status
        if status in {"closed", "closing"}:
            raise self._lost("is gone, or the client was closed")
        if (status == "running") != self._connected:
            self._connected = status == "running"
            said = "is there again; what was under way begins anew" if self._connected else "is gone; waiting for it"
            yield Event("warning", f"the scheduler at {self._address} {said}", {"scheduler": self._address, "connected": self._connected})

    def _hear(self) -> Iterator[Event]:
        if self._asked is None:
            if self._now - self._asked_at >= HEARTBEAT or not self.threads:
                self._asked, self._asked_at = in_background(self._client.nthreads), self._now
        elif self._asked.done():
            call, self._asked = self._asked, None
            if call.exception() is None:
                self._answered_at = self._now
                self.heard += 1
                yield from self._compare(dict(call.result()))

    def _compare(self, threads: dict[str, int]) -> Iterator[Event]:
        before, self.threads = self.threads, threads
        self._last_seen = tuple(threads) or tuple(before) or self._last_seen
        for address in before.keys() - threads.keys():
            message = f"worker {address} is gone; what it had under way is computed again"
            yield Event("worker_lost", message, {"worker": address, "workers": len(threads)})
        for address in threads.keys() - before.keys():
            yield Event("worker_added", f"worker {address} has come", {"worker": address, "workers": len(threads)})

    def _lost(self, why: str) -> SchedulerLostError:
        return SchedulerLostError(
            f"the scheduler at {self._address} {why}. What is committed is kept: start a scheduler and workers, then resume."
        )
