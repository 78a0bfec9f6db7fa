"""Laws fitted to measured times: linear in their coefficients, least squares on relative errors."""

__all__ = ["Law", "fit_law"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from benchmarks.standard import Array


@dataclass(frozen=True, eq=False)
class Law:
    """seconds = terms @ coefficients. errors: of the law at each measured point, relative."""

    names: tuple[str, ...]
    coefficients: Array
    errors: Array
    covariance: Array

    @property
    def largest_error(self) -> float:
        """Of all points, relative."""
        return float(np.abs(self.errors).max())

    def seconds(self, terms: Sequence[float]) -> float:
        """What the law says."""
        return float(np.asarray(terms) @ self.coefficients)

    def standard_error(self, terms: Sequence[float]) -> float:
        """Of `seconds`, from the scatter of the points about the law; a law cannot know what is not among its terms."""
        t = np.asarray(terms, dtype=np.float64)
        return math.sqrt(max(float(t @ self.covariance @ t), 0.0))


def fit_law(names: Sequence[str], terms: Array, seconds: Array, *, nonnegative: bool = False) -> Law:
    """terms (points, coefficients). nonnegative: no operation takes less than no time."""
    scaled = terms / seconds[:, None]
    unit = np.sqrt((scaled**2).sum(axis=0))
    unit[unit == 0] = 1.0
    ones = np.ones(len(seconds))
    found = nnls(scaled / unit, ones)[0] if nonnegative else np.linalg.lstsq(scaled / unit, ones, rcond=None)[0]
    coefficients: Array = found / unit
    errors: Array = scaled @ coefficients - 1
    freedom = max(len(seconds) - int((coefficients != 0).sum()), 1)
    inverse = np.linalg.pinv((scaled / unit).T @ (scaled / unit)) / np.outer(unit, unit)
    return Law(tuple(names), coefficients, errors, inverse * float(errors @ errors) / freedom)
