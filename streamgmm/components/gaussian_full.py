"""Gaussian components, covariance type "full". Floor 1. Every component has its own covariance matrix (K D D)."""

__all__ = ["GaussianFull"]

from typing import ClassVar

from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.kernels.gaussian_full import FullFactors


class GaussianFull(AbstractGaussian):
    """Every component has its own covariance matrix (K D D)."""

    name = "gaussian_full"
    structure: ClassVar[Structure] = Structure(dense=True, shared=False, isotropic=False)

    @staticmethod
    def covariance_shape(k: int, d: int) -> tuple[int, ...]:
        """See the base class."""
        return (k, d, d)

    def factors(self) -> FullFactors:
        """For the kernel."""
        return FullFactors(self.packed_whitening())
