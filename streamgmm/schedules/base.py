"""When to maximise and how to blend: the abstract role. Floor 4.

A schedule is a pure function of what a look at rows has given: what it wants to remember goes into the state as plain arrays, so that
a fit that was killed goes on with the same bits.
"""

__all__ = ["AbstractSchedule", "Batches", "Look", "Step"]

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import FloatArray
from streamgmm.block import Block
from streamgmm.em import MixtureStatistics, Repair
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation

Batches = Sequence[npt.NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Look:
    """What one look at rows has given for one mixture.

    mixture: the one that the statistics are taken about. memory: what the schedule has kept. tol: when to stop, in the schedule's own
    measure. sample: rows of the table with the weight that each stands for, where the fit holds one. step: rounds of this pass that were
    made before. steps: rounds of this pass in all, None where nobody knows. weight: of all rows of the table, as far as one knows.
    threads: for work in this process, which change no bit.
    """

    mixture: Mixture
    statistics: MixtureStatistics
    regularisation: Regularisation
    memory: Mapping[str, FloatArray] = field(default_factory=dict)
    log_likelihoods: tuple[float, ...] = ()
    tol: float = 0.0
    sample: Block | None = None
    step: int = 0
    steps: int | None = 1
    weight: float = 0.0
    threads: int = 1


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

    def batches(self, n_blocks: int, number: int, seed: int) -> Batches | None:
        """The rounds of pass `number` (from 0): which blocks each looks at, in all of them every block once. None: one round over all."""
        del n_blocks, number, seed
        return None

    def close(self, mixture: Mixture, memory: Mapping[str, FloatArray], regularisation: Regularisation, weight: float) -> Step:
        """What the end of a pass makes of what its last round has left. weight: of all rows of the table."""
        del regularisation, weight
        return Step(mixture, memory=memory)
