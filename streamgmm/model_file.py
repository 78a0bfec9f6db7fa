"""The model file: an xarray Dataset in a Zarr v3 group. Floor 5.

Plain xarray opens it (`xarray.open_zarr(path, consolidated=False)`). Equal models have equal bytes: no dates, no host names, one
uncompressed chunk per array. `model_hash` is the SHA-256 of all member names and bytes. The root's attributes hold the SHA-256 of every
other member and of themselves, so that a changed byte is found; models of the first release have neither, and load.
"""

__all__ = ["FORMAT_VERSION", "SavedModel", "load_model", "model_hash", "save_model", "seal_model"]

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
import zarr

from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.errors import CheckpointCorruptError, CheckpointError, CheckpointVersionError, ConfigError
from streamgmm.mixture import Mixture
from streamgmm.pending_folder import PendingFolder, storage_errors
from streamgmm.registry import implementation
from streamgmm.strict_zarr import MAX_MEMBER_BYTES, read_group, strict_json

FORMAT = "streamgmm-model"
ROOT = "zarr.json"
FORMAT_VERSION = 1
MEASURED = ("streamgmm", "numpy", "scipy", "numba", "scikit-learn", "xarray", "zarr")


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A mixture with the names and units of its columns, its history, and where it comes from.

    log_likelihoods: mean per row at each pass. provenance: strict JSON (source fingerprint, configuration, seed, rows, outcome).
    """

    mixture: Mixture
    feature_names: tuple[str, ...]
    units: tuple[str, ...]
    log_likelihoods: tuple[float, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def save_model(path: str | os.PathLike[str], model: SavedModel, *, overwrite: bool = False) -> Path:
    """Write a model; it appears whole or not at all. Raises ConfigError (exists), StorageError (cannot be written)."""
    target = Path(path)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists already; use --overwrite (overwrite=True) or another path")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    folder = PendingFolder(target)
    try:
        with storage_errors(target):
            _write(_dataset(model), folder.path)
            seal_model(folder.path)
        folder.publish(replace=overwrite)
    except BaseException:
        folder.discard()
        raise
    return target


def _write(dataset: xr.Dataset, folder: Path) -> None:
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        encoding[name] = {"compressors": None, "chunks": tuple(max(n, 1) for n in variable.shape)}
        if variable.dtype.kind == "f":
            encoding[name]["_FillValue"] = None
    with zarr.config.set({"array.write_empty_chunks": True}):
        dataset.to_zarr(folder, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def seal_model(folder: Path) -> None:
    """Put the hashes of all members into the root's attributes."""
    root = folder / ROOT
    document = json.loads(root.read_bytes())
    document["attributes"].pop("seal", None)
    document["attributes"]["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(_members(folder)) if name != ROOT
    }
    document["attributes"]["seal"] = hashlib.sha256(_plain(document)).hexdigest()
    root.write_bytes(_plain(document))


