"""Storage that fails, stalls, returns short or says that a chunk is not there: the same rows, with a bounded number of tries."""

import asyncio
import collections
import errno
import random

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore, WrapperStore

from streamgmm.errors import ChunkMissingError, StorageError
from streamgmm.sources import as_source
from streamgmm.sources._damage_policy import Clock, DamagePolicy
from streamgmm.sources.guarded import guard
from tests.reliability.outcome import Outcome

N, BLOCK = 512, 64
ROWS = np.random.default_rng(5).normal(size=(N, 2))
FAULTS = ("reset", "timeout", "busy", "read error", "short", "absent")
STALL = 0.2  # seconds, in which a read in memory always answers
DEADLINE = 60.0


class FakeClock:
    """Time passes only by waiting."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds


class FlakyStore(WrapperStore):
    """Fails a share of the reads of chunks, once `share` is set. kinds: of faults; "stall" is one too."""

    def __init__(self, store, seed, kinds=FAULTS):
        super().__init__(store)
        self.rng, self.kinds, self.share, self.fired = random.Random(seed), kinds, 0.0, collections.Counter()

    async def get(self, key, prototype, byte_range=None):
        found = await super().get(key, prototype, byte_range)
        if "c/" not in key or key.endswith(".json") or self.rng.random() >= self.share:
            return found
        kind = self.rng.choice(self.kinds)
        self.fired[kind] += 1
        return await self._fault(kind, found)

    async def _fault(self, kind, found):
        if kind == "stall":
            await asyncio.sleep(4 * STALL)
        errors = {
            "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
            "timeout": TimeoutError("timed out"),
            "busy": StatusError(503),
            "limited": StatusError(429),
            "read error": OSError(errno.EIO, "Input/output error"),
            "refused": StatusError(401, "token sekret-9f2 has expired"),
        }
        if kind in errors:
            raise errors[kind]
        if kind == "absent":
            return None
        return default_buffer_prototype().buffer.from_bytes(found.to_bytes()[:-7]) if kind == "short" else found


class StatusError(Exception):
    """As HTTP clients raise it."""

    def __init__(self, status, message=""):
        super().__init__(f"status {status} {message}")
        self.status = status


def flaky_source(seed, *, kinds=FAULTS, clock=None, **policy):
    """Two columns in chunks of one block each on a flaky store, guarded, and the store."""
    memory = MemoryStore()
    group = zarr.create_group(memory)
    for j, name in enumerate("ab"):
        group.create_array(name, shape=(N,), chunks=(BLOCK,), dtype="f8")[:] = ROWS[:, j]
    store = FlakyStore(MemoryStore(memory._store_dict, read_only=True), seed, kinds)
    source = as_source(zarr.open_group(store, mode="r"), block_rows=BLOCK)
    clock = clock or FakeClock()
    settings = {"on_damage": "retry", "retries": 20, "deadline": DEADLINE, "seed": seed, **policy}
    return guard(source, DamagePolicy(**settings, clock=Clock(clock.now, clock.sleep))), store, clock


def trials(n: int, seed: int) -> Outcome:
    """P22: `n` passes with a fifth of all reads failing, and `n` with all of them."""
    wrong, late, tries, fired, waited = 0, 0, [], collections.Counter(), []
    for i in range(n):
        kinds = (*FAULTS, "stall") if i % 20 == 0 else FAULTS  # a stall takes real time
        source, store, clock = flaky_source(1_000_003 * seed + i, kinds=kinds, stall=STALL)
        store.share = 0.2
        rows = np.concatenate([block.x for block in source.blocks()])
        wrong += rows.tobytes() != ROWS.tobytes()
        fired += store.fired
        tries.append(len(source.retries))
        waited.append(clock.time)
        late += not fails_in_time(i)
    remarks = {"wrong rows": wrong, "late": late, "tries repeated": sum(tries), "most in a pass": max(tries), "faults": dict(fired)}
    return Outcome("P22", 2 * n, wrong + late, {**remarks, "most seconds waited": round(max(waited), 2)})


def fails_in_time(seed):
    """Whether a read that always fails ends in an error at the deadline."""
    source, store, clock = flaky_source(seed, kinds=("reset", "timeout", "busy", "read error"), on_damage="raise")
    store.share = 1.0
    try:
        source.read(0)
    except (StorageError, ChunkMissingError) as error:
        return clock.time <= DEADLINE and f"gave up after {len(source.retries) + 1} attempts" in str(error)
    return False
