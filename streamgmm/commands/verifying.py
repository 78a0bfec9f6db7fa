"""Whether a run is whole, as plain data. Floor 8."""

__all__ = ["verify"]

import os
from dataclasses import asdict
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.commands._places import checked_path
from streamgmm.errors import EXIT_DONE, CheckpointError
from streamgmm.verification import verify_run


def verify(run: str | os.PathLike[str]) -> dict[str, Any]:
    """Look a run over without its rows; `code` is 6 where anything is wrong with it. run: a folder or a URL."""
    place = Run(run if "://" in str(run) else checked_path(run))
    found = verify_run(place)
    return {"run": place.place, "code": CheckpointError.code if found.faults else EXIT_DONE, "ok": not found.faults, **asdict(found)}