def _plain(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()


def _check_seal(folder: Path, members: list[str]) -> None:
    raw = (folder / ROOT).read_bytes()
    document = strict_json(raw, ROOT)
    attributes = document["attributes"]
    if "seal" not in attributes and "sha256" not in attributes:
        return
    hashes = attributes.get("sha256")
    if not isinstance(hashes, dict) or set(hashes) != set(members) - {ROOT}:
        raise CheckpointCorruptError(f"{folder}: its members are not those that were written")
    for name, expected in hashes.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            raise CheckpointCorruptError(f"{folder}/{name}: SHA-256 {found[:12]}, recorded {str(expected)[:12]}")
    expected = str(attributes.pop("seal", None))
    found = hashlib.sha256(_plain(document)).hexdigest()
    if found != expected or raw != _plain({**document, "attributes": {**attributes, "seal": expected}}):
        raise CheckpointCorruptError(f"{folder}/{ROOT}: its seal is broken: SHA-256 {found[:12]}, recorded {expected[:12]}")


def _dataset(model: SavedModel) -> xr.Dataset:
    components = _gaussian(model.mixture)
    names, units = np.array(model.feature_names, dtype=object), np.array(model.units, dtype=object)
    variables = {
        "weights": ("component", model.mixture.weights.proportions, {"long_name": "mixing proportions", "units": "1"}),
        "means": (("component", "feature"), components.means, {"long_name": "component means, in the units of each feature"}),
        "covariances": (_covariance_dims(components.structure), components.covariances, {"long_name": "covariances"}),
        "log_likelihood": (
            "pass",
            np.array(model.log_likelihoods, np.float64),
            {"long_name": "mean log-likelihood per unit of row weight at the parameters that each pass began with"},
        ),
    }
    coordinates = {
        "feature": ("feature", names),
        "feature_bis": ("feature_bis", names),
        "feature_units": ("feature", units, {"long_name": "units of the features, VOUnit spelling, empty where unknown"}),
    }
    if "feature_bis" not in _covariance_dims(components.structure):
        del coordinates["feature_bis"]
    return xr.Dataset(variables, coordinates, _attributes(model))


def _gaussian(mixture: Mixture) -> AbstractGaussian:
    return cast(AbstractGaussian, mixture.components)


def _covariance_dims(structure: Structure) -> tuple[str, ...]:
    own = () if structure.shared else ("component",)
    columns = ("feature", "feature_bis") if structure.dense else () if structure.isotropic else ("feature",)
    return own + columns


def _attributes(model: SavedModel) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "components": model.mixture.components.name,
        "weight_model": model.mixture.weights.name,
        "feature_names": list(model.feature_names),
        "feature_units": list(model.units),
        "versions": {name: metadata.version(name) for name in MEASURED},
        "provenance": dict(model.provenance),
    }


def load_model(path: str | os.PathLike[str]) -> SavedModel:
    """Read a model without running anything that its bytes could name.

    Raises CheckpointError (missing, damaged, not a model, numbers that are no mixture), CheckpointVersionError (newer format).
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, and a model is a folder: not a streamgmm file" if folder.is_file() else "does not exist"
        raise CheckpointError(f"no model at {folder}: it {what}")
    members = _members(folder)
    attributes, arrays = read_group(members, lambda name: (folder / name).read_bytes())
    _check_format(folder, attributes)
    try:
        model = _model(attributes, arrays)
        _check_seal(folder, members)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{folder} is not a valid model: {error}") from error
    return model


def _members(folder: Path) -> list[str]:
    members: list[str] = []
    for parent, _, files in os.walk(folder, followlinks=False):
        for file in files:
            path = Path(parent, file)
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or path.is_symlink():
                raise CheckpointError(f"{path} is not a plain file")
            if path.stat().st_size > MAX_MEMBER_BYTES or len(members) > 1000:
                raise CheckpointError(f"{folder}: more or larger files than a model has ({name})")
            members.append(name)
    return members


def _check_format(folder: Path, attributes: Mapping[str, Any]) -> None:
    if attributes.get("format") != FORMAT:
        raise CheckpointError(f"{folder} is not a streamgmm file: its attribute 'format' is {str(attributes.get('format'))[:40]!r}")
    version = attributes.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{folder}: format_version {version!r} is not a version")
    if version > FORMAT_VERSION:
        raise CheckpointVersionError(f"{folder}: format version {version}, this release reads up to {FORMAT_VERSION}; upgrade streamgmm")


def _model(attributes: Mapping[str, Any], arrays: Mapping[str, Any]) -> SavedModel:
    family = implementation("components", str(attributes["components"]))
    law = implementation("weights", str(attributes["weight_model"]))
    names, units = attributes["feature_names"], attributes["feature_units"]
    if np.ndim(arrays["means"]) != 2:
        raise ValueError(f"means have {np.ndim(arrays['means'])} axes; component and feature are expected")
    mixture = Mixture(family.from_arrays(arrays), law(arrays["weights"]))
    for what, texts in (("feature_names", names), ("feature_units", units)):
        if not isinstance(texts, list) or len(texts) != mixture.n_features or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{what} are not {mixture.n_features} texts, one for each column")
    if not isinstance(attributes["provenance"], dict):
        raise TypeError("provenance is not a table")
    history = tuple(float(value) for value in arrays["log_likelihood"])
    return SavedModel(mixture, tuple(names), tuple(units), history, attributes["provenance"])


def model_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 over the sorted member names and their bytes."""
    folder = Path(path)
    digest = hashlib.sha256()
    for name in sorted(_members(folder)):
        content = (folder / name).read_bytes()
        digest.update(f"{len(name.encode())}:{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
