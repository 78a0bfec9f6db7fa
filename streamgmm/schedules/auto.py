"""The recipe for few reads: exact passes, each followed by the best step known, ended by what is left of the error. Floor 4.

Where a fit starts is half of it (exploration.py: all starts on a sample in memory). Then every pass gives the likelihood, its gradient
and the EM step; the sample gives the information, hence Newton's step (remaining_error.py), extrapolated over the last ones as EM's are
(anderson.py): the sample's information is not that of all rows, and both converge as a geometric series. A step that gains less than
expected damps the next ones; a fall of the likelihood leads back to the EM step of the look before, and damps them much. Where there is
no information, EM's own steps are extrapolated. A pass that finds the remaining error small enough ends the fit with the mixture that
was looked at: its likelihood is the one of that very pass, over all rows.
"""

__all__ = ["Auto"]

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.coordinates import from_vector, to_vector
from streamgmm.mixture import Mixture
from streamgmm.remaining_error import MOST_PARAMETERS, NewtonStep, newton_step
from streamgmm.schedules.anderson import Anderson, accelerate, extrapolated, history, is_sound
from streamgmm.schedules.base import Look, Step

GOOD, POOR = 0.5, 0.25  # of what a step was expected to gain
MORE = 4.0  # times the damping after a step that gained little, less after one that gained much
LEAST_DAMPING, FIRST_DAMPING, AFTER_A_FALL = 2e-3, 0.02, 0.05
MOST_DAMPING = 1.0  # beyond it EM's own steps, extrapolated, are the longer ones
ROUNDING = 1e-11  # of the likelihood: a smaller gain says nothing


class Auto(Anderson):
    """tol bounds the square of the remaining error in standard errors, on average over the parameters."""

    name = "auto"

    def update(self, look: Look) -> Step:
        """See the base class."""
        step = accelerate(look)
        if step.repairs or step.converged is False:
            return _at_rest(look, step) or _gone_wrong(look, step)
        damping = _damping(look)
        found = self.informed(look, damping)
        left, how = _left(look, found)
        said = "" if left is None else f"remaining error {np.sqrt(left):.2g} standard errors{how}"
        kept = {**step.memory, "damping": np.array(damping)} | ({} if left is None else {"left": np.array(left)})
        if left is not None and left < look.tol:
            return Step(look.mixture, step.repairs, kept, converged=True, said=said)
        if (
            found is None
            or damping > MOST_DAMPING
            or found.mixture is None
            or not is_sound(found.mixture, look.regularisation, look.mixture)
        ):
            return replace(step, memory=kept, converged=False, said=said)
        mixture, before = _extrapolated(look, found.mixture, damping)
        taken = np.array(float(look.memory.get("informed", 0.0)) + 1)
        kept |= {"informed": taken, **before} | ({"expected": np.array(found.expected)} if "image" in kept else {})
        return Step(mixture, step.repairs, kept, converged=False, said=said)

    def informed(self, look: Look, damping: float) -> NewtonStep | None:
        """The step from the sample's information, None where there is no sample, or no room for the matrix."""
        if look.sample is None or look.mixture.n_parameters > MOST_PARAMETERS:
            return None
        return newton_step(look.mixture, look.statistics.components, look.statistics.weight, look.sample, damping, look.threads)

    def result(self, mixture: Mixture, memory: Mapping[str, FloatArray], *, converged: bool) -> Mixture:
        """The mixture of the last look where it was the end, whose likelihood was measured; else as any accelerated pass."""
        return mixture if converged else super().result(mixture, memory, converged=converged)


def _at_rest(look: Look, step: Step) -> Step | None:
    """The end of a fit with a component that every pass has to lift to its floor, where EM's own steps have come to rest."""
    lifted = step.repairs and all(repair.action == "floor" for repair in step.repairs)
    if not lifted or "expected" in look.memory or _last_gain(look) >= look.tol:
        return None
    said = "EM stands still, with a component at its floor"
    seen = {"left": np.array(_last_gain(look)), "seen": to_vector(look.mixture)}
    return Step(look.mixture, step.repairs, seen, converged=True, said=said)


