"""Where blocks are mapped and merged: here, in threads, or on a Dask cluster. Floor 4.

The executors are imported when they are first used: `DaskDistributed` brings in distributed, the others do not.
"""

__all__ = ["DaskDistributed", "Serial", "Threads"]

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgmm.executors.dask_distributed import DaskDistributed as DaskDistributed
    from streamgmm.executors.serial import Serial as Serial
    from streamgmm.executors.threads import Threads as Threads

_HOMES = {"DaskDistributed": "dask_distributed", "Serial": "serial", "Threads": "threads"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
