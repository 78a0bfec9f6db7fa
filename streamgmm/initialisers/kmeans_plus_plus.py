"""k-means++ seeds (Arthur & Vassilvitskii 2007, greedy), each with the rows nearest to it. Floor 5."""

__all__ = ["KMeansPlusPlus"]

import numpy as np
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.initialisers._sample import Sample, mixture_of_labels, nearest_seed
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.mixture import Mixture


class KMeansPlusPlus(AbstractInitialiser):
    """k-means++ seeds (Arthur & Vassilvitskii 2007, greedy), each with the rows nearest to it."""

    name = "kmeans_plus_plus"

    def start(self, family: type[AbstractGaussian], sample: Sample, n_components: int, rng: np.random.Generator) -> Mixture:
        """See the base class."""
        with threadpool_limits(1):  # the same bits whatever the number of threads
            seeds, _ = kmeans_plusplus(sample.z, n_components, sample_weight=sample.weight, random_state=int(rng.integers(2**31)))
        return mixture_of_labels(family, sample, nearest_seed(sample.z, seeds), n_components)