def _gone_wrong(look: Look, step: Step) -> Step:
    """After a fall, or a component that has to be repaired: back to the EM step where this look came from another, which is damped."""
    kept = {name: look.memory[name] for name in ("damping", "informed") if name in look.memory}
    if "expected" in look.memory:
        kept["damping"] = np.array(max(MORE**2 * float(look.memory["damping"]), AFTER_A_FALL))
        if step.repairs:
            said = "a component collapsed: back to the EM step"
            step = Step(from_vector(look.memory["image"], look.mixture), converged=False, said=said)
    return replace(step, memory={**step.memory, **kept})


def _damping(look: Look) -> float:
    """Of the step to come, by what the last one has gained."""
    damping = float(look.memory.get("damping", 0.0))
    value, expected = look.statistics.log_likelihood, float(look.memory.get("expected", 0.0))
    if expected <= ROUNDING * abs(value):
        return damping
    share = (value - float(look.memory["value"])) / expected
    if share < POOR:
        return max(MORE * damping, FIRST_DAMPING)
    if share < GOOD:
        return damping
    return damping / MORE if damping > LEAST_DAMPING else 0.0


def _extrapolated(look: Look, image: Mixture, damping: float) -> tuple[Mixture, dict[str, FloatArray]]:
    """The extrapolation over steps of this damping, and the history to keep."""
    same = "steps_points" in look.memory and float(look.memory["damping"]) == damping
    before = {name: look.memory[f"steps_{name}"] for name in ("points", "images")} if same else {}
    points, images = history(before, to_vector(look.mixture), to_vector(image))
    mixture = extrapolated(points, images, look.mixture)
    if mixture is None or not is_sound(mixture, look.regularisation, look.mixture):
        mixture = image
    return mixture, {"steps_points": points, "steps_images": images}


def _left(look: Look, found: NewtonStep | None) -> tuple[float | None, str]:
    """Mean square of the remaining error in standard errors, None where nothing tells; and what it rests on."""
    if found is not None:
        left = found.decrement / look.mixture.n_parameters
        if not found.is_guess:
            return left, ""
        left = max(left, _last_gain(look))
        return (left if np.isfinite(left) else None), " (the sample alone cannot tell)"
    return (None, "") if look.sample is not None and look.mixture.n_parameters <= MOST_PARAMETERS else _by_gains(look)


def _last_gain(look: Look) -> float:
    """What the last pass has gained, in the same measure; infinite before the second one.

    Where it looked at the very mixture of the pass before, as the first one of a resume does, what that one has gained.
    """
    seen = [look.memory[name][-1] if name == "points" else look.memory[name] for name in ("points", "seen") if name in look.memory]
    again = any(np.array_equal(one, to_vector(look.mixture)) for one in seen)
    gains = np.abs(_gains(look, 2))
    return 2 * float(gains[-2:].max() if again else gains[-1]) / look.mixture.n_parameters if len(gains) > again else np.inf


def _by_gains(look: Look) -> tuple[float | None, str]:
    """The same from the last gains, as if they went on like a geometric series (Aitken); None where they do not fall one after the other.

    Extrapolated steps gain unevenly: the larger of the last two gains and of their ratios counts. Those before a fall do not. Two gains of
    nothing but rounding are rest.
    """
    how = " (from the last gains)"
    points = look.memory.get("points")
    gains = _gains(look, 3 if points is None else min(3, len(points)))
    if len(gains) > 1 and (np.abs(gains[-2:]) <= ROUNDING * abs(look.statistics.log_likelihood)).all():
        return 0.0, how
    ratio = float(max(gains[1] / gains[0], gains[2] / gains[1])) if len(gains) == 3 and (gains > 0).all() else 1.0
    if not 0 <= ratio < 1:
        return None, ""
    return 2 * float(gains[1:].max()) * ratio / (1 - ratio) / look.mixture.n_parameters, how


def _gains(look: Look, most: int) -> FloatArray:
    """Nats that each of the last passes has gained, the newest last."""
    values = (*look.log_likelihoods, look.statistics.mean_log_likelihood)[-most - 1 :]
    return np.diff(values) * look.statistics.weight
