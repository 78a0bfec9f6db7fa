"""A source on storage that fails now and then: the same blocks, read again where that may help. Floor 4.

What passes by itself (busy, reset, timed out, a read that never answers) is tried again under every policy, until a deadline. What does not
(refused credentials, permissions, a full listing without the chunk) is said at once. Damage is said at once (`raise`), after a few more
tries (`retry`), or the block is left out and all of its rows counted as skipped (`skip`).
"""

__all__ = ["GuardedSource", "Retry", "guard"]

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgmm.block import Block
from streamgmm.errors import ChunkCorruptError, ChunkMissingError, StorageError, StreamGMMError
from streamgmm.sources._damage_policy import DamagePolicy
from streamgmm.sources._waiting import NoAnswer, within
from streamgmm.sources.base import AbstractSource
from streamgmm.wording import one_line

AnyArray = npt.NDArray[np.generic]


class Retry(NamedTuple):
    """A try that failed and was followed by another: which block, which try of it, why."""

    block: int
    attempt: int
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class GuardedSource(AbstractSource):
    """Another source, read under a policy. Its blocks and its fingerprint are those of the other."""

    source: AbstractSource
    policy: DamagePolicy = DamagePolicy()

    @property
    def n_rows(self) -> int | None:
        """See the base class."""
        return self._same.n_rows

    @property
    def n_blocks(self) -> int | None:
        """See the base class."""
        return self._same.n_blocks

    @property
    def dtype(self) -> np.dtype[Any]:
        """See the base class."""
        return self.source.dtype

    @property
    def repeatable(self) -> bool:
        """See the base class."""
        return self.source.repeatable

    @property
    def in_memory(self) -> bool:
        """See the base class."""
        return self.source.in_memory

    @property
    def computed(self) -> bool:
        """See the base class."""
        return self.source.computed

    @property
    def rows_per_read(self) -> int:
        """See the base class."""
        return self._same.rows_per_read

    @property
    def retries(self) -> tuple[Retry, ...]:
        """Tries of this process that failed and were repeated."""
        return tuple(self._log)

    def start(self, index: int) -> int:
        """See the base class."""
        return self._same.start(index)

    def rows_in(self, first: int, last: int) -> int | None:
        """See the base class."""
        return self._same.rows_in(first, last)

    def refuse_changes(self) -> None:
        """See the base class."""
        self.source.refuse_changes()
        if self.sample_weight is not None:
            self.sample_weight.refuse_changes()

    def load(self, index: int) -> AnyArray:
        """See the base class."""
        attempt, failed_at = 1, None
        while True:
            try:
                return self._load_once(index)
            except (StorageError, ChunkMissingError, ChunkCorruptError) as error:
                failed_at = self.policy.clock.now() if failed_at is None else failed_at
                elapsed = self.policy.clock.now() - failed_at
                if self.policy.gives_up(error, attempt, elapsed):
                    if attempt == 1:
                        raise
                    raise _after(error, attempt, elapsed) from error
                self._log.append(Retry(index, attempt, one_line(error)))
                self.policy.clock.sleep(min(self.policy.pause_before(index, attempt), max(self.policy.deadline - elapsed, 0.0)))
                attempt += 1

    def lost(self, index: int, error: Exception) -> Block:
        """See the base class."""
        if self.policy.on_damage != "skip" or self.n_rows is None:
            raise error
        start, stop = self.span(index)
        return Block(
            index,
            start,
            np.empty((0, self.n_features)),
            None if self.sample_weight is None else np.empty(0),
            np.empty(0, np.intp),
            stop - start,
            one_line(error),
        )

    def portable_rows(self, first: int, last: int) -> Any:
        """See the base class. What Dask computes is not guarded: it fails where it is computed."""
        rows = self._same.portable_rows(first, last)
        return replace(self, source=rows, sample_weight=None) if isinstance(rows, AbstractSource) else rows

    @property
    def _same(self) -> AbstractSource:
        return self._holder[0]

    @property
    def _holder(self) -> list[AbstractSource]:
        return self.once("_held", lambda: [self.source.without_weights().with_block_rows(self.block_rows)])

    @property
    def _log(self) -> list[Retry]:
        return self.once("_retries", list)

    def _load_once(self, index: int) -> AnyArray:
        same = self._same
        if same.in_memory or same.computed or not same.repeatable:
            return same.load(index)
        try:
            return within(self.policy.stall, lambda: same.load(index))
        except NoAnswer:
            # What it left behind may hold locks of the source's cache for ever: the next try gets a cache of its own.
            self._holder[0] = replace(same)
            said = f"block {index}: the store has not answered within {self.policy.stall:g} s; see to it"
            raise _StalledError(said) from TimeoutError()


class _StalledError(StorageError):
    """A read that did not answer."""


def guard(source: AbstractSource, policy: DamagePolicy) -> GuardedSource:
    """The same source under a policy, its weights too."""
    return GuardedSource(
        feature_names=source.feature_names,
        units=source.units,
        block_rows=source.block_rows,
        missing=source.missing,
        sample_weight=None if source.sample_weight is None else guard(source.sample_weight, policy),
        source=source.without_weights(),
        policy=policy,
    )


def _after(error: StreamGMMError, attempts: int, seconds: float) -> StreamGMMError:
    """The same error, with how often and how long it was tried."""
    kind = StorageError if isinstance(error, StorageError) else type(error)
    return kind(f"{error} (gave up after {attempts} attempts in {seconds:.3g} s)")
