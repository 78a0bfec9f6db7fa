"""Gaussian components, covariance type "tied_spherical". Floor 1.

All components share one variance for all columns; with hard assignment and equal weights this is k-means.
"""

__all__ = ["GaussianTiedSpherical"]

from typing import ClassVar

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian, Structure
from streamgmm.kernels.gaussian_diag import SphericalFactors


class GaussianTiedSpherical(AbstractGaussian):
    """All components share one variance for all columns; with hard assignment and equal weights this is k-means."""

    name = "gaussian_tied_spherical"
    structure: ClassVar[Structure] = Structure(dense=False, shared=True, isotropic=True)

    @staticmethod
    def covariance_shape(k: int, d: int) -> tuple[int, ...]:
        """See the base class."""
        return ()

    def factors(self) -> SphericalFactors:
        """For the kernel."""
        return SphericalFactors(np.repeat(self.whitening, self.n_components, axis=0))
