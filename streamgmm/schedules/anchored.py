"""As `auto`, with steps of EM on the sample, corrected by all rows, in place of the first ones of Newton. Floor 4.

Near the optimum they are the same; farther away these follow the likelihood's curves, for hundreds of steps in memory after each pass.
"""

__all__ = ["Anchored"]

from streamgmm.remaining_error import NewtonStep
from streamgmm.schedules._anchored_step import anchored_step
from streamgmm.schedules.auto import Auto
from streamgmm.schedules.base import Look

MOST_ANCHORED = 3  # steps; where they have not led to the end, no more of them do


class Anchored(Auto):
    """tol bounds the square of the remaining error in standard errors, on average over the parameters."""

    name = "anchored"

    def informed(self, look: Look, damping: float) -> NewtonStep | None:
        """See the base class. A fall of the likelihood ends these steps, as it damps Newton's."""
        willing = float(look.memory.get("informed", 0.0)) < MOST_ANCHORED and not damping
        found = anchored_step(look) if willing else None
        return found or super().informed(look, damping)
