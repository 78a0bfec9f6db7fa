"""What a worker of a cluster runs: the blocks of one span, merged in the fixed tree. Floor 4."""

__all__ = ["Answer", "Work", "run_span"]

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import distributed
from threadpoolctl import ThreadpoolController

from streamgmm.block import Block
from streamgmm.errors import WorkerProfileError
from streamgmm.executors.base import BlockFunction, Merge
from streamgmm.numeric_profile import differences, numeric_profile
from streamgmm.reduce import Span, TreeReducer
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Work(Generic[T]):
    """What all tasks of a pass have in common.

    source: None where each task brings its own. profile: of the process that leads the fit. strict: refuse to compute under another one.
    """

    function: BlockFunction[T]
    merge: "Merge[T]"
    source: AbstractSource | None
    profile: Mapping[str, str]
    strict: bool


@dataclass(frozen=True, eq=False)
class Answer(Generic[T]):
    """The result of a span, who computed it, and what of that worker's numeric profile is not the leader's."""

    value: T
    worker: str
    odd: Mapping[str, tuple[str, str]]


@cache
def _libraries() -> ThreadpoolController:
    """The libraries of this process that have threads of their own; finding them takes milliseconds."""
    return ThreadpoolController()


def run_span(own: AbstractSource | None, first: int, last: int, *, shared: Work[T]) -> Answer[T]:
    """Each block is read while the one before is computed. Raises WorkerProfileError where the work is strict and this worker odd."""
    worker = str(distributed.get_worker().address)
    odd = differences(shared.profile, numeric_profile())
    if odd and shared.strict:
        keys = ", ".join(f"{name} {theirs!r} instead of {wanted!r}" for name, (wanted, theirs) in odd.items())
        raise WorkerProfileError(
            f"worker {worker} would give other last bits than the process that leads the fit: {keys}. Take it out of the cluster, use"
            " machines of one kind with the same libraries, or do without strict mode."
        )
    source = shared.source if own is None else own
    assert source is not None
    return Answer(_merged(shared, source, first, last), worker, odd)


def _merged(shared: Work[T], source: AbstractSource, first: int, last: int) -> T:
    tree: TreeReducer[T] = TreeReducer(shared.merge)
    with _libraries().limit(limits=1), ThreadPoolExecutor(1, "streamgmm-read") as reader:
        ahead = reader.submit(source.read, first)
        for index in range(first, last):
            block: Block = ahead.result()
            if index + 1 < last:
                ahead = reader.submit(source.read, index + 1)
            tree.add(Span(index - first, 0), shared.function(block))
    whole = tree.result()
    assert whole is not None
    return whole
