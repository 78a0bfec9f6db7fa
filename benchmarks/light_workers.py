"""Workers that speak the scheduler's protocol and compute nothing, light enough that a thousand fit in one process.

For benchmarks.scheduler_load. A worker of distributed costs a state machine, a thread pool and an executor; this one keeps what it is
given, fetches what it lacks from whoever has it, and answers every task with the same result of real size, after `seconds`. Register,
heartbeat (as often as the scheduler asks for), task, dependency, gather, release and broadcast go over real connections, as those of
real workers do; stealing is refused, for a task is "being computed" as soon as it comes.
"""

__all__ = ["LightWorker", "light_workers"]

import asyncio
import os
import pickle
import random
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from distributed import versions
from distributed.batched import BatchedSend
from distributed.comm import connect
from distributed.core import Server, Status
from distributed.protocol import serialize
from distributed.protocol.serialize import Serialized
from distributed.worker import get_data_from_worker, run

AT_ONCE = 50  # that register side by side
METRICS = {
    "task_counts": {},
    "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
    "digests_total_since_heartbeat": {},
    "managed_bytes": 0,
    "spilled_bytes": {"memory": 0, "disk": 0},
    "transfer": {f"{way}_{what}": 0 for way in ("incoming", "outgoing") for what in ("bytes", "count", "count_total")},
    "event_loop_interval": 0.02,
    "cpu": 1.0,
    "memory": 2e8,
    "time": 0.0,
    "host_net_io": {"read_bps": 0.0, "write_bps": 0.0},
    "host_disk_io": {"read_bps": 0.0, "write_bps": 0.0},
    "num_fds": 40,
}


