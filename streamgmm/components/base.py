"""K densities and their parameters, frozen: the abstract role. Floor 1.

A family says how rows turn into additive statistics and how statistics turn into parameters. It does NOT know the mixing
weights' law, where rows come from or how often it is called.
"""

__all__ = ["AbstractComponents"]

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayD, ArrayK, ArrayN, ArrayND, ArrayNK, FloatArray
from streamgmm.regularisation import Fault, Regularisation
from streamgmm.statistics import Statistics


class AbstractComponents(ABC):
    """K densities over d columns."""

    name: ClassVar[str]
    statistics_type: ClassVar[type[Statistics]]

    @property
    @abstractmethod
    def n_components(self) -> int:
        """K."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        """d."""

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Free parameters of all densities, without the weights."""

    @abstractmethod
    def accumulate(
        self, x: ArrayND, sample_weight: ArrayN, log_weights: ArrayK, *, hard: bool, arithmetic: str = "float64"
    ) -> tuple[float, Statistics]:
        """E-step over rows x (n d): (sum of weight * log-likelihood, statistics about the current parameters), both float64.

        arithmetic: "float32" allows the work on a few hundred rows at a time to be done in float32. Hard assignment ignores it.
        """

    @abstractmethod
    def evaluate(self, x: ArrayND, log_weights: ArrayK, matrix: str = "") -> tuple[ArrayN, npt.NDArray[np.int32], ArrayNK | None]:
        """Log density (n), most probable component (n) and, on request, the matrix (n K): "responsibilities" or "log_joint"."""

    @abstractmethod
    def counts(self, statistics: Statistics) -> ArrayK:
        """Sums of weighted responsibilities (K)."""

    @abstractmethod
    def column_moments(self, statistics: Statistics) -> tuple[ArrayD, ArrayD]:
        """Mean and standard deviation of each column (D) over all rows: they do not depend on the parameters."""

    @abstractmethod
    def maximise(self, statistics: Statistics, regularisation: Regularisation) -> tuple[Self, tuple[Fault, ...]]:
        """M-step: the parameters of largest expected log-likelihood, floored, and what fell below a floor."""

    @abstractmethod
    def split(self, donor: int, receiver: int) -> Self:
        """Replace component `receiver` by one half of component `donor`, so that the two together keep the donor's moments."""

    @abstractmethod
    def select(self, kept: Sequence[int]) -> Self:
        """Only these components, in this order."""

    @abstractmethod
    def extent(self) -> ArrayK:
        """Largest standard deviation (K) along any direction."""

    @abstractmethod
    def sample(self, labels: npt.NDArray[np.integer[Any]], rng: np.random.Generator) -> ArrayND:
        """One row per label, drawn from that component."""

    @abstractmethod
    def to_arrays(self) -> dict[str, FloatArray]:
        """The parameters by name."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> Self:
        """Inverse of `to_arrays`; checks shapes and positive definiteness."""
