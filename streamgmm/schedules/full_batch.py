"""Full-batch EM: one M-step after every pass over all rows (Dempster, Laird & Rubin 1977). Floor 4."""

__all__ = ["FullBatch"]

from streamgmm.em import m_step
from streamgmm.schedules.base import AbstractSchedule, Look, Step


class FullBatch(AbstractSchedule):
    """The likelihood never falls; the stopping rule is scikit-learn's."""

    name = "full_batch"
    needs_second_look = True

    def update(self, look: Look) -> Step:
        """See the base class."""
        return Step(*m_step(look.statistics, look.mixture, look.regularisation))
