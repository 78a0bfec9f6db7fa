"""Gaussian components, covariance type "spherical". Floor 1. Every component has one variance for all columns (K)."""

__all__ = ["GaussianSpherical"]

from typing import ClassVar

from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.kernels.gaussian_diag import SphericalFactors


class GaussianSpherical(AbstractGaussian):
    """Every component has one variance for all columns (K)."""

    name = "gaussian_spherical"
    structure: ClassVar[Structure] = Structure(dense=False, shared=False, isotropic=True)

    @staticmethod
    def covariance_shape(k: int, d: int) -> tuple[int, ...]:
        """See the base class."""
        return (k,)

    def factors(self) -> SphericalFactors:
        """For the kernel."""
        return SphericalFactors(self.whitening)
