"""Incremental EM over rows that were appended: sums of the past stay, every batch of new rows adds its own. Floor 4.

s <- s + T, with the batch's statistics T about the mixture of s (Neal & Hinton 1998, each row visited once): a past of weight W and a
batch of weight w count W : w, so that no row counts more for being new. It is NOT a schedule of fits, which have no past.
"""

__all__ = ["Appended", "past_of"]

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import GaussianMoments
from streamgmm.implied import gaussian, implied_moments
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation
from streamgmm.schedules._moments import maximised, moments_of
from streamgmm.schedules.base import AbstractSchedule, Batches, Look, Step
from streamgmm.schedules.stepwise import Stepwise

SUMS = ("centre", "n", "first", "second")


class Appended(AbstractSchedule):
    """Reads the blocks from `first_block` on, once, in the batches of stepwise EM."""

    name = "appended"
    needs_second_look = False
    monotone = False

    def __init__(self, first_block: int) -> None:
        self._first = first_block

    def batches(self, n_blocks: int, number: int, seed: int) -> Batches:
        """See the base class; blocks before the first one have no rows."""
        return [batch + self._first for batch in Stepwise().batches(n_blocks - self._first, number, seed)]

    def update(self, look: Look) -> Step:
        """See the base class. A batch without weight changes nothing."""
        if look.statistics.weight <= 0:
            return Step(look.mixture, memory=look.memory)
        components = gaussian(look.mixture)
        past = GaussianMoments(*(look.memory[name] for name in SUMS)).rebase(components.means, components.structure)
        sums, weight = past.merge(moments_of(look.statistics)), float(look.memory["weight"]) + look.statistics.weight
        mixture, repairs = maximised(sums, weight, look.mixture, look.regularisation)
        if any(repair.action != "floor" for repair in repairs):  # components were put elsewhere or removed: their past is not theirs
            return Step(mixture, repairs, past_of(mixture, weight, look.regularisation))
        return Step(mixture, repairs, _named(sums, weight))


def past_of(mixture: Mixture, weight: float, regularisation: Regularisation) -> dict[str, FloatArray]:
    """What a batch is added to: the sums of rows of this weight of which the mixture came."""
    return _named(implied_moments(mixture, reg_covar=regularisation.reg_covar).scale(weight), weight)


def _named(moments: GaussianMoments, weight: float) -> dict[str, FloatArray]:
    return {**{name: getattr(moments, name) for name in SUMS}, "weight": np.array(weight)}
