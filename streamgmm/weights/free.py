"""Weights free to be what the rows say: the sums of responsibilities, normalised. Floor 1."""

__all__ = ["FreeWeights"]

from streamgmm.arrays import ArrayK
from streamgmm.weights.base import AbstractWeights


class FreeWeights(AbstractWeights):
    """pi_k = n_k / sum n."""

    name = "free"

    @property
    def n_parameters(self) -> int:
        """K - 1."""
        return self.proportions.size - 1

    def maximise(self, counts: ArrayK) -> "FreeWeights":
        """See the base class."""
        return FreeWeights(counts / counts.sum())

    def split(self, donor: int, receiver: int) -> "FreeWeights":
        """Half of the donor's share to the receiver, whose own share goes to all."""
        p = self.proportions.copy()
        p[donor] = p[receiver] = p[donor] / 2
        return FreeWeights(p / p.sum())
