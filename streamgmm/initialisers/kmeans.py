"""k-means clusters of the sample, from a few k-means++ starts. Floor 5."""

__all__ = ["KMeans"]

import warnings

import numpy as np
import sklearn.cluster
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.initialisers._sample import Sample, mixture_of_labels
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.mixture import Mixture

AFFORDABLE_ROWS = 200_000  # of the sample, over all starts


class KMeans(AbstractInitialiser):
    """k-means clusters of the sample: the best of up to ten k-means++ starts, fewer where the sample is large."""

    name = "kmeans"

    def start(self, family: type[AbstractGaussian], sample: Sample, n_components: int, rng: np.random.Generator) -> Mixture:
        """See the base class."""
        with threadpool_limits(1):  # the same bits whatever the number of threads
            n_init = min(max(AFFORDABLE_ROWS // len(sample.z), 1), 10)
            model = sklearn.cluster.KMeans(n_components, n_init=n_init, random_state=int(rng.integers(2**31)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than groups: said by us, in our words
                model.fit(sample.z, sample_weight=sample.weight)
        return mixture_of_labels(family, sample, model.labels_, n_components)
