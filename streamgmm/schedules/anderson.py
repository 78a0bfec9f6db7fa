"""Accelerated exact passes: Anderson's extrapolation over the last steps of EM, with a way back. Floor 4.

With x a mixture as a vector, y = EM(x) its image and r = y - x, the next look is at y - (dX + dR) g, where dX and dR are the last
differences of x and r, and g the least squares solution of r = dR g (Anderson 1965; for EM: Henderson & Varadhan 2019, arXiv
1803.06673, whose damping and slack are used). The image of the last accepted look is kept: where the likelihood falls, or nothing
sound comes out, the next look is at that image, whose likelihood is no lower; then the history begins anew.
"""

__all__ = ["Anderson", "accelerate", "extrapolated", "history", "is_sound"]

from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.coordinates import from_vector, scale_of, to_vector
from streamgmm.em import m_step
from streamgmm.errors import ConfigError
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.base import AbstractSchedule, Look, Step

ORDER = 10  # differences that are kept, at most half as many as there are parameters
SLACK = 0.01  # nats that a look may lie below the last accepted one
ROUNDING = 1e-12  # of the likelihood: below this its order says nothing
RIDGE = 1e-6  # of the largest squared singular value
LONGEST = 1e3  # lengths of the EM step


class Anderson(AbstractSchedule):
    """One pass a step, as full-batch EM, and fewer of them; the stopping rule is the change of the likelihood."""

    name = "anderson"
    needs_second_look = True
    monotone = False

    def update(self, look: Look) -> Step:
        """See the base class."""
        return accelerate(look)

    def result(self, mixture: Mixture, memory: Mapping[str, FloatArray], *, converged: bool) -> Mixture:
        """The EM step of the last accepted look: an extrapolation that nobody has looked at is no result."""
        del converged
        return from_vector(memory["image"], mixture) if "image" in memory else mixture


def accelerate(look: Look) -> Step:
    """The extrapolated step, or the way back to the last image."""
    value = look.statistics.log_likelihood
    memory = look.memory
    if "image" in memory and value < memory["value"] - SLACK - ROUNDING * abs(value):
        return Step(from_vector(memory["image"], look.mixture), memory={}, said="the likelihood fell: back to the EM step", converged=False)
    mixture, repairs = m_step(look.statistics, look.mixture, look.regularisation)
    if repairs or mixture.n_components != look.mixture.n_components or (mixture.weights.proportions == 0).any():
        lifted = all(repair.action == "floor" for repair in repairs)  # as every look is going to find it: no reason to go on
        return Step(mixture, repairs, {}, converged=None if lifted else False)
    image = to_vector(mixture)
    points, images = history(memory, to_vector(look.mixture), image)
    kept: dict[str, FloatArray] = {"points": points, "images": images, "image": image, "value": np.array(value)}
    found = extrapolated(points, images, look.mixture)
    if found is not None and is_sound(found, look.regularisation, mixture):
        return Step(found, repairs, kept)
    return Step(mixture, repairs, kept)


def history(memory: Mapping[str, FloatArray], x: FloatArray, image: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The last looks (m+1 p) and their images, the newest last."""
    order = max(1, min(ORDER, x.size // 2))
    before = [memory[name] if name in memory else np.empty((0, x.size)) for name in ("points", "images")]
    points, images = (np.concatenate((old, new[None]))[-order - 1 :] for old, new in zip(before, (x, image), strict=True))
    return points, images


def extrapolated(points: FloatArray, images: FloatArray, like: Mixture) -> Mixture | None:
    """The next point, None where nothing sound comes out."""
    if len(points) < 2:
        return None
    scale = scale_of(like)
    residuals = (images - points) * scale
    last, differences = residuals[-1], np.diff(residuals, axis=0)
    with threadpool_limits(1):  # the same bits whatever the number of threads
        left, singular, right = np.linalg.svd(differences.T, full_matrices=False)
        if not singular[0] > 0:
            return None
        damped = singular / (singular**2 + RIDGE * singular[0] ** 2)
        gamma = right.T @ (damped * (left.T @ last))
        step = images[-1] - points[-1] - np.diff(images, axis=0).T @ gamma
    if not np.isfinite(step).all() or np.linalg.norm(step * scale) > LONGEST * np.linalg.norm(last):
        return None
    try:
        return from_vector(points[-1] + step, like)
    except ConfigError:
        return None


def is_sound(mixture: Mixture, regularisation: Regularisation, image: Mixture) -> bool:
    """Whether no component is thinner, or emptier, than what EM itself has just left: floors were applied to that one only."""
    if not isinstance(mixture.components, AbstractGaussian) or not isinstance(image.components, AbstractGaussian):
        return False
    if regularisation.reg_covar or regularisation.variance_floor:
        thinnest, allowed = (1 / np.abs(one.components.whitening).max() for one in (mixture, image))  # type: ignore[attr-defined]
        if thinnest < 0.5 * allowed:
            return False
    return bool(mixture.weights.proportions.min() > 0.1 * image.weights.proportions.min())
