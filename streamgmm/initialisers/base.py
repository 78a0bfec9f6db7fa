"""Where a fit starts: the abstract role. Floor 5."""

__all__ = ["AbstractInitialiser"]

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.initialisers._sample import Sample
from streamgmm.mixture import Mixture


class AbstractInitialiser(ABC):
    """Makes a first mixture from a sample of rows."""

    name: ClassVar[str]

    @abstractmethod
    def start(self, family: type[AbstractGaussian], sample: Sample, n_components: int, rng: np.random.Generator) -> Mixture:
        """A mixture of `n_components` of this family."""
