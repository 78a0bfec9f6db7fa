"""What the last pass of a fit has added up, kept beside its commits: an update reads only what comes after it. Floor 5.

The sums are those of complete subtrees about the mixture that the pass looked at, which is not the one that the fit ends with. The span
that ends with the table is left out: appended rows go into its last block. One file per run, named after its pass and written as commits
are, so that it is checked as they are. Nothing rests on it but updates: a run whose sums are gone is whole.
"""

__all__ = ["LastSums", "drop_sums", "keep_sums", "load_sums", "prefix_of"]

import contextlib
import hashlib
import re
from dataclasses import replace

from streamgmm.commit_file import Link, pack, unpack
from streamgmm.em import Partial
from streamgmm.errors import CheckpointError
from streamgmm.reduce import Span
from streamgmm.state import Contender, FitState, Progress
from streamgmm.storage.base import AbstractStorage

NAME = re.compile(r"statistics-(\d{6,})\.zip")
RECORD = "run.json"

Spans = tuple[tuple[Span, Partial], ...]


class LastSums:
    """Of every contender, the sums of the last pass that it took part in: an observer of passes, which lets go what goes on."""

    def __init__(self) -> None:
        self._found: dict[int, FitState] = {}

    def __call__(self, state: FitState, spans: Spans) -> None:
        """Take the spans of a pass that began with this state."""
        for place, contender in enumerate(state.active):
            mine = tuple((span, replace(partial, statistics=(partial.statistics[place],))) for span, partial in spans)
            first = Contender(0, contender.mixture)
            self._found[contender.start] = FitState((first,), progress=Progress("", mine))

    def settle(self, state: FitState) -> None:
        """After a pass: contenders that go on get new sums."""
        for contender in state.active:
            self._found.pop(contender.start, None)

    def of(self, state: FitState) -> FitState | None:
        """Of the best contender: a state before its last pass with what is done of it; None where that was not seen."""
        return self._found.get(state.best.start)


def keep_sums(storage: AbstractStorage, number: int, sums: FitState) -> None:
    """Write them as those of pass `number`, then drop those of other passes. Raises RunLockedError, StorageError, NumericalError."""
    raw, _ = pack(sums, Link(number, run=_identity(storage)))
    name = _name(number)
    storage.refuse_if_lost()  # what is dropped would be another's
    try:
        storage.create(name, raw)
    except FileExistsError:  # left by a process that was killed before it could commit this pass
        if storage.read(name) != raw:
            storage.remove(name)
            storage.create(name, raw)
    for other in storage.names(""):
        if NAME.fullmatch(other) and other != name:
            storage.remove(other)


def drop_sums(storage: AbstractStorage) -> None:
    """Remove them."""
    for name in filter(NAME.fullmatch, storage.names("")):
        storage.remove(name)


def load_sums(storage: AbstractStorage, number: int) -> FitState | None:
    """The sums of pass `number`, None where they are not there. Raises CheckpointError where they are broken or of another run."""
    try:
        found = unpack(storage.read(_name(number)), number)
        prefix_of(found.state)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        raise type(error)(
            f"{storage.describe()}/{_name(number)}: {error}; only update and forget need it, and it may be deleted"
        ) from error
    if found.link.run != _identity(storage):
        raise CheckpointError(
            f"{storage.describe()}/{_name(number)} belongs to another run; only update and forget need it, and it may be deleted"
        )
    return found.state


def prefix_of(sums: FitState) -> int:
    """Blocks that they cover: from the first one on, without a gap. Raises CheckpointError where there is one."""
    at = 0
    for span, _ in sums.progress.done if sums.progress else ():
        if span.first != at:
            raise CheckpointError(f"the kept sums have a gap before block {span.first}")
        at = (span.number + 1) << span.level
    return at


def _name(number: int) -> str:
    return f"statistics-{number:06d}.zip"


def _identity(storage: AbstractStorage) -> str:
    with contextlib.suppress(FileNotFoundError):
        return hashlib.sha256(storage.read(RECORD)).hexdigest()
    return ""
