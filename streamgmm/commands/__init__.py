"""One function per verb of the command line, callable from Python, each returning plain data. Floor 8.

Verbs raise the errors of `streamgmm.errors`; they print nothing and exit nowhere. Each is imported when it is first used.
"""

__all__ = [
    "Where",
    "doctor",
    "fit",
    "forget",
    "ingest",
    "inspect",
    "manifest",
    "plan",
    "predict",
    "quickstart",
    "resume",
    "sample",
    "score",
    "select",
    "study",
    "update",
    "verify",
]

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgmm.commands.applying import predict as predict
    from streamgmm.commands.applying import sample as sample
    from streamgmm.commands.applying import score as score
    from streamgmm.commands.checking import doctor as doctor
    from streamgmm.commands.fitting import fit as fit
    from streamgmm.commands.fitting import resume as resume
    from streamgmm.commands.looking import inspect as inspect
    from streamgmm.commands.making import ingest as ingest
    from streamgmm.commands.making import manifest as manifest
    from streamgmm.commands.making import quickstart as quickstart
    from streamgmm.commands.planning import plan as plan
    from streamgmm.commands.selecting import select as select
    from streamgmm.commands.studying import study as study
    from streamgmm.commands.updating import forget as forget
    from streamgmm.commands.updating import update as update
    from streamgmm.commands.verifying import verify as verify
    from streamgmm.commands.where import Where as Where

_HOMES = {
    "Where": "where",
    "doctor": "checking",
    "fit": "fitting",
    "forget": "updating",
    "ingest": "making",
    "inspect": "looking",
    "manifest": "making",
    "plan": "planning",
    "predict": "applying",
    "quickstart": "making",
    "resume": "fitting",
    "sample": "applying",
    "score": "applying",
    "select": "selecting",
    "study": "studying",
    "update": "updating",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
