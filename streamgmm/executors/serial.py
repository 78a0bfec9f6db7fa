"""One block after the other in the calling thread: for debugging and for profiles. Floor 4."""

__all__ = ["Serial"]

from collections.abc import Collection, Generator
from typing import TypeVar

from streamgmm.executors.base import AbstractExecutor, BlockFunction, Found, Merge, Sound, accepted
from streamgmm.reduce import Span, remaining
from streamgmm.sources.base import AbstractSource

T = TypeVar("T")


class Serial(AbstractExecutor):
    """Reads and computes in turn; a debugger stops where the error is.

    strict: a run that was begun where the last bits come out differently is refused, not only told.
    """

    name = "serial"

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict

    @property
    def workers(self) -> int:
        """1."""
        return 1

    @property
    def blocks_in_memory(self) -> int:
        """1."""
        return 1

    def map_spans(
        self,
        function: BlockFunction[T],
        merge: "Merge[T]",
        source: AbstractSource,
        *,
        done: Collection[Span] = (),
        sound: "Sound[T]" = accepted,
    ) -> Generator["Found[T]", None, None]:
        """See the base class; it does not say that it is waiting: there is nobody beside to be waited for."""
        del merge, sound
        if source.n_blocks is None:
            yield from ((Span(number, 0), function(block)) for number, block in enumerate(source.blocks()))
        else:
            yield from ((span, function(source.read(span.first))) for span in remaining(source.n_blocks, 0, done))
