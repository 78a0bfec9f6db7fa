"""events.jsonl: one strict JSON object a line, for people and programs that look on. Floor 1.

The file is appended to and flushed at every event; a resumed run goes on in the same file. It is NOT what a run resumes from: it may
be cut or deleted at any time. The only times that a run folder holds are here. It is bounded: past its bound it is moved aside, in the
place of the one that was moved aside before.
"""

__all__ = ["JsonLines"]

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, final

from streamgmm.events import Event
from streamgmm.observers.base import SECONDS_BETWEEN, AbstractObserver
from streamgmm.wording import strict_values

MOST_BYTES = 64 << 20  # of the file; the one moved aside has as many


@final
class JsonLines(AbstractObserver):
    """Appends to a file, opened at the first event, or to an open stream. Within a pass at most one line every ten seconds.

    A log that cannot be written (a full disk) does not end a fit: the next line that can be says how many are missing. So does the first
    line of a file after one that was moved aside, of the lines that are gone for good.
    """

    name = "json_lines"

    def __init__(
        self, target: str | os.PathLike[str] | TextIO, clock: Callable[[], float] = time.time, most_bytes: int = MOST_BYTES
    ) -> None:
        self._path = Path(target) if isinstance(target, str | os.PathLike) else None
        self._stream = None if isinstance(target, str | os.PathLike) else target
        self._clock, self._most_bytes = clock, most_bytes
        self._last = -math.inf
        self._lost = 0

    def __call__(self, event: Event) -> None:
        """See the base class. Raises OSError where an open stream cannot be written."""
        now = self._clock()
        if event.kind == "reading" and abs(now - self._last) < SECONDS_BETWEEN:
            return
        self._last = now
        line = json.dumps({**_record(event, now), **({"lost": self._lost} if self._lost else {})}, allow_nan=False, ensure_ascii=True)
        try:
            stream = self._open()
            stream.write(line + "\n")
            stream.flush()
            if self._path is not None and stream.tell() > self._most_bytes:
                self._move_aside(self._path, now)
        except OSError:
            if self._path is None:
                raise
            self._lost += 1
            self._abandon()
        else:
            self._lost = 0

    def _open(self) -> TextIO:
        if self._stream is None:
            assert self._path is not None
            self._stream = self._path.open("a+", encoding="utf-8", newline="\n")
            if _ends_in_mid_line(self._path):
                self._stream.write("\n")
        return self._stream

    def _move_aside(self, path: Path, now: float) -> None:
        """Begin a new file; the lines of the one that was moved aside before are gone."""
        older = path.with_suffix(f".older{path.suffix}")
        gone = _lines_of(older)
        self.close()
        path.replace(older)
        message = f"the log went on from {older.name}; {gone:,} older lines are gone"
        self._open().write(json.dumps(_record(Event("log", message, {"gone": gone}), now), allow_nan=False) + "\n")

    def _abandon(self) -> None:
        """Let go of a file that failed; what its buffer holds is lost."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

    def close(self) -> None:
        """Close the file that was opened here."""
        if self._path is not None and self._stream is not None:
            self._stream.close()
            self._stream = None


def _lines_of(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _ends_in_mid_line(path: Path) -> bool:
    """Whether a killed process left half a line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return size > 0 and file.read(1) != b"\n"


def _record(event: Event, now: float) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return {"time": stamp, "kind": event.kind, "message": event.message, **strict_values(event.details)}
