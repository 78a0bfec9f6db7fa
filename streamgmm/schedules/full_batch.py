"""Full-batch EM: one M-step after every pass over all rows (Dempster, Laird & Rubin 1977). Floor 4."""

__all__ = ["FullBatch"]

from streamgmm.em import MixtureStatistics, Repair, m_step
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation
from streamgmm.schedules.base import AbstractSchedule


class FullBatch(AbstractSchedule):
    """The likelihood never falls; the stopping rule is scikit-learn's."""

    name = "full_batch"
    needs_second_look = True

    def update(self, mixture: Mixture, statistics: MixtureStatistics, regularisation: Regularisation) -> tuple[Mixture, tuple[Repair, ...]]:
        """See the base class."""
        return m_step(statistics, mixture, regularisation)
