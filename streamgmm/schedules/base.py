"""When to maximise and how to blend: the abstract role. Floor 4."""

__all__ = ["AbstractSchedule"]

from abc import ABC, abstractmethod
from typing import ClassVar

from streamgmm.em import MixtureStatistics, Repair
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation


class AbstractSchedule(ABC):
    """Turns the statistics of a pass into the next mixture."""

    name: ClassVar[str]
    needs_second_look: ClassVar[bool]

    @abstractmethod
    def update(self, mixture: Mixture, statistics: MixtureStatistics, regularisation: Regularisation) -> tuple[Mixture, tuple[Repair, ...]]:
        """The next mixture, and what had to be repaired."""
