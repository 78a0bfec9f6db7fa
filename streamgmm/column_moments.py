"""What columns are like, block by block: weight, mean, spread, smallest and largest value. Floor 1.

Moments of two sets of rows merge after Chan, Golub & LeVeque (1983), about their own means: no offset costs digits.
"""

__all__ = ["Columns"]

from dataclasses import dataclass

import numpy as np

from streamgmm.arrays import ArrayD, ArrayN, ArrayND


@dataclass(frozen=True, eq=False)
class Columns:
    """weight: of all rows. mean (d); scatter (d): weighted squares about it; low, high (d), infinite where there are no rows."""

    weight: float
    mean: ArrayD
    scatter: ArrayD
    low: ArrayD
    high: ArrayD

    @classmethod
    def of(cls, x: ArrayND, weight: ArrayN) -> "Columns":
        """Of rows x (n d), none of weight 0."""
        total = float(weight.sum())
        mean = np.einsum("i,ij->j", weight, x - x[:1]) / total + x[0] if len(x) else np.zeros(x.shape[1])
        difference = x - mean
        scatter = np.einsum("i,ij,ij->j", weight, difference, difference)
        return cls(total, mean, scatter, x.min(axis=0, initial=np.inf), x.max(axis=0, initial=-np.inf))

    @property
    def deviation(self) -> ArrayD:
        """Standard deviation (d)."""
        return np.sqrt(self.scatter / self.weight)

    @property
    def scale(self) -> ArrayD:
        """What a column is divided by to have no unit: its deviation, 1 where it is constant but for rounding."""
        return np.where(self.deviation > 8 * np.finfo(np.float64).eps * np.abs(self.mean), self.deviation, 1.0)

    def merge(self, other: "Columns") -> "Columns":
        """Of both sets of rows."""
        total = self.weight + other.weight
        part = other.weight / total if total else 0.0
        apart = other.mean - self.mean
        scatter = self.scatter + other.scatter + self.weight * part * apart**2
        return Columns(total, self.mean + part * apart, scatter, np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def is_finite(self) -> bool:
        """Whether the moments are numbers."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.scatter).all())
