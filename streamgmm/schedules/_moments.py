"""What the online schedules share: moments that a mixture implies, moments as a schedule's memory, an M-step from them. Floor 4."""

__all__ = ["gaussian", "implied", "maximised", "moments_of"]

from typing import cast

import numpy as np

from streamgmm.components._gaussian import AbstractGaussian, GaussianMoments
from streamgmm.em import MixtureStatistics, Repair, m_step
from streamgmm.linalg import pack
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation


def gaussian(mixture: Mixture) -> AbstractGaussian:
    """The mixture's components, which online schedules add up as moments."""
    assert isinstance(mixture.components, AbstractGaussian)
    return mixture.components


def moments_of(statistics: MixtureStatistics) -> GaussianMoments:
    """The components' moments."""
    return cast(GaussianMoments, statistics.components)


def implied(mixture: Mixture) -> GaussianMoments:
    """Moments of unit weight that rows drawn from the mixture would give, about its means: n = pi, first 0, second pi V."""
    components, n = gaussian(mixture), mixture.weights.proportions
    covariances = components.dense_covariances()
    entries = pack(covariances) if components.structure.dense else np.ascontiguousarray(np.einsum("kii->ki", covariances))
    second = components.structure.reduce(n[:, None] * entries)
    return GaussianMoments(components.means, n, np.zeros_like(components.means), second)


def maximised(
    moments: GaussianMoments, weight: float, mixture: Mixture, regularisation: Regularisation
) -> tuple[Mixture, tuple[Repair, ...]]:
    """The M-step from moments about any centre, for rows of this weight: floors are in rows."""
    components = gaussian(mixture)
    about = moments.rebase(components.means, components.structure)
    return m_step(MixtureStatistics(0, 0, weight, 0.0, about), mixture, regularisation)
