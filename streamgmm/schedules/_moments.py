"""What the online schedules share: the moments of a look, and an M-step from moments about any centre. Floor 4."""

__all__ = ["maximised", "moments_of"]

from typing import cast

from streamgmm.components._gaussian import GaussianMoments
from streamgmm.em import MixtureStatistics, Repair, m_step
from streamgmm.implied import gaussian
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation


def moments_of(statistics: MixtureStatistics) -> GaussianMoments:
    """The components' moments."""
    return cast(GaussianMoments, statistics.components)


def maximised(
    moments: GaussianMoments, weight: float, mixture: Mixture, regularisation: Regularisation
) -> tuple[Mixture, tuple[Repair, ...]]:
    """The M-step from moments about any centre, for rows of this weight: floors are in rows."""
    components = gaussian(mixture)
    about = moments.rebase(components.means, components.structure)
    return m_step(MixtureStatistics(0, 0, weight, 0.0, about), mixture, regularisation)
