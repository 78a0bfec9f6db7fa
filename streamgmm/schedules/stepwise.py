"""Stepwise EM: a step after every batch of blocks, of a length that shrinks (Cappe & Moulines 2009; Liang & Klein 2009). Floor 4.

s <- (1 - g) s + g T/W with the batch's statistics T of weight W, taken about the mixture that s gives; g is `step_length` at step t.
s begins as what the start mixture implies, so that no early batch counts for all. After each pass the mixture is that of the average of s
over the second half of its steps (Polyak & Ruppert), and s goes on from there. It is NOT exact: the answer keeps a noise that shrinks with
the number of steps; for tables that can be read again and again, accelerated passes reach the optimum in fewer reads.
"""

__all__ = ["Stepwise"]

from collections.abc import Mapping
from math import isqrt

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import GaussianMoments
from streamgmm.implied import gaussian, implied_moments, step_length
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation
from streamgmm.schedules._moments import maximised, moments_of
from streamgmm.schedules.base import AbstractSchedule, Batches, Look, Step

MOST_STRATA = 16
RECENT = 3.0  # of a pass whose end nobody knows, step t counts like t^RECENT in the average


class Stepwise(AbstractSchedule):
    """Reads a table in batches of one block of each part of it, so that one that is sorted by anything gives batches like the whole.

    One pass over an iterator is enough: every block is a step, and the fit ends with the rows, as `passes_exhausted`. Chunks
    larger than a block are read more than once a pass where the cache of decoded rows does not hold them.
    """

    name = "stepwise"
    needs_second_look = False
    monotone = False
    length = staticmethod(step_length)

    def batches(self, n_blocks: int, number: int, seed: int) -> Batches:
        """Contiguous strata, each in an order of its own; every batch takes a block of each, the first ones what does not divide."""
        strata = np.array_split(np.arange(n_blocks), min(max(isqrt(n_blocks), 1), MOST_STRATA))
        n_batches = min(len(stratum) for stratum in strata)
        rng = np.random.default_rng([seed, number])
        shares = [np.array_split(rng.permutation(stratum), n_batches) for stratum in strata]
        return [np.sort(np.concatenate([share[t] for share in shares])) for t in range(n_batches)]

    def update(self, look: Look) -> Step:
        """See the base class. A batch without weight changes nothing."""
        if look.statistics.weight <= 0:
            return Step(look.mixture, memory=look.memory)
        t = float(look.memory.get("t", np.array(0.0))) + 1
        g = self.length(t)
        before = _kept(look.memory, look.mixture, look.regularisation)
        batch = moments_of(look.statistics).scale(1 / look.statistics.weight)
        s = _blend(before, batch, g)
        mixture, repairs = maximised(s.scale(look.weight), look.weight, look.mixture, look.regularisation)
        if any(repair.action != "floor" for repair in repairs):
            return Step(mixture, repairs, {"t": np.array(t)})
        share = _share(look)
        average = s if share == 1 else _blend(_kept(look.memory, look.mixture, look.regularisation, "average_"), s, share)
        return Step(mixture, repairs, {"t": np.array(t), **_named(s), **_named(average, "average_")})

    def close(self, mixture: Mixture, memory: Mapping[str, FloatArray], regularisation: Regularisation, weight: float) -> Step:
        """See the base class."""
        if "average_n" not in memory:
            return Step(mixture, memory=memory)
        average = _kept(memory, mixture, regularisation, "average_")
        result, repairs = maximised(average.scale(weight), weight, mixture, regularisation)
        if any(repair.action != "floor" for repair in repairs):
            return Step(result, repairs, {"t": memory["t"]})
        return Step(result, repairs, {"t": memory["t"], **_named(average)})


def _share(look: Look) -> float:
    """What the newest s counts for in the average; 1 begins it anew."""
    if "average_n" not in look.memory:
        return 1.0
    if look.steps is None:
        return (RECENT + 1) / (look.step + 1 + RECENT)
    return 1 / max(look.step + 1 - look.steps // 2, 1)


def _kept(memory: Mapping[str, FloatArray], mixture: Mixture, regularisation: Regularisation, prefix: str = "") -> GaussianMoments:
    """Moments of the memory, about the mixture's means; what the mixture implies where it holds none."""
    if f"{prefix}n" not in memory:
        return implied_moments(mixture, reg_covar=regularisation.reg_covar)
    kept = GaussianMoments(memory["centre"], *(memory[f"{prefix}{name}"] for name in ("n", "first", "second")))
    components = gaussian(mixture)
    return kept.rebase(components.means, components.structure)


def _blend(old: GaussianMoments, new: GaussianMoments, share: float) -> GaussianMoments:
    return old.scale(1 - share).merge(new.scale(share))


def _named(moments: GaussianMoments, prefix: str = "") -> dict[str, npt.NDArray[np.float64]]:
    return {"centre": moments.centre, **{f"{prefix}{name}": getattr(moments, name) for name in ("n", "first", "second")}}
