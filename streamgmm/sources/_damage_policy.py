"""What to do with a block that cannot be read, and when it is tried again. Floor 4.

Pure rules: how a block is read is guarded.py, which failure is which is _failures.py.
"""

__all__ = ["DAMAGE_POLICIES", "Clock", "DamagePolicy"]

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamgmm.errors import ChunkCorruptError, ChunkMissingError, ConfigError, StreamGMMError, nearest
from streamgmm.sources._failures import is_transient

DAMAGE_POLICIES = ("raise", "retry", "skip")


@dataclass(frozen=True)
class Clock:
    """What time it is, in seconds, and how to wait; tests bring one that does not."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Any] = time.sleep


@dataclass(frozen=True)
class DamagePolicy:
    """What to do with a block that cannot be read.

    on_damage: "raise", "retry" or "skip". retries: further tries of a damaged chunk, or of a listed one that a bucket says it has not.
    deadline: seconds, after the first failure, in which what may pass by itself is tried again. stall: seconds after which a read that has
    not answered counts as failed; it is left behind. Pauses double from `pause` up to 50 times that, each times a random number from a half
    to one and a half, drawn from `seed`, block and try.
    """

    on_damage: str = "raise"
    retries: int = 3
    deadline: float = 60.0
    stall: float = 300.0
    pause: float = 0.1
    seed: int = 0
    clock: Clock = Clock()

    def __post_init__(self) -> None:
        if self.on_damage not in DAMAGE_POLICIES:
            raise ConfigError(
                f"on_damage must be one of {DAMAGE_POLICIES}, got {self.on_damage!r}{nearest(self.on_damage, DAMAGE_POLICIES)}"
            )
        if not (self.retries >= 0 and self.deadline >= 0 and self.stall > 0 and self.pause > 0):
            raise ConfigError(f"retries and deadline must be >= 0, stall and pause > 0: got {self}")

    def pause_before(self, index: int, attempt: int) -> float:
        """Seconds to wait after so many failed tries of a block."""
        jitter = 0.5 + np.random.default_rng([self.seed, index, attempt]).random()
        return float(self.pause * min(2.0 ** (attempt - 1), 50.0) * jitter)

    def gives_up(self, error: StreamGMMError, attempt: int, elapsed: float) -> bool:
        """Whether no further try is made after this many, so many seconds after the first failed."""
        if isinstance(error, ChunkMissingError | ChunkCorruptError):
            worth_it = self.on_damage == "retry" or getattr(error, "may_return", False)
            return not worth_it or attempt > self.retries or elapsed >= self.deadline
        return not is_transient(error) or elapsed >= self.deadline
