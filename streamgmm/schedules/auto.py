"""The recipe for few reads: exact passes, each followed by the best step known, ended by what is left of the error. Floor 4.

Where a fit starts is half of it (exploration.py: all starts on a sample in memory). Then every pass gives the likelihood, its gradient
and the EM step; the sample gives the information, hence Newton's step (remaining_error.py). Steps of Newton are taken until one fails;
from then on EM's, extrapolated (anderson.py), which has the history of all looks by then. A fall of the likelihood leads back to the EM
step of the look before. A pass that finds the remaining error small enough ends the fit with the mixture that was looked at: its
likelihood is the one of that very pass, over all rows.
"""

__all__ = ["Auto"]

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.coordinates import from_vector
from streamgmm.mixture import Mixture
from streamgmm.remaining_error import MOST_PARAMETERS, NewtonStep, newton_step
from streamgmm.schedules.anderson import Anderson, accelerate, is_sound
from streamgmm.schedules.base import Look, Step

FAR = 10.0  # times what may be left


class Auto(Anderson):
    """tol bounds the square of the remaining error in standard errors, on average over the parameters."""

    name = "auto"

    def update(self, look: Look) -> Step:
        """See the base class."""
        step = accelerate(look)
        if step.repairs or step.converged is False:
            return _gone_wrong(look, step) if "informed" in look.memory or "distrust" in look.memory else step
        found = None if "distrust" in look.memory and _far(look) else self.informed(look)
        left, how = _left(look, found)
        said = "" if left is None else f"remaining error {np.sqrt(left):.2g} standard errors{how}"
        kept = step.memory if left is None else {**step.memory, "left": np.array(left)}
        if left is not None and left < look.tol:
            return Step(look.mixture, step.repairs, kept, converged=True, said=said)
        if "distrust" in look.memory:
            kept = {**kept, "distrust": look.memory["distrust"]}
        elif found is not None and found.mixture is not None and is_sound(found.mixture, look.regularisation, look.mixture):
            taken = look.memory.get("informed", np.array(0.0)) + 1
            return Step(found.mixture, step.repairs, {**kept, "informed": np.array(taken)}, converged=False, said=said)
        return replace(step, memory=kept, converged=False, said=said)

    def informed(self, look: Look) -> NewtonStep | None:
        """The step from the sample's information, None where there is no sample, or no room for the matrix."""
        if look.sample is None or look.mixture.n_parameters > MOST_PARAMETERS:
            return None
        return newton_step(look.mixture, look.statistics.components, look.statistics.weight, look.sample)

    def result(self, mixture: Mixture, memory: Mapping[str, FloatArray], *, converged: bool) -> Mixture:
        """The mixture of the last look where it was the end, whose likelihood was measured; else as any accelerated pass."""
        return mixture if converged else super().result(mixture, memory, converged=converged)


def _gone_wrong(look: Look, step: Step) -> Step:
    """After a fall, or a component that has to be repaired: no step from the sample any more, and back to EM's where there is one."""
    if step.repairs and "image" in look.memory:
        said = "a component collapsed: back to the EM step"
        step = Step(from_vector(look.memory["image"], look.mixture), converged=False, said=said)
    return replace(step, memory={**step.memory, "distrust": np.array(1.0)})


def _left(look: Look, found: NewtonStep | None) -> tuple[float | None, str]:
    """Mean square of the remaining error in standard errors, None where nothing tells; and what it rests on."""
    if found is not None:
        return found.decrement / look.mixture.n_parameters, ""
    return (None, "") if look.sample is not None and look.mixture.n_parameters <= MOST_PARAMETERS else _by_gains(look)


def _far(look: Look) -> bool:
    """Whether the last gain alone is more than what may be left at the end."""
    if not look.log_likelihoods:
        return True
    gain = (look.statistics.mean_log_likelihood - look.log_likelihoods[-1]) * look.statistics.weight
    return 2 * gain / look.mixture.n_parameters > FAR * look.tol


def _by_gains(look: Look) -> tuple[float | None, str]:
    """The same from the last two gains, were they those of a geometric series (Aitken); None where they are not."""
    values, weight = (*look.log_likelihoods, look.statistics.mean_log_likelihood), look.statistics.weight
    if len(values) < 3:
        return None, ""
    before, gain = (values[-2] - values[-3]) * weight, (values[-1] - values[-2]) * weight
    ratio = gain / before if before > 0 else 1.0
    if not 0 <= ratio < 1:
        return None, ""
    return 2 * gain * ratio / (1 - ratio) / look.mixture.n_parameters, " (from the last gains)"
