"""What fits and ladders in a run folder have in common: the lock, the place, the log. Floor 8."""

__all__ = ["at_work"]

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from streamgmm.checkpoint import Run
from streamgmm.commands.where import Where
from streamgmm.errors import EXIT_STOPPED
from streamgmm.events import ignore
from streamgmm.job import Job
from streamgmm.observers.base import together
from streamgmm.observers.json_lines import JsonLines
from streamgmm.signals import nothing_to_save

J = TypeVar("J", bound=Job)


@contextlib.contextmanager
def at_work(job: J, run: Run, where: Where) -> Iterator[J]:
    """The job with the executor of its place, which is opened only where something is left to compute, and with the run's log.

    A run that is in use is said before a cluster is started or waited for. Raises RunLockedError, ClusterError and its kin.
    """
    with nothing_to_save(job.stop_requested, EXIT_STOPPED), run:
        pass
    events: Any = contextlib.nullcontext(ignore) if run.events_path is None else JsonLines(run.events_path)
    with contextlib.ExitStack() as stack:
        if not job.is_complete(run):
            with nothing_to_save(job.stop_requested, EXIT_STOPPED):
                job = replace(job, executor=stack.enter_context(where.open()))
        log = stack.enter_context(events)
        yield replace(job, observe=together(job.observe, log))
