"""When to maximise and how to blend: the abstract role. Floor 4.

A schedule is a pure function of what a look at rows has given: what it wants to remember goes into the state as plain arrays, so that
a fit that was killed goes on with the same bits.
"""

__all__ = ["AbstractSchedule", "Look", "Step"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from streamgmm.arrays import FloatArray
from streamgmm.block import Block
from streamgmm.em import MixtureStatistics, Repair
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation


@dataclass(frozen=True, eq=False)
class Look:
    """What one look at rows has given for one mixture.

    mixture: the one that the statistics are taken about. memory: what the schedule has kept. tol: when to stop, in the schedule's own
    measure. sample: rows of the table with the weight that each stands for, where the fit holds one.
    """

    mixture: Mixture
    statistics: MixtureStatistics
    regularisation: Regularisation
    memory: Mapping[str, FloatArray] = field(default_factory=dict)
    log_likelihoods: tuple[float, ...] = ()
    tol: float = 0.0
    sample: Block | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """The mixture to look at rows with next, and what had to be repaired.

    converged: the schedule's verdict, None where the change of the likelihood decides. Where it is true, `mixture` is the result.
    said: one line for whoever watches.
    """

    mixture: Mixture
    repairs: tuple[Repair, ...] = ()
    memory: Mapping[str, FloatArray] = field(default_factory=dict)
    converged: bool | None = None
    said: str = ""


class AbstractSchedule(ABC):
    """Turns the statistics of a look into the next mixture."""

    name: ClassVar[str]
    needs_second_look: ClassVar[bool]
    monotone: ClassVar[bool] = True  # whether a fall of the likelihood without a repair is worth a word

    @abstractmethod
    def update(self, look: Look) -> Step:
        """The next step."""

    def result(self, mixture: Mixture, memory: Mapping[str, FloatArray], *, converged: bool) -> Mixture:
        """The mixture that a fit ends with: of the next look and what is kept, the one that is known to be good."""
        del memory, converged
        return mixture
