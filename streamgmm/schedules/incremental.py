"""Incremental EM: statistics of every group of blocks are kept, and a step is made after each group (Neal & Hinton 1998). Floor 4.

The M-step sees the sum over all groups, each with the responsibilities of its last visit: free energy never falls. The sum is taken
anew every time, in the order of the groups, so that nothing drifts. Until all groups were seen there is no step: the first pass is one
step of EM.
"""

__all__ = ["Incremental"]

from collections.abc import Mapping

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import GaussianMoments
from streamgmm.implied import gaussian
from streamgmm.mixture import Mixture
from streamgmm.schedules._moments import maximised, moments_of
from streamgmm.schedules.base import AbstractSchedule, Batches, Look, Step

MOST_GROUPS = 64
KEPT = ("centre", "n", "first", "second")
MEASURES = ("rows", "weight", "log_likelihood")


class Incremental(AbstractSchedule):
    """Every pass makes as many steps as there are groups (at most 64, contiguous), without a step size; what it keeps is in each commit.

    After a component was seeded anew or dropped the groups are collected anew: what they held belongs to the one that is gone.
    """

    name = "incremental"
    needs_second_look = True
    monotone = False

    def batches(self, n_blocks: int, number: int, seed: int) -> Batches:
        """Contiguous groups, the same in every pass."""
        del number, seed
        return np.array_split(np.arange(n_blocks), min(n_blocks, MOST_GROUPS))

    def update(self, look: Look) -> Step:
        """See the base class."""
        assert look.steps is not None
        memory = _with_group(look, look.steps)
        if not memory["seen"].all():
            return Step(look.mixture, memory=memory)
        mixture, repairs = maximised(_total(memory, look.mixture), float(memory["weight"].sum()), look.mixture, look.regularisation)
        if any(repair.action != "floor" for repair in repairs):
            return Step(mixture, repairs, {})
        return Step(mixture, repairs, memory)


def _with_group(look: Look, n_groups: int) -> dict[str, FloatArray]:
    """The memory with what this group gives now."""
    moments = moments_of(look.statistics)
    new = {name: getattr(moments, name) for name in KEPT} | {name: getattr(look.statistics, name) for name in MEASURES} | {"seen": 1.0}
    memory: dict[str, FloatArray] = {}
    for name, value in new.items():
        memory[name] = look.memory[name].copy() if name in look.memory else np.zeros((n_groups, *np.shape(value)))
        memory[name][look.step] = value
    return memory


def _total(memory: Mapping[str, FloatArray], mixture: Mixture) -> GaussianMoments:
    """The moments of all groups about the current means (see GaussianMoments.rebase), all groups at once: there may be 64 of them."""
    components = gaussian(mixture)
    structure, (groups, k, d) = components.structure, memory["first"].shape
    n, first = memory["n"][:, :, None], memory["first"]
    e = memory["centre"] - components.means
    change = structure.products((2 * first + n * e).reshape(-1, d), e.reshape(-1, d)).reshape(groups, k, -1)
    second = memory["second"].sum(axis=0) + structure.reduce(change.sum(axis=0))
    return GaussianMoments(components.means, memory["n"].sum(axis=0), (first + n * e).sum(axis=0), second)
