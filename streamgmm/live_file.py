"""The file of a live mixture: plain arrays and strict JSON in a sealed zip, as commits are. Floor 8.

Whatever the bytes are, reading runs nothing that they name. A file appears whole or not at all, in place of the one before.
"""

__all__ = ["load_live", "save_live"]

import io
import json
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.commit_file import checked_names, group_members, sealed, zipped
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.drift_alarm import Cusum, Summary
from streamgmm.drift_reference import DriftReference
from streamgmm.errors import CheckpointCorruptError, CheckpointError, CheckpointVersionError, SecurityError
from streamgmm.live_state import LiveSettings, LiveState
from streamgmm.mixture import Mixture
from streamgmm.online_step import Online
from streamgmm.pending_folder import replace_file, storage_errors
from streamgmm.registry import implementation
from streamgmm.reservoir import Reservoir
from streamgmm.strict_zarr import MAX_MEMBER_BYTES, read_group, strict_json

FORMAT, FORMAT_VERSION, RECORD = "streamgmm-live", 1, "record.json"
FAULTS = (  # what reading a zip, a record and arrays of hostile bytes may raise
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_live(path: Path, state: LiveState) -> None:
    """Write a state. Raises StorageError; the file that was there is untouched then."""
    replace_file(path, _packed(state))


def _packed(state: LiveState) -> bytes:
    arrays, reservoir = state.reservoir.to_record()
    arrays |= {"waiting": state.waiting, "waiting_weight": state.waiting_weight}
    online = state.online
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": asdict(state.settings),
        "feature_names": list(state.feature_names),
        "reservoir": reservoir,
        "cusum": asdict(state.cusum),
        **{name: getattr(state, name) for name in ("rows", "skipped", "alarms")},
        "online": None if online is None else _described(online),
        "reference": _described_reference(state.reference),
    }
    if online is not None:
        arrays |= {f"online.{name}": value for name, value in online.to_arrays().items()}
    if state.reference.mixture is not None:
        arrays |= {f"reference.{name}": value for name, value in state.reference.mixture.to_arrays().items()}
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False).encode()
    return zipped({**group_members(arrays), RECORD: text})


def _described(online: Online) -> dict[str, Any]:
    mixture = online.mixture
    return {**_names(mixture), "weight": online.weight, "steps": online.steps}


def _names(mixture: Mixture) -> dict[str, str]:
    return {"components": mixture.components.name, "weights": mixture.weights.name}


def _described_reference(reference: DriftReference) -> dict[str, Any]:
    mixture = None if reference.mixture is None else _names(reference.mixture)
    return {"batches": reference.batches, "mixture": mixture, "summary": reference.summary, "cusum": asdict(reference.cusum)}


def load_live(path: Path) -> LiveState:
    """Read a state. Raises CheckpointError and its heirs, SecurityError, StorageError."""
    if not path.is_file():
        raise CheckpointError(f"no live mixture at {path}: looked for a file; write one with save")
    with storage_errors(path, "read"):
        if path.stat().st_size > MAX_MEMBER_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_MEMBER_BYTES} bytes, which is the limit")
        raw = path.read_bytes()
    if not sealed(raw):
        raise CheckpointCorruptError(
            f"{path}: its seal is broken: it is damaged, cut short or no file of a live mixture; go back to a copy"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = checked_names(archive.infolist())
            return _state(strict_json(archive.read(RECORD), RECORD), read_group(names - {RECORD}, archive.read)[1], path)
    except (CheckpointError, SecurityError):
        raise
    except FAULTS as error:
        raise CheckpointCorruptError(f"{path} does not describe a live mixture: {error}") from error


def _state(record: Any, arrays: dict[str, FloatArray], path: Path) -> LiveState:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not the file of a live mixture")
    version = record.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise CheckpointVersionError(f"{path}: format version {version!r}, this release reads up to {FORMAT_VERSION}; upgrade streamgmm")
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise ValueError("its numbers are not finite")
    names, d = tuple(str(name) for name in record["feature_names"]), len(record["feature_names"])
    waiting, weight = arrays["waiting"], arrays["waiting_weight"]
    reservoir = Reservoir.from_record(arrays, record["reservoir"])
    online = None if record["online"] is None else _online(record["online"], arrays)
    if waiting.shape != (len(weight), d) or reservoir.x.shape[1] != d or (online is not None and online.mixture.n_features != d):
        raise ValueError(f"rows or mixture do not have the {d} columns that are named")
    cusum = _cusum(record["cusum"])
    reference = _reference(record["reference"], arrays, d) if "reference" in record else DriftReference(cusum=Cusum(limit=cusum.limit))
    rows, skipped, alarms = (int(record[name]) for name in ("rows", "skipped", "alarms"))
    slow, learned = reference.cusum, 0.0 if online is None else online.weight
    numbers = (cusum.above, cusum.below, slow.above, slow.below, learned, reference.batches, rows, skipped, alarms)
    if not all(0 <= number < 2**63 for number in numbers) or (weight < 0).any() or (reservoir.weight < 0).any():
        raise ValueError(f"counts, sums or weights are out of range: {numbers}")
    return LiveState(LiveSettings(**record["settings"]), online, names, reservoir, waiting, weight, cusum, rows, skipped, alarms, reference)


def _cusum(described: dict[str, Any]) -> Cusum:
    return Cusum(*(float(described[name]) for name in ("above", "below", "limit")))


def _reference(described: dict[str, Any], arrays: dict[str, FloatArray], d: int) -> DriftReference:
    mixture = None if described["mixture"] is None else _mixture(described["mixture"], _named("reference.", arrays))
    mean, error, rows = described["summary"]
    summary = Summary(float(mean), float(error), int(rows))
    if (mixture is not None and mixture.n_features != d) or not (np.isfinite([mean, error]).all() and error >= 0 and rows >= 0):
        raise ValueError(f"the reference of the alarm does not belong to {d} columns, or is no mean: {summary}")
    return DriftReference(int(described["batches"]), mixture, summary, _cusum(described["cusum"]))


def _named(prefix: str, arrays: dict[str, FloatArray]) -> dict[str, FloatArray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _mixture(described: dict[str, Any], mine: dict[str, FloatArray]) -> Mixture:
    family = implementation("components", str(described["components"]))
    law = implementation("weights", str(described["weights"]))
    return Mixture(family.from_arrays(mine), law(mine["weights"]))


def _online(described: dict[str, Any], arrays: dict[str, FloatArray]) -> Online:
    mine = _named("online.", arrays)
    mixture = _mixture(described, mine)
    online = Online.from_arrays(mine, mixture, float(described["weight"]), int(described["steps"]))
    k, d, family = mixture.n_components, mixture.n_features, mixture.components
    assert isinstance(family, AbstractGaussian)
    shapes = (online.moments.centre.shape, online.moments.first.shape, online.moments.n.shape, online.moments.second.shape)
    if shapes != ((k, d), (k, d), (k,), family.structure.second_shape(k, d)):
        raise ValueError(f"moments of shapes {shapes} do not belong to {k} components in {d} columns")
    return online
