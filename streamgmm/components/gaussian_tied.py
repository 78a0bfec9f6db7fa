"""Gaussian components, covariance type "tied". Floor 1. All components share one covariance matrix (D D)."""

__all__ = ["GaussianTied"]

from typing import ClassVar

from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.kernels.gaussian_full import FullFactors


class GaussianTied(AbstractGaussian):
    """All components share one covariance matrix (D D)."""

    name = "gaussian_tied"
    structure: ClassVar[Structure] = Structure(dense=True, shared=True, isotropic=False)

    @staticmethod
    def covariance_shape(k: int, d: int) -> tuple[int, ...]:
        """See the base class."""
        return (d, d)

    def factors(self) -> FullFactors:
        """For the kernel."""
        return FullFactors(self.packed_whitening())
