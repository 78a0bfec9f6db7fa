"""Random rows of the sample, each with the rows nearest to it. Floor 5."""

__all__ = ["RandomRows"]

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.initialisers._sample import Sample, mixture_of_labels, nearest_seed
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.mixture import Mixture


class RandomRows(AbstractInitialiser):
    """Random rows of the sample, each with the rows nearest to it."""

    name = "random_rows"

    def start(self, family: type[AbstractGaussian], sample: Sample, n_components: int, rng: np.random.Generator) -> Mixture:
        """See the base class."""
        seeds = sample.z[rng.choice(len(sample.z), n_components, replace=False)]
        return mixture_of_labels(family, sample, nearest_seed(sample.z, seeds), n_components)
