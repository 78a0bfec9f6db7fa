"""Weights that stay what they are: equal ones for k-means, known ones from a physical model. Floor 1."""

__all__ = ["FixedWeights"]

from streamgmm.arrays import ArrayK
from streamgmm.weights.base import AbstractWeights


class FixedWeights(AbstractWeights):
    """pi_k as given."""

    name = "fixed"

    @property
    def n_parameters(self) -> int:
        """None is free."""
        return 0

    def maximise(self, counts: ArrayK) -> "FixedWeights":
        """See the base class."""
        del counts
        return self

    def split(self, donor: int, receiver: int) -> "FixedWeights":
        """See the base class."""
        del donor, receiver
        return self
