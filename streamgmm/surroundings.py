"""What is around a fit and may fail it: threads, the caller's observer, another machine at a resume. Floor 6.

It is NOT where storage, cluster or rows fail: those say so themselves.
"""

__all__ = ["noting", "other_profile", "own_profile", "threads_wanted"]

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from streamgmm.errors import ClusterError, WorkerProfileError
from streamgmm.events import Event
from streamgmm.numeric_profile import UNCOUNTED, differences, numeric_profile

try:
    import resource
except ImportError:  # pragma: no cover  (not on Windows)
    resource = None  # type: ignore[assignment]


@contextmanager
def threads_wanted(number: int) -> Iterator[None]:
    """For work that starts about so many threads. Raises ClusterError where the system refuses one."""
    try:
        yield
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        raise ClusterError(
            f"the system starts no more threads for this process: {_limit()}, and about {number} are wanted. Raise the limit"
            " (ulimit -u, or pids.max of the container), or use fewer threads"
        ) from error


def _limit() -> str:
    if resource is None:  # pragma: no cover
        return "the limit is not known"
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return "its user has no limit of its own" if limit == resource.RLIM_INFINITY else f"its user may have {limit} threads and processes"


def noting(observe: Callable[[Event], None], place: str) -> Callable[[Event], None]:
    """The observer; its own exceptions go through, with a note of where the fit was and how it goes on. place: of the run."""

    def tell(event: Event) -> None:
        try:
            observe(event)
        except Exception as error:
            at = f"pass {event.details['pass']}" if "pass" in event.details else "the start"
            kept = f"what was saved stays: resume with `streamgmm resume {place}`, or the same call"
            error.add_note(f"streamgmm: the observer failed at {at} (event {event.kind!r}); {kept}")
            raise

    return tell


def own_profile() -> dict[str, str]:
    """What the last bits of a run depend on, for its record."""
    return {name: value for name, value in numeric_profile().items() if name not in UNCOUNTED}


def other_profile(record: Mapping[str, Any], strict: bool) -> Iterator[Event]:
    """A warning where a run was begun under another numeric profile. Raises WorkerProfileError where the fit is strict."""
    begun = record.get("numeric_profile")
    odd = differences(begun, own_profile()) if isinstance(begun, dict) else {}
    if not odd:
        return
    listed = "; ".join(f"{name} was {old!r}, is {new!r}" for name, (old, new) in odd.items())
    if strict:
        raise WorkerProfileError(
            f"the run was begun where the last bits come out differently: {listed}. Resume on such a machine, or do without strict mode."
        )
    details = {"about": "numeric profile", "differences": {name: list(pair) for name, pair in odd.items()}}
    yield Event("warning", f"the last bits may differ from those of an undisturbed run: {listed}", details)
