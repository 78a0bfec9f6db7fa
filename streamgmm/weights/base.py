"""The mixing proportions and their law: the abstract role. Floor 1."""

__all__ = ["AbstractWeights"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self, final

import numpy as np

from streamgmm.arrays import ArrayK
from streamgmm.errors import ConfigError


@dataclass(frozen=True, eq=False)
class AbstractWeights(ABC):
    """Proportions (K), >= 0, summing to 1."""

    proportions: ArrayK

    name: ClassVar[str]

    def __post_init__(self) -> None:
        p = self.proportions
        if p.ndim != 1 or not np.isfinite(p).all() or (p < 0).any() or abs(float(p.sum()) - 1) > 1e-6:
            raise ConfigError(f"weights must be finite, >= 0 and sum to 1; got shape {p.shape} with sum {p.sum():.9g}")

    @final
    @cached_property
    def log_weights(self) -> ArrayK:
        """log proportions (K); -inf for a component without rows."""
        with np.errstate(divide="ignore"):
            return np.log(self.proportions)

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Free parameters."""

    @abstractmethod
    def maximise(self, counts: ArrayK) -> Self:
        """Proportions of largest likelihood given the sums of responsibilities (K)."""

    @final
    def select(self, kept: Sequence[int]) -> Self:
        """Only these components, renormalised."""
        p = self.proportions[np.asarray(kept, dtype=np.intp)]
        return type(self)(p / p.sum())

    @abstractmethod
    def split(self, donor: int, receiver: int) -> Self:
        """After component `receiver` has become one half of component `donor`."""
