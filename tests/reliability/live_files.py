"""Files of live mixtures: with a byte changed, cut short, sealed anew over a record that lies; and saved by processes that are killed."""

import io
import json
import os
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from streamgmm.commit_file import zipped
from streamgmm.errors import CheckpointError, CheckpointVersionError
from streamgmm.live import LiveMixture
from tests.making import clustered_rows
from tests.reliability.children import forked, to_the_end, was_killed
from tests.reliability.outcome import Outcome

PROMISE = "a file of a live mixture that is not what was written is refused with a CheckpointError"

LIES = (
    (lambda record: record.update(format="other"), CheckpointError),
    (lambda record: record.update(format_version=99), CheckpointVersionError),
    (lambda record: record.pop("rows"), CheckpointError),
    (lambda record: record.update(feature_names=["x"]), CheckpointError),
    (lambda record: record["settings"].update(hold_out=7), CheckpointError),
    (lambda record: record["settings"].update(unknown=7), CheckpointError),
    (lambda record: record["online"].update(components="gaussian_diag"), CheckpointError),
    (lambda record: record["online"].update(components="os"), CheckpointError),
    (lambda record: record["reservoir"].update(seen=3), CheckpointError),
    (lambda record: record["reservoir"].update(generator=["a", "b", 0, 0]), CheckpointError),
    (lambda record: record.update(cusum=[]), CheckpointError),
    (lambda record: record.update(rows=2**70), CheckpointError),
    (lambda record: record.update(rows=-1), CheckpointError),
    (lambda record: record["cusum"].update(above=-1), CheckpointError),
    (lambda record: record.update(online=[1]), CheckpointError),
    (lambda record: record.update(reference=[]), CheckpointError),
    (lambda record: record["reference"].update(batches=-1), CheckpointError),
    (lambda record: record["reference"]["cusum"].update(below=-1), CheckpointError),
    (lambda record: record["reference"].update(summary=["a", 0, 0]), CheckpointError),
    (lambda record: record["reference"].update(mixture={"components": "os", "weights": "free"}), CheckpointError),
    (lambda record: record.update(feature_names=7), CheckpointError),
)


def resealed(path: Path, change) -> bytes:
    """The file with its record changed, and a good seal."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(members["record.json"])
    change(record)
    return zipped({**members, "record.json": json.dumps(record).encode()})


def _damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(raw)))
    if rng.random() < 0.2:
        return raw[:place]
    return raw[:place] + bytes([raw[place] ^ (1 << int(rng.integers(8)))]) + raw[place + 1 :]


def trials(n: int, seed: int) -> Outcome:
    """n damaged copies of one file."""
    rng, accepted = np.random.default_rng(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        good, bad = Path(folder, "good.live"), Path(folder, "bad.live")
        live = LiveMixture(3, hold_out=0.05)
        live.feed(clustered_rows(2000, 3, 2, rng))
        live.save(good)
        raw = good.read_bytes()
        for _ in range(n):
            bad.write_bytes(_damaged(raw, rng))
            try:
                LiveMixture.load(bad)
            except CheckpointError:
                continue
            accepted += 1
    return Outcome(PROMISE, n, accepted, {"bytes": len(raw)})


# ---- killed while it is saved ----------------------------------------------------------------------------------------------------

BATCHES, BATCH_ROWS = 40, 100
MOMENT = 0.02  # seconds: to feed and save takes about as long


def kill_trials(n: int, seed: int, many: int = BATCHES) -> Outcome:
    """n processes that feed and save again and again; each is killed, a quarter twice, before one comes to the end.

    A killed one leaves the file that was saved last, or the next one, whole; from there the bits are the same, and nothing else is left.
    """
    luck, wrong, seen = np.random.default_rng(seed), [], Counter()
    batches = np.split(clustered_rows(many * BATCH_ROWS, 3, 2, np.random.default_rng(7)), many)
    with tempfile.TemporaryDirectory() as scratch:
        path, saved = Path(scratch, "stars.live"), [b""]
        _feed(path, batches, lambda _: saved.append(path.read_bytes()))
        for number in range(n):
            path.unlink()
            for _ in range(2 if number % 4 == 3 else 1):
                wrong += [f"{number}: {one}" for one in _killed(path, batches, saved, luck, seen)]
            to_the_end(lambda: _feed(path, batches))
            if path.read_bytes() != saved[-1] or _names(path) != [path.name]:
                wrong.append(f"{number}: ended with {_names(path)}, or with other bytes")
    return Outcome("P1", n, len(wrong), {**dict(sorted(seen.items())), "saves of a process": many, "wrong": wrong[:5]})


def _feed(path, batches, on_save=lambda number: None):
    """Feed and save what the file has not seen yet."""
    live = LiveMixture.load(path) if path.exists() else LiveMixture(3, hold_out=0.05, start_rows=200, batch_rows=100)
    for number in range(live.rows // BATCH_ROWS, len(batches)):
        live.feed(batches[number])
        live.save(path)
        on_save(number)


def _killed(path, batches, saved, luck, seen):
    """Kill a process a moment after one of its saves; what is wrong with the file that it leaves."""
    before = saved.index(path.read_bytes() if path.exists() else b"")
    receive, send = os.pipe()
    pid = forked(lambda: _feed(path, batches, lambda _: os.write(send, b".")))
    os.close(send)
    with os.fdopen(receive, "rb", buffering=0) as words:
        first = b"".join(words.read(1) for _ in range(int(luck.integers(max(1, len(batches) - before)))))
        seen["kills"] += was_killed(pid, luck.uniform(0, MOMENT))
        said = before + len(first + words.read())
    raw = path.read_bytes() if path.exists() else b""
    seen["kills in the middle of a save"] += any(name != path.name for name in _names(path))
    if raw not in saved:
        return [f"{len(raw)} bytes that nobody saved"]
    seen["files newer than was said"] += saved.index(raw) > said
    return [] if said <= saved.index(raw) <= said + 1 else [f"the file of save {saved.index(raw)} after save {said}"]


def _names(path):
    return sorted(one.name for one in path.parent.iterdir())
