"""The recipe for few reads: accelerated exact passes, ended by what is left of the error. Floor 4.

Where a fit starts is half of it (exploration.py: all starts on a sample in memory). A pass that finds the remaining error small enough
(remaining_error.py) ends the fit with the mixture that was looked at: its likelihood is the one of that very pass, over all rows.
"""

__all__ = ["Auto"]

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.mixture import Mixture
from streamgmm.remaining_error import MOST_PARAMETERS, decrement
from streamgmm.schedules.anderson import Anderson, accelerate
from streamgmm.schedules.base import Look, Step

WORTH_A_LOOK = 2.0  # the last gain, in units of what may be left: a larger one is no end yet


class Auto(Anderson):
    """tol bounds the square of the remaining error in standard errors, on average over the parameters."""

    name = "auto"

    def update(self, look: Look) -> Step:
        """See the base class."""
        step = accelerate(look)
        if step.repairs or step.converged is False:
            return step
        left, how = _remaining(look)
        said = "" if left is None else f"remaining error {np.sqrt(left):.2g} standard errors{how}"
        converged = left is not None and left < look.tol
        kept = step.memory if left is None else {**step.memory, "left": np.array(left)}
        return replace(step, mixture=look.mixture if converged else step.mixture, memory=kept, converged=converged, said=said)

    def result(self, mixture: Mixture, memory: Mapping[str, FloatArray], *, converged: bool) -> Mixture:
        """The mixture of the last look where it was the end, whose likelihood was measured; else as any accelerated pass."""
        return mixture if converged else super().result(mixture, memory, converged=converged)


def _remaining(look: Look) -> tuple[float | None, str]:
    """Mean square of the remaining error in standard errors, None where it is not worth asking; and what it rests on."""
    p, weight, values = look.mixture.n_parameters, look.statistics.weight, look.log_likelihoods
    gain = (look.statistics.mean_log_likelihood - values[-1]) * weight if values else np.inf
    if look.sample is not None and p <= MOST_PARAMETERS:
        if values and abs(gain) > WORTH_A_LOOK * p * max(look.tol, 0.01):
            return None, ""
        return decrement(look.mixture, look.statistics.components, weight, look.sample) / p, ""
    if len(values) < 2:
        return None, ""
    before = (values[-1] - values[-2]) * weight
    ratio = gain / before if before > 0 else 1.0
    if not 0 <= ratio < 1:
        return None, ""
    return 2 * gain * ratio / (1 - ratio) / p, " (by the change of the gains)"
