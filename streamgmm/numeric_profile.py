"""What the last bits of a result depend on besides data and parameters: processor, dispatch, libraries. Floor 0.

Two processes with equal profiles give equal bits. Threads of BLAS are told, because people ask for them, and do not count: tasks pin
them to one. It is NOT a description of the machine: cores, memory and host name change no number.
"""

__all__ = ["LIBRARIES", "UNCOUNTED", "differences", "numeric_profile", "version_of"]

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any, cast

import numpy as np
import scipy.linalg  # noqa: F401  (brings in SciPy's own BLAS, so that it is seen in every process)
from threadpoolctl import threadpool_info

from streamgmm.kernels.processor import processor

LIBRARIES = ("streamgmm", "numpy", "scipy", "numba", "llvmlite")
UNCOUNTED = frozenset({"blas threads"})


def numeric_profile() -> dict[str, str]:
    """Names and values, all text; taken once a process."""
    return dict(_profile())


@cache
def _profile() -> Mapping[str, str]:
    name, features = processor()
    pools = _blas()
    return {
        **{library: version_of(library) for library in LIBRARIES},
        "processor": name,
        "processor features": features,
        "numpy dispatch": _dispatch(),
        "blas": _listed(f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip() for pool in pools),
        "blas threads": _listed(str(pool["num_threads"]) for pool in pools),
    }


def _blas() -> list[dict[str, Any]]:
    """The BLAS of NumPy and of SciPy; another library may have brought one of its own, which computes nothing here."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [pool for pool in pools if any(name in pool["filepath"] for name in ("numpy", "scipy"))] or pools


def version_of(library: str) -> str:
    """Installed version, "missing" where there is none."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "missing"


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Names that count and whose values differ, with both values."""
    names = sorted((one.keys() | other.keys()) - UNCOUNTED)
    pairs = {name: (one.get(name, "missing"), other.get(name, "missing")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _dispatch() -> str:
    """Instruction sets that NumPy found and uses (NPY_DISABLE_CPU_FEATURES counted in)."""
    config = cast(dict[str, Any], np.show_config(mode="dicts"))
    found = config.get("SIMD Extensions", {})
    return _listed([*found.get("baseline", []), *found.get("found", [])])


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(words))) or "none"
