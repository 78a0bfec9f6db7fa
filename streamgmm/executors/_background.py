"""Calls that may never come back, in threads that nobody has to wait for. Floor 4."""

__all__ = ["in_background"]

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def in_background(call: Callable[..., Any], *arguments: Any, **options: Any) -> "Future[Any]":
    """Start a call; its result comes with the future, perhaps never. The thread does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            found = call(*arguments, **options)
        except BaseException as error:  # noqa: BLE001  (it is raised where the result is asked for)
            future.set_exception(error)
        else:
            future.set_result(found)

    threading.Thread(target=run, name="streamgmm-call", daemon=True).start()
    return future
