"""The sample of a run, kept beside its commits: a fit that goes on reads nothing for it. Floor 6.

A sealed zip like a commit's (commit_file.py), under one name. It says what it was drawn from and how; one that is of something else, is
damaged or missing is drawn again, with the same bits. It is a convenience: a storage that does not take it ends no fit.
"""

__all__ = ["SAMPLE", "Origin", "kept_sample", "pack_kept", "pack_sample", "unpack_kept", "unpack_sample"]

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.commit_file import checked_names, group_members, sealed, zipped
from streamgmm.errors import CheckpointCorruptError, CheckpointError, RunLockedError, StorageError, StreamGMMError
from streamgmm.events import Event, ignore
from streamgmm.initialisers._sample import Sample
from streamgmm.storage.base import AbstractStorage
from streamgmm.strict_zarr import read_group, strict_json

SAMPLE = "sample.zip"
RECORD = "record.json"
FORMAT = "streamgmm-sample"

Origin = Mapping[str, Any]  # what a sample was drawn from and how: strict JSON


def kept_sample(
    storage: AbstractStorage,
    origin: Origin,
    draw: Callable[[], Sample],
    observe: Callable[[Event], None] = ignore,
    *,
    expected: bool = False,
) -> Sample:
    """The sample that the storage holds, else one that is drawn and kept. expected: that it is not there is worth a word.

    Raises RunLockedError where another process has taken the run over.
    """
    try:
        return unpack_sample(storage.read(SAMPLE), origin)
    except FileNotFoundError:
        why = "it is not there" if expected else ""
    except (CheckpointError, StorageError) as error:
        why = str(error)
    if why:
        observe(Event("warning", f"the sample kept in {storage.describe()}/{SAMPLE} is drawn again: {why}", {"name": SAMPLE}))
    sample = draw()
    try:
        storage.refuse_if_lost()
        storage.remove(SAMPLE)
        storage.create(SAMPLE, pack_sample(sample, origin))
    except RunLockedError:
        raise
    except (OSError, StreamGMMError) as error:
        observe(Event("warning", f"the sample is not kept, a resumed fit draws it again: {error}", {"name": SAMPLE}))
    return sample


def pack_sample(sample: Sample, origin: Origin) -> bytes:
    """Rows and weights as they are."""
    return pack_kept(FORMAT, origin, {"x": sample.x, "weight": sample.weight}, complete=sample.complete)


def unpack_sample(raw: bytes, origin: Origin) -> Sample:
    """Inverse. Raises CheckpointError where the bytes are not those that were written, or of another sample."""
    record, arrays = unpack_kept(raw, FORMAT, origin)
    x, weight = arrays.get("x"), arrays.get("weight")
    if (
        x is None
        or weight is None
        or x.ndim != 2
        or weight.shape != x.shape[:1]
        or not (np.isfinite(x).all() and np.isfinite(weight).all())
    ):
        raise CheckpointCorruptError("its arrays are not those of a sample")
    return Sample(x, weight, bool(record.get("complete")))


def pack_kept(kind: str, origin: Origin, arrays: Mapping[str, FloatArray], **told: Any) -> bytes:
    """Arrays as they are, with what they were drawn from and how."""
    record = {"format": kind, "format_version": 1, "origin": dict(origin), **told}
    raw = json.dumps(record, sort_keys=True, allow_nan=False).encode()
    return zipped({**group_members(arrays), RECORD: raw})


def unpack_kept(raw: bytes, kind: str, origin: Origin) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """Inverse: record and arrays. Raises CheckpointError where the bytes are not those that were written, or of another origin."""
    if not sealed(raw):
        raise CheckpointCorruptError("its seal is broken")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = checked_names(archive.infolist())
            record = strict_json(archive.read(RECORD), RECORD)
            _, arrays = read_group(names - {RECORD}, archive.read)
    except (zipfile.BadZipFile, zlib.error, LookupError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointCorruptError(f"not a whole zip file ({error})") from error
    except StreamGMMError as error:
        raise CheckpointCorruptError(str(error)) from error
    if not isinstance(record, dict) or record.get("format") != kind or record.get("format_version") != 1:
        raise CheckpointError("it is not what this release reads")
    if record.get("origin") != json.loads(json.dumps(dict(origin))):
        raise CheckpointError("it was drawn from other rows, or in another way")
    return record, dict(arrays)
