"""What a worker of a cluster that `--local` starts does first: leave signals to the process that started it. Floor 8.

Ctrl-C at a terminal, and the end of a batch job, go to every process of the group. A worker that dies of one takes with it what the fit
is waiting for, while the fit wants to end in its own time and save. A worker ends when its scheduler says so, or its parent is gone.
"""

__all__ = ["dask_setup"]

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by Dask in every worker process."""
    del worker
    for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)):
        signal.signal(number, signal.SIG_IGN)
