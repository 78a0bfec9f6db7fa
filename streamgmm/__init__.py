"""Gaussian mixtures over tables that do not fit in memory.

The public names, nothing else: each is imported when it is first used, so that `import streamgmm` costs nothing and brings in no
other library. To read the package, follow a block of rows from the file to the model::

    errors  arrays  block  statistics  reduce     the words: a block, what is added up, the fixed tree of sums
    components/  weights/  mixture  kernels/      a density, its M-step, its compiled E-step
    em                                            the E-step and the M-step of a mixture
    sources/  executors/                          where blocks come from; where they are mapped and merged
    schedules/  stopping  state  initialisers/    how a pass becomes the next mixture, when to stop, what a fit carries, where it starts
    fit                                           the loop
    storage/  commit_file  checkpoint             where a run's files are, one commit as bytes, the run
    model_file  verification                      the file of a model; whether a run is whole
    job  ladder                                   one fit from a source to a result; many in the same reads, compared
    kept_sums  updating  forgetting               what a run keeps, the run of a grown table, the model of a cut one
    estimator  commands/  cli                     their faces
    online_step  partial_step  live               a mixture that goes on with rows that arrive, and the alarm when they change
"""

__all__ = [
    "GaussianMixture",
    "LiveMixture",
    "Mixture",
    "__version__",
    "as_source",
    "errors",
    "executors",
    "fit",
    "forget",
    "load",
    "open_source",
    "select",
    "update",
]

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgmm import errors as errors
    from streamgmm import executors as executors
    from streamgmm.estimator import GaussianMixture as GaussianMixture
    from streamgmm.estimator import fit as fit
    from streamgmm.estimator import load as load
    from streamgmm.forgetting import forget as forget
    from streamgmm.ladder import select as select
    from streamgmm.live import LiveMixture as LiveMixture
    from streamgmm.mixture import Mixture as Mixture
    from streamgmm.sources import as_source as as_source
    from streamgmm.sources import open_source as open_source
    from streamgmm.updating import update as update

    __version__: str

_HOMES = {
    "GaussianMixture": ("streamgmm.estimator", "GaussianMixture"),
    "LiveMixture": ("streamgmm.live", "LiveMixture"),
    "Mixture": ("streamgmm.mixture", "Mixture"),
    "as_source": ("streamgmm.sources", "as_source"),
    "fit": ("streamgmm.estimator", "fit"),
    "forget": ("streamgmm.forgetting", "forget"),
    "load": ("streamgmm.estimator", "load"),
    "open_source": ("streamgmm.sources", "open_source"),
    "select": ("streamgmm.ladder", "select"),
    "update": ("streamgmm.updating", "update"),
}


class _Package(ModuleType):
    """The package: `streamgmm.fit` stays the function when the submodule of that name is imported, which would else take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _installed_version()
    elif name in _HOMES:
        module, attribute = _HOMES[name]
        value = getattr(importlib.import_module(module), attribute)
    elif name in __all__:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


def _installed_version() -> str:
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("streamgmm"))
    except metadata.PackageNotFoundError:  # a source tree on the path, never installed
        return "0+unknown"
