"""Random groups: all components start near the middle of the table. Floor 5."""

__all__ = ["RandomLabels"]

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.initialisers._sample import Sample, mixture_of_labels
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.mixture import Mixture


class RandomLabels(AbstractInitialiser):
    """Random groups: all components start near the middle of the table."""

    name = "random"

    def start(self, family: type[AbstractGaussian], sample: Sample, n_components: int, rng: np.random.Generator) -> Mixture:
        """See the base class."""
        return mixture_of_labels(family, sample, rng.integers(0, n_components, len(sample.z)), n_components)
