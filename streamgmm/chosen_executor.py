"""Where a fit runs, from what the user says: a name, a Dask client, an address, an executor, or nothing. Floor 5.

Nothing given means the current Dask client where there is one and the rows are not in this process's memory, else threads. No
cluster is ever started, and distributed is imported only where it has been already or is asked for.
"""

__all__ = ["executor_for", "local_executor", "portable_choice"]

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from streamgmm.errors import ConfigError, nearest
from streamgmm.executors.base import AbstractExecutor
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.numpy_array import NumpyArraySource

LOCAL: dict[str, Callable[..., AbstractExecutor]] = {"serial": Serial, "threads": Threads}


@contextmanager
def executor_for(
    choice: Any, source: AbstractSource, *, strict: bool = False, stall_timeout: float | None = None
) -> Iterator[AbstractExecutor]:
    """The executor of a fit; a client that is opened here (from an address) is closed at the end. Raises ConfigError.

    strict: a worker or a machine that would give other last bits is refused, not only told. stall_timeout: seconds without any result
    of a cluster that are borne. An executor that was made before has its own.
    """
    how: dict[str, Any] = {"strict": strict} | ({} if stall_timeout is None else {"stall_timeout": stall_timeout})
    if isinstance(choice, str) and choice not in LOCAL:
        with _opened(choice, how) as executor:
            yield executor
    elif isinstance(choice, str):
        yield LOCAL[choice](strict=strict)
    elif isinstance(choice, AbstractExecutor):
        if strict or stall_timeout is not None:
            raise ConfigError(f"strict and stall_timeout are for executors given by name; give them to {type(choice).__name__}(...) itself")
        yield choice
    elif choice is None:
        with _waiting_allowed(source):
            yield _unasked(source, how)
    elif _is_client(choice):
        yield _on_cluster(choice, how)
    else:
        raise ConfigError(
            f"executor must be None, 'serial', 'threads', a scheduler address, a Dask client or an executor, got {type(choice).__name__}"
        )


def local_executor(choice: Any, source: AbstractSource) -> AbstractExecutor:
    """The executor for rows that are in memory already: threads, or what was asked for where that is local."""
    if isinstance(choice, Serial | Threads):
        return choice
    if choice == "serial" or source.n_blocks == 1:
        return Serial()
    return Threads()


def portable_choice(choice: Any) -> Any:
    """What a pickled estimator keeps of its choice: the address instead of a client."""
    client: Any = getattr(choice, "client", None) if isinstance(choice, AbstractExecutor) else choice
    return client.scheduler.address if _is_client(client) else choice


def _unasked(source: AbstractSource, how: Mapping[str, Any]) -> AbstractExecutor:
    in_memory = isinstance(source, NumpyArraySource)
    client = None if in_memory or not source.repeatable or _in_task() else _current_client()
    if client is not None:
        return _on_cluster(client, how)
    return LOCAL["serial" if in_memory and source.n_blocks == 1 else "threads"](strict=how["strict"])


def _current_client() -> Any:
    """The current Dask client, None where there is none."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.Client.current()
    except ValueError:
        return None


def _in_task() -> bool:
    """Whether this is a task of a Dask worker."""
    distributed = sys.modules.get("distributed")
    try:
        return distributed is not None and distributed.get_worker() is not None
    except ValueError:
        return False


@contextmanager
def _waiting_allowed(source: AbstractSource) -> Iterator[None]:
    """A task that reads lazy rows may wait for tasks of its own cluster: it gives its place in the worker's pool away meanwhile."""
    if isinstance(source, NumpyArraySource) or not _in_task():
        yield
        return
    distributed = sys.modules["distributed"]
    distributed.secede()
    try:
        yield
    finally:
        distributed.rejoin()


def _is_client(choice: Any) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(choice, distributed.Client)


def _on_cluster(client: Any, how: Mapping[str, Any]) -> AbstractExecutor:
    executor: AbstractExecutor = importlib.import_module("streamgmm.executors.dask_distributed").DaskDistributed(client, **how)
    return executor


@contextmanager
def _opened(address: str, how: Mapping[str, Any]) -> Iterator[AbstractExecutor]:
    if ":" not in address:
        raise ConfigError(
            f"executor {address!r} is neither {' nor '.join(map(repr, LOCAL))} nor a scheduler address like 'tls://host:8786'"
            f"{nearest(address, LOCAL)}"
        )
    executor = _on_cluster(address, how)
    try:
        yield executor
    finally:
        executor.close()  # type: ignore[attr-defined]
