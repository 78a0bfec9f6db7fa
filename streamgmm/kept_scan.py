"""What is done of a scan, kept beside the commits of a run: a kill costs no more of it than of a pass. Floor 6.

Sealed files under numbers that rise, each with all that is done; the newest that is whole and of the same rows counts, and goes when the
sample of the whole table is kept (kept_sample.py). A storage that takes none ends no scan.
"""

__all__ = ["KeptScan", "drop_scans"]

import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.column_moments import Columns
from streamgmm.errors import CheckpointCorruptError, CheckpointError, RunLockedError, StorageError, StreamGMMError
from streamgmm.events import Event, ignore
from streamgmm.kept_sample import Origin, pack_kept, unpack_kept
from streamgmm.reduce import Span
from streamgmm.scan import Scanned
from streamgmm.storage.base import AbstractStorage

NAME = re.compile(r"scan-(\d{6,})\.zip")
FORMAT = "streamgmm-scan"
MOMENTS = ("mean", "scatter", "low", "high")

Found = tuple[tuple[Span, Scanned], ...]


class KeptScan:
    """Of one scan in a run. origin: what it is of, and how. every: seconds of work that a kill may cost."""

    def __init__(
        self,
        storage: AbstractStorage,
        origin: Origin,
        every: float,
        observe: Callable[[Event], None] = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._origin, self._every, self._observe, self._clock = storage, origin, every, observe, clock
        self._saved = clock()

    def done(self) -> Found:
        """What was kept last, nothing where that is not to be had."""
        for name in reversed(_names(self._storage)):
            try:
                return unpack_scan(self._storage.read(name), self._origin)
            except (OSError, CheckpointError, StorageError) as error:
                self._observe(Event("warning", f"{self._storage.describe()}/{name} is not used: {error}", {"name": name}))
        return ()

    def due(self) -> bool:
        """Whether what is done is worth keeping."""
        return self._clock() - self._saved >= self._every

    def keep(self, found: Found) -> None:
        """Keep what is done in place of what was kept before. Raises RunLockedError where another process has taken the run over."""
        try:
            self._storage.refuse_if_lost()
            before = _names(self._storage)
            number = int(NAME.fullmatch(before[-1])[1]) + 1 if before else 0  # type: ignore[index]  # they match
            self._storage.create(f"scan-{number:06d}.zip", pack_scan(found, self._origin))
            for name in before:
                self._storage.remove(name)
        except RunLockedError:
            raise
        except (OSError, StreamGMMError) as error:
            self._observe(Event("warning", f"the scan is not kept, it goes on: {error}", {}))
        self._saved = self._clock()


def drop_scans(storage: AbstractStorage) -> None:
    """Remove what is kept of scans."""
    for name in _names(storage):
        storage.remove(name)


def _names(storage: AbstractStorage) -> list[str]:
    return sorted(filter(NAME.fullmatch, storage.names("")), key=lambda name: (len(name), name))


def pack_scan(found: Found, origin: Origin) -> bytes:
    """Spans, counts and moments side by side, rows one after the other."""
    results = [one for _, one in found]
    arrays: dict[str, FloatArray] = {
        "spans": np.array([(span.number, span.level) for span, _ in found], np.float64),
        "counts": np.array([(one.rows, one.skipped, one.columns.weight, len(one.x)) for one in results], np.float64),
        **{name: np.array([getattr(one.columns, name) for one in results]) for name in MOMENTS},
        "x": np.concatenate([one.x for one in results]),
        "weight": np.concatenate([one.weight for one in results]),
    }
    return pack_kept(FORMAT, origin, arrays)


def unpack_scan(raw: bytes, origin: Origin) -> Found:
    """Inverse. Raises CheckpointError where the bytes are not those that were written, or of another scan."""
    _, arrays = unpack_kept(raw, FORMAT, origin)
    try:
        spans, counts = arrays["spans"], arrays["counts"]
        ends = np.cumsum(counts[:, 3]).astype(int)[:-1]
        parts = zip(np.split(arrays["x"], ends), np.split(arrays["weight"], ends), strict=True)
        moments = zip(*(arrays[name] for name in MOMENTS), strict=True)
        return tuple(
            (Span(int(number), int(level)), _scanned(count, columns, *part))
            for (number, level), count, columns, part in zip(spans, counts, moments, parts, strict=True)
        )
    except (LookupError, ValueError, TypeError) as error:
        raise CheckpointCorruptError(f"its arrays are not those of a scan ({error})") from error


def _scanned(count: FloatArray, moments: Sequence[FloatArray], x: FloatArray, weight: FloatArray) -> Scanned:
    found = Scanned(int(count[0]), int(count[1]), Columns(float(count[2]), *moments), x, weight)
    if found.fault() or len(x) != len(weight) or len(x) != count[3]:
        raise ValueError(found.fault() or f"{len(x)} rows with {len(weight)} weights")
    return found
