"""What keeps components alive: variance floor, occupancy floor and the policy for a component that falls below. Floor 0.

`reg_covar` is scikit-learn's: absolute, added to the diagonal of every covariance. `variance_floor` is relative to each column's
own variance over all rows, for columns on scales from 1e-6 to 1e9. Without a variance floor only what is singular in double
precision is lifted.
"""

__all__ = ["POLICIES", "SINGULAR", "Fault", "Regularisation", "all_sound", "lift_dense", "lift_diagonal"]

import math
from dataclasses import dataclass

import numpy as np

from streamgmm.arrays import ArrayD, ArrayDD, ArrayKD, FloatArray
from streamgmm.errors import ConfigError, nearest
from streamgmm.linalg import eigh, from_eigen, is_positive_definite

POLICIES = ("floor", "reseed", "drop", "raise")

SINGULAR = 1e-14  # eigenvalues of a correlation matrix below this are rounding
LIFTED = 1e-12  # where a singular direction without a floor of its own is lifted to, relative to the columns' variances
RESOLUTION = (4 * np.finfo(np.float64).eps) ** 2  # relative to the squared mean, a smaller variance is rounding


@dataclass(frozen=True)
class Regularisation:
    """reg_covar >= 0; variance_floor relative, None for none; occupancy_floor in rows; on_singular: floor, reseed, drop or raise."""

    reg_covar: float = 1e-6
    variance_floor: float | None = None
    occupancy_floor: float = 0.0
    on_singular: str = "floor"

    def __post_init__(self) -> None:
        _check_number("reg_covar", self.reg_covar, "; 1e-6 is the default")
        _check_number("occupancy_floor", self.occupancy_floor, "")
        if self.variance_floor is not None:
            _check_number("variance_floor", self.variance_floor, "; 1e-6 of the column variance is a good start")
        if self.on_singular not in POLICIES:
            raise ConfigError(f"on_singular must be one of {POLICIES}, got {self.on_singular!r}{nearest(self.on_singular, POLICIES)}")


def _check_number(name: str, value: object, hint: str) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:  # type: ignore[operator, arg-type]
        raise ConfigError(f"{name} must be a finite number >= 0, got {value!r}{hint}")


@dataclass(frozen=True)
class Fault:
    """A component below a floor: what fell ("occupancy" or "variance"), its value and the floor; column: the one lifted most, or -1."""

    kind: str
    component: int
    value: float
    floor: float
    column: int = -1


def lift_diagonal(variances: ArrayD, means: ArrayD, scale: ArrayD, floor: float | None) -> tuple[ArrayD, float]:
    """Lift variances (D) below the floor; returns them and the smallest one relative to `scale` (D).

    Without a floor only a variance lost in the rounding of its mean is lifted.
    """
    if floor is None:
        limit = np.maximum(RESOLUTION * means**2, np.finfo(np.float64).tiny)
        target = np.maximum(LIFTED * scale, limit)
    else:
        limit = target = floor * scale
    return np.where(variances >= limit, variances, target), float((variances / scale).min())


def all_sound(covariances: FloatArray, means: ArrayKD, scale: ArrayD, floor: float | None) -> bool:
    """Whether no covariance (K D D) is below the floor, so that `lift_dense` would change none. Far quicker than asking one by one."""
    own = np.diagonal(covariances, axis1=1, axis2=2)
    limit = np.maximum(RESOLUTION * means**2, np.finfo(np.float64).tiny) if floor is None else floor * scale
    if not (own >= limit).all():
        return False
    root = np.sqrt(own if floor is None else scale)
    lowest = SINGULAR * len(scale) if floor is None else floor
    scaled = covariances / root[..., :, None] / root[..., None, :]
    return is_positive_definite(scaled - 2 * lowest * np.eye(len(scale)))


def lift_dense(covariance: ArrayDD, mean: ArrayD, scale: ArrayD, floor: float | None) -> tuple[ArrayDD, float]:
    """Lift the eigenvalues of a covariance (D D), measured in units of its columns; returns it and the smallest eigenvalue.

    With a floor the units are the columns' variances over all rows (`scale`), without one the component's own. Where nothing is
    below, the covariance comes back untouched.
    """
    own = np.diagonal(covariance).copy()
    variances, smallest = lift_diagonal(own, mean, scale, floor)
    if floor is None and not np.array_equal(variances, own):
        covariance = covariance.copy()
        np.fill_diagonal(covariance, variances)
    root = np.sqrt(variances if floor is None else scale)
    eigenvalues, vectors = eigh(covariance / root / root[:, None])
    if eigenvalues[0] >= (SINGULAR * len(scale) if floor is None else floor):
        return covariance, smallest
    raised = np.maximum(eigenvalues, LIFTED if floor is None else floor)
    lifted = from_eigen(raised, vectors) * root * root[:, None]
    return (lifted + lifted.T) / 2, min(smallest, float(eigenvalues[0]))