class LightWorker(Server):
    """One worker of one thread. result: what every task but the parameters' gives; nbytes: what the scheduler is told of its size."""

    def __init__(self, scheduler: str, number: int, result: Serialized, nbytes: int, seconds: float) -> None:
        handlers = {"get_data": self.get_data, "run": self.run, "versions": versions.get_versions}
        streams: dict[str, Any] = {
            "compute-task": self.compute,
            "free-keys": self.free,
            "remove-replicas": self.free,
            "steal-request": self.keep,
            "close": self.leave,
        }
        for ignored in ("cancel-compute", "acquire-replicas", "refresh-who-has", "worker-status-change", "remove-worker"):
            streams[ignored] = _ignore
        super().__init__(handlers, stream_handlers=streams, deserialize=False)  # what comes is passed on as it is
        self._to, self._number, self._result, self._nbytes, self._seconds = scheduler, number, result, nbytes, seconds
        self._kept: dict[str, Any] = {}
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._doing: set[asyncio.Task[None]] = set()
        self._stream = BatchedSend(interval="2ms")

    # ---- coming and going --------------------------------------------------------------------------------------------

    async def register(self, about: Mapping[str, Any]) -> None:
        """Listen, tell the scheduler, and go on with its messages and heartbeats in the background."""
        await self.rpc.start()
        await self.listen("tcp://127.0.0.1:0")
        comm = await connect(self._to, deserialize=False)
        await comm.write(
            {
                "op": "register-worker",
                "reply": False,
                "address": self.address,
                "status": Status.running.name,
                "nthreads": 1,
                "name": str(self._number),
                "now": time.time(),
                "resources": {},
                "memory_limit": 2**32,
                "local_directory": "",
                "services": {},
                "nanny": None,
                "pid": os.getpid(),
                "versions": about,
                "metrics": METRICS,
                "extra": {},
                "stimulus_id": f"worker-connect-{time.time()}",
                "server_id": self.id,
            }
        )
        answer = await comm.read()
        if answer["status"] != "OK":
            raise SystemExit(f"the scheduler refused worker {self._number}: {answer}")
        self._stream.start(comm)
        self._do(self.handle_stream(comm))
        self._do(self._heartbeats(answer["heartbeat-interval"]))

    async def _heartbeats(self, pause: float) -> None:
        scheduler = self.rpc(self._to)
        await asyncio.sleep(random.random() * pause)  # noqa: S311  (so that not all beat at once)
        while True:
            answer = await scheduler.heartbeat_worker(address=self.address, now=time.time(), metrics=METRICS, executing={}, extensions={})
            await asyncio.sleep(float(answer.get("heartbeat-interval", pause)))

    def leave(self, **_: Any) -> None:
        """The scheduler sends it away."""
        for task in self._doing:
            task.cancel()

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._doing.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        """A worker that fails in silence would leave the driver waiting: it goes, and the scheduler notices."""
        self._doing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            print(f"worker {self._number}: {task.exception()!r}", file=sys.stderr)
            self._stream.abort()

    # ---- what the scheduler says -------------------------------------------------------------------------------------

    def compute(self, *, key: str, run_id: int, stimulus_id: str, run_spec: Any, who_has: Mapping[str, Collection[str]], **_: Any) -> None:
        """A task: the parameters of a pass are kept as they came, everything else is answered with the result."""
        self._do(self._computed(key, run_id, stimulus_id, run_spec, who_has))

    async def _computed(self, key: str, run_id: int, stimulus_id: str, run_spec: Any, who_has: Mapping[str, Collection[str]]) -> None:
        for name, holders in (who_has or {}).items():
            await self._have(name, holders)
        began = time.time()
        if self._seconds:
            await asyncio.sleep(self._seconds)
        value = run_spec if "parameters" in key else self._result
        self._kept[key] = value
        self._stream.send(
            {
                "op": "task-finished",
                "status": "OK",
                "key": key,
                "run_id": run_id,
                "nbytes": self._nbytes,
                "type": pickle.dumps(object),
                "typename": "object",
                "thread": 1,
                "metadata": {},
                "startstops": [{"action": "compute", "start": began, "stop": time.time()}],
                "stimulus_id": stimulus_id,
            }
        )

    async def _have(self, key: str, holders: Collection[str]) -> None:
        """Fetched once, however many tasks ask for it."""
        if key in self._kept:
            return
        if key not in self._coming:
            self._coming[key] = asyncio.ensure_future(self._fetch(key, holders))
        await self._coming[key]

    async def _fetch(self, key: str, holders: Collection[str]) -> None:
        answer = await get_data_from_worker(self.rpc, [key], random.choice(list(holders)), who=self.address)  # noqa: S311
        self._kept[key] = answer["data"][key]
        self._stream.send({"op": "add-keys", "keys": [key], "stimulus_id": f"fetched-{time.time()}"})

    def free(self, *, keys: Collection[str], **_: Any) -> None:
        """Results that nobody needs any more."""
        for key in keys:
            self._kept.pop(key, None)
            self._coming.pop(key, None)

    def keep(self, *, key: str, stimulus_id: str, **_: Any) -> None:
        """It is being computed and cannot be stolen."""
        self._stream.send({"op": "steal-response", "key": key, "state": "executing", "stimulus_id": stimulus_id})

    # ---- what others ask ---------------------------------------------------------------------------------------------

    async def get_data(self, comm: Any, keys: Collection[str], who: str | None = None, serializers: Any = None) -> Any:
        """The two steps of a worker's answer: the data, then their reception."""
        await comm.write({"status": "OK", "data": {key: self._kept[key] for key in keys if key in self._kept}})
        await comm.read()
        return Status.dont_reply

    async def run(self, comm: Any, function: Any, args: Any = (), kwargs: Any = None, wait: bool = True) -> Any:
        """What the executor asks of every worker before a fit: it is really run."""
        return await run(self, comm, function, args, kwargs, wait)


def _ignore(**_: Any) -> None:
    """What concerns other kinds of workers."""


@asynccontextmanager
async def light_workers(scheduler: str, number: int, result: object, nbytes: int, seconds: float) -> AsyncIterator[None]:
    """So many of them, in this event loop."""
    made, about = Serialized(*serialize(result)), versions.get_versions()
    async with AsyncExitStack() as stack:
        workers = [LightWorker(scheduler, n, made, nbytes, seconds) for n in range(number)]
        for worker in workers:
            stack.push_async_callback(worker.close)
        for start in range(0, number, AT_ONCE):
            await asyncio.gather(*(worker.register(about) for worker in workers[start : start + AT_ONCE]))
        yield
        for worker in workers:
            worker.leave()
