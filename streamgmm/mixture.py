"""The Mixture: components and weights, frozen. Floor 2.

It answers for rows that are in memory, and refuses what a block refuses; whole tables go through `em`.
"""

__all__ = ["Mixture"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN, ArrayND, ArrayNK, FloatArray
from streamgmm.block import as_block
from streamgmm.components.base import AbstractComponents
from streamgmm.errors import ConfigError
from streamgmm.weights.base import AbstractWeights


@dataclass(frozen=True, eq=False)
class Mixture:
    """sum_k pi_k f_k(x)."""

    components: AbstractComponents
    weights: AbstractWeights

    def __post_init__(self) -> None:
        if self.weights.proportions.size != self.components.n_components:
            raise ConfigError(f"{self.weights.proportions.size} weights for {self.components.n_components} components")

    @property
    def n_components(self) -> int:
        """K."""
        return self.components.n_components

    @property
    def n_features(self) -> int:
        """d."""
        return self.components.n_features

    @property
    def n_parameters(self) -> int:
        """Free parameters of components and weights."""
        return self.components.n_parameters + self.weights.n_parameters

    def score_samples(self, x: ArrayND) -> ArrayN:
        """Log density (n) of rows x (n d)."""
        return self._evaluate(x)[0]

    def predict(self, x: ArrayND) -> npt.NDArray[np.int32]:
        """Most probable component (n) of rows x (n d)."""
        return self._evaluate(x, "labels")[1]

    def responsibilities(self, x: ArrayND) -> ArrayNK:
        """Posterior probability (n K) of each component for rows x (n d)."""
        matrix = self._evaluate(x, "responsibilities")[2]
        assert matrix is not None
        return matrix

    def log_joint(self, x: ArrayND) -> ArrayNK:
        """log pi_k + log f_k(x) (n K) for rows x (n d)."""
        matrix = self._evaluate(x, "log_joint")[2]
        assert matrix is not None
        return matrix

    def _evaluate(self, x: ArrayND, matrix: str = "") -> tuple[ArrayN, npt.NDArray[np.int32], ArrayNK | None]:
        names = tuple(f"f{j}" for j in range(self.n_features))
        x = as_block(np.asarray(x), index=0, start=0, feature_names=names).x
        return self.components.evaluate(x, self.weights.log_weights, matrix)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[ArrayND, npt.NDArray[np.integer[Any]]]:
        """n rows, grouped by component as scikit-learn does, and their components."""
        counts = rng.multinomial(n, self.weights.proportions / math.fsum(self.weights.proportions))
        labels = np.repeat(np.arange(self.n_components), counts)
        return self.components.sample(labels, rng), labels

    def select(self, kept: Sequence[int]) -> "Mixture":
        """Only these components, weights renormalised."""
        return Mixture(self.components.select(kept), self.weights.select(kept))

    def split(self, donor: int, receiver: int) -> "Mixture":
        """Component `receiver` becomes one half of component `donor`."""
        return Mixture(self.components.split(donor, receiver), self.weights.split(donor, receiver))

    def to_arrays(self) -> dict[str, FloatArray]:
        """All parameters by name."""
        return {"weights": self.weights.proportions, **self.components.to_arrays()}

    def is_same(self, other: "Mixture") -> bool:
        """Whether all parameters have the same bits."""
        ours, theirs = self.to_arrays(), other.to_arrays()
        return ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
