"""Whether this machine, this folder and, if asked, a cluster can do what a fit needs. Floor 8.

Every check does what a fit would do, in small: compiles a kernel and compares its numbers with NumPy's, takes a lock, publishes a file.
"""

__all__ = ["doctor"]

import contextlib
import importlib
import importlib.util
import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from dask.system import cpu_count

from streamgmm.checkpoint import Run
from streamgmm.commands.where import Where
from streamgmm.components.gaussian_full import GaussianFull
from streamgmm.errors import EXIT_INTERNAL, CheckpointError, NumericalError, exit_code
from streamgmm.mixture import Mixture
from streamgmm.state import Contender, FitState
from streamgmm.weights.free import FreeWeights
from streamgmm.wording import human_bytes

LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "scikit-learn",
    "zarr",
    "numcodecs",
    "xarray",
    "dask",
    "distributed",
    "pydantic",
    "click",
    "rich",
)
OPTIONAL = {"pyarrow": "parquet", "pandas": "dataframe", "matplotlib": "plot", "obstore": "cloud"}


@dataclass(frozen=True)
class Check:
    """result: "ok", "note" (something to know) or "failed"."""

    name: str
    result: str
    found: str
    code: int = 0


def doctor(*, folder: str | os.PathLike[str] = ".", where: Where | None = None) -> dict[str, Any]:
    """Checks by name, result and what was found; `code` is that of the first failure. where: a cluster to be checked as well."""
    checks = [
        _checked("python", _python),
        _checked("libraries", _libraries),
        *(_optional(library, extra) for library, extra in OPTIONAL.items()),
        _checked("cores", lambda: f"{cpu_count()} usable"),
        _checked("memory", _memory),
        _checked("kernels", _kernels),
        _checked(f"run folder in {Path(folder).resolve()}", lambda: _run_folder(Path(folder))),
    ]
    if where is not None and where.name == "dask_distributed":
        checks.append(_checked("cluster", lambda: _cluster(where)))
    failed = next((check.code for check in checks if check.result == "failed"), 0)
    return {"code": failed, "checks": [asdict(check) for check in checks]}


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", check())
    except Exception as error:  # noqa: BLE001  (a doctor reports whatever goes wrong, and goes on)
        return Check(name, "failed", f"{type(error).__name__}: {error}", exit_code(error) or EXIT_INTERNAL)


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"


def _libraries() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("streamgmm", *LIBRARIES))


def _optional(library: str, extra: str) -> Check:
    if importlib.util.find_spec(library) is None:
        return Check(library, "note", f"not installed; pip install 'streamgmm[{extra}]' brings it")
    return Check(library, "ok", metadata.version(library))


def _memory() -> str:
    limit = importlib.import_module("distributed.system").MEMORY_LIMIT  # half a second of imports that only this check needs
    return f"{human_bytes(limit)} usable"


def _kernels() -> str:
    """One density, compiled and by hand."""
    x = np.array([[0.5, -1.0], [2.0, 0.25]])
    mixture = Mixture(GaussianFull(np.zeros((1, 2)), np.eye(2)[None]), FreeWeights(np.ones(1)))
    found, expected = mixture.score_samples(x), -math.log(2 * math.pi) - 0.5 * (x**2).sum(axis=1)
    if not np.allclose(found, expected, rtol=1e-14, atol=0):
        raise NumericalError(
            f"the compiled kernel gives {found.tolist()}, NumPy {expected.tolist()}; delete numba's cache (NUMBA_CACHE_DIR)"
        )
    return "compiled; they agree with NumPy"


def _run_folder(folder: Path) -> str:
    """Lock, commit and verify in a scratch folder inside."""
    with _scratch(folder) as scratch, Run(scratch / "run") as run:
        run.start({})
        mixture = Mixture(GaussianFull(np.zeros((1, 2)), np.eye(2)[None]), FreeWeights(np.ones(1)))
        run.commit(FitState((Contender(0, mixture),)))
        if run.latest() is None:
            raise CheckpointError(f"a commit in {folder} cannot be read back")
    return "lock, exclusive link and sync work"


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".streamgmm-doctor-", dir=folder) as scratch:
        yield Path(scratch)


def _cluster(where: Where) -> str:
    with where.open() as executor:
        client = executor.client  # type: ignore[attr-defined]
        client.get_versions(check=True)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        hosts = client.run(_on_worker)
        threads = sum(worker["nthreads"] for worker in workers)
        memory = min(worker["memory_limit"] for worker in workers)
        versions = sorted(set(hosts.values()))
    if versions != [metadata.version("streamgmm")]:
        raise ImportError(
            f"workers have streamgmm {', '.join(versions)}, this process has {metadata.version('streamgmm')}; install the same"
        )
    return f"{len(workers)} worker(s), {threads} thread(s), at least {human_bytes(memory)} each; same streamgmm"


def _on_worker() -> str:
    """Runs on every worker: the version of streamgmm there."""
    return metadata.version("streamgmm")
