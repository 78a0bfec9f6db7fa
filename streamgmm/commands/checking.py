"""Whether this machine, this folder and, if asked, a cluster and a store can do what a fit needs. Floor 8.

Every check does what a fit would do, in small: compiles a kernel and compares its numbers with NumPy's, takes a lock, publishes a file,
reads a block on every worker. What is wrong is said with what to do about it, and the other checks go on.
"""

__all__ = ["doctor"]

import contextlib
import importlib
import importlib.util
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from dask.system import cpu_count

from streamgmm.checkpoint import Run
from streamgmm.commands._places import open_table
from streamgmm.commands.where import Where
from streamgmm.components.gaussian_full import GaussianFull
from streamgmm.errors import EXIT_INTERNAL, CheckpointError, NumericalError, SecurityError, StorageError, exit_code
from streamgmm.kernels.compiling import cache_folder
from streamgmm.mixture import Mixture
from streamgmm.numeric_profile import numeric_profile
from streamgmm.sources.base import AbstractSource
from streamgmm.state import Contender, FitState
from streamgmm.weights.free import FreeWeights
from streamgmm.wording import human_bytes, redacted_words

try:
    import resource
except ImportError:  # pragma: no cover  (not on Windows)
    resource = None  # type: ignore[assignment]

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
SAFE_NUMCODECS = (0, 16, 6)  # earlier releases run code that a stored array names as its codec
FEW_FILES = 256  # open at a time: each process of a cluster holds a dozen connections and pipes
LEAST_FREE, LITTLE_FREE = 64 << 20, 1 << 30
LITTLE_MEMORY = 1 << 30


class Note(str):
    """What a check found, where that is no fault and still something to know."""

    __slots__ = ()


@dataclass(frozen=True)
class Check:
    """result: "ok", "note" (something to know) or "failed"."""

    name: str
    result: str
    found: str
    code: int = 0


def doctor(
    *, folder: str | os.PathLike[str] = ".", where: Where | None = None, data: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Checks by name, result and what was found; `code` is the largest of the failures.

    where: a cluster to be checked as well. data: a store whose first block is read, here and on every worker of that cluster.
    """
    checks = [
        _checked("python", _python),
        _checked("libraries", _libraries),
        *(_optional(library, extra) for library, extra in OPTIONAL.items()),
        _checked("cores", _cores),
        _checked("memory", _memory),
        _checked("open files", _open_files),
        _checked("numeric profile", lambda: ", ".join(f"{name} {value}" for name, value in numeric_profile().items())),
        _checked("kernels", _kernels),
        _checked("kernel cache", _kernel_cache),
        _checked(f"run folder in {Path(folder).resolve()}", lambda: _run_folder(Path(folder))),
        _checked("free space", lambda: _free_space(Path(folder))),
    ]
    source = None
    if data is not None:
        checks.append(_checked("data", lambda: _first_block(open_table(data))))
        source = open_table(data) if checks[-1].result != "failed" else None
    if where is not None and where.name == "dask_distributed":
        checks.extend(_cluster(where, source))
    return {"code": max(check.code for check in checks), "checks": [asdict(check) for check in checks]}


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        found = check()
    except Exception as error:  # noqa: BLE001  (a doctor reports whatever goes wrong, and goes on)
        return Check(name, "failed", redacted_words(f"{type(error).__name__}: {error}"), exit_code(error) or EXIT_INTERNAL)
    return Check(name, "note" if isinstance(found, Note) else "ok", str(found))


# ---- this machine ----------------------------------------------------------------------------------------------------------------


def _python() -> str:
    said = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Note(f"{said}; as root, which a fit does not need: run it as a user who may write the run folder and nothing else")
    return said


def _libraries() -> str:
    found = metadata.version("numcodecs")
    if tuple(int(part) for part in found.split(".")[:3] if part.isdigit()) < SAFE_NUMCODECS:
        wanted = ".".join(map(str, SAFE_NUMCODECS))
        raise SecurityError(f"numcodecs {found} runs code that a store names as its codec; pip install 'numcodecs>={wanted}'")
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("streamgmm", *LIBRARIES))


def _optional(library: str, extra: str) -> Check:
    if importlib.util.find_spec(library) is None:
        return Check(library, "note", f"not installed; pip install 'streamgmm[{extra}]' brings it")
    return Check(library, "ok", metadata.version(library))


def _cores() -> str:
    given = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.endswith("_NUM_THREADS")]
    return f"{cpu_count()} usable, BLAS threads {numeric_profile()['blas threads']}" + "".join(f", {words}" for words in given)


def _memory() -> str:
    limit = importlib.import_module("distributed.system").MEMORY_LIMIT  # half a second of imports that only this check needs
    if limit < LITTLE_MEMORY:
        return Note(f"{human_bytes(limit)} usable, which is little; `streamgmm plan` says what a fit needs, --block-rows makes it less")
    return f"{human_bytes(limit)} usable"


def _open_files() -> str:
    if resource is None:
        return Note("this system does not say how many are allowed")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < FEW_FILES:
        return Note(f"{limit} at a time: enough for a fit in this process, too few for a cluster started here (ulimit -n {FEW_FILES})")
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit} at a time"


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


def _kernel_cache() -> str:
    place = cache_folder()
    if place is None:
        return Note("no folder for compiled kernels can be written: every process compiles anew (seconds); set NUMBA_CACHE_DIR to one")
    return str(place)


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


def _free_space(folder: Path) -> str:
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        raise StorageError(f"{human_bytes(free)} free in {there}; a run needs {human_bytes(LEAST_FREE)}. Make room")
    return Note(f"{human_bytes(free)}, which is little") if free < LITTLE_FREE else human_bytes(free)


def _first_block(source: AbstractSource) -> str:
    block = source.read(0)
    rows = "an unknown number of" if source.n_rows is None else f"{source.n_rows:,}"
    return f"{rows} rows of {len(source.feature_names)} column(s); block 0 with {block.n_rows:,} rows was read"


# ---- a cluster -------------------------------------------------------------------------------------------------------------------


def _cluster(where: Where, source: AbstractSource | None) -> list[Check]:
    health: Any = importlib.import_module("streamgmm.commands._cluster_health")  # brings in distributed
    clients: list[Any] = []
    with contextlib.ExitStack() as stack:

        def opened() -> str:
            executor: Any = stack.enter_context(where.open())
            executor.wait_for_workers()
            clients.append(executor.client)
            return str(health.size(executor.client))

        checks = [_checked("cluster", opened)]
        for client in clients:
            checks.extend(_of_client(health, client, source))
    return checks


def _of_client(health: Any, client: Any, source: AbstractSource | None) -> list[Check]:
    answers = health.ask(client)
    checks = [
        _checked("traffic", lambda: health.traffic(client)),
        _checked("versions", lambda: health.versions(answers)),
        _checked("workers' numeric profile", lambda: _noted(*health.profiles(answers))),
    ]
    return checks if source is None else [*checks, _checked("data on workers", lambda: health.reads(client, source))]


def _noted(found: str, is_fine: bool) -> str:
    return found if is_fine else Note(found)
