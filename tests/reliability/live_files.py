"""Files of live mixtures with a byte changed, cut short, or sealed anew over a record that lies."""

import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from streamgmm.commit_file import zipped
from streamgmm.errors import CheckpointError, CheckpointVersionError
from streamgmm.live import LiveMixture
from tests.making import clustered_rows
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
    return Outcome(PROMISE, n, accepted, {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()[:12]})
