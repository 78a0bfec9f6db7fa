"""Gaussian components, covariance type "diag". Floor 1. Every component has its own variance per column (K D)."""

__all__ = ["GaussianDiag"]

from typing import ClassVar

from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.kernels.gaussian_diag import DiagFactors


class GaussianDiag(AbstractGaussian):
    """Every component has its own variance per column (K D)."""

    name = "gaussian_diag"
    structure: ClassVar[Structure] = Structure(dense=False, shared=False, isotropic=False)

    @staticmethod
    def covariance_shape(k: int, d: int) -> tuple[int, ...]:
        """See the base class."""
        return (k, d)

    def factors(self) -> DiagFactors:
        """For the kernel."""
        return DiagFactors(self.whitening)
