"""One step of stepwise EM: statistics of the past, faded, and those of a batch, blended and maximised. Floor 4.

Cappe & Moulines (2009): s <- (1 - g) s + g T/W, then the mixture of s. The first s is what the mixture implies, so that the first
batches move a mixture instead of making one. Moments are kept about a centre and rebased exactly before they are blended. It is NOT a
loop over rows (live.py), and knows no reservoir and no alarm.
"""

__all__ = ["Online", "blended", "gain_of", "implied_moments", "online_from", "stepped"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from streamgmm.arrays import FloatArray
from streamgmm.components._gaussian import GaussianMoments
from streamgmm.em import MixtureStatistics, Repair, m_step
from streamgmm.errors import NumericalError
from streamgmm.implied import gaussian, implied_moments, step_length
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation


@dataclass(frozen=True, eq=False)
class Online:
    """A mixture that is kept current: moments as if `weight` rows had been seen, of which `steps` batches were stepped with."""

    mixture: Mixture
    moments: GaussianMoments
    weight: float
    steps: int = 0

    def to_arrays(self) -> dict[str, FloatArray]:
        """Parameters and moments by name."""
        moments = {f"moments.{name}": value for name, value in self.moments.to_arrays().items()}
        return {**self.mixture.to_arrays(), **moments}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray], mixture: Mixture, weight: float, steps: int) -> "Online":
        """Inverse of `to_arrays`, of which the mixture has been made already."""
        return cls(mixture, GaussianMoments.from_arrays(arrays, "moments."), weight, steps)


def online_from(mixture: Mixture, weight: float, reg_covar: float = 0.0) -> Online:
    """A fitted mixture to go on from; weight: of the rows that it was fitted to, 0 where nobody knows. reg_covar: of the steps to come."""
    return Online(mixture, implied_moments(mixture, max(weight, 1.0), reg_covar), weight)


def gain_of(seen: float, batch: float, window: float | None = None) -> float:
    """The share g of a batch of so much weight after so much weight.

    (t + 2)^-0.6, where t counts the batches of this size that were seen; with a window, the batch's share of it.
    """
    if window is not None:
        return min(1.0, batch / window)
    return step_length(seen / batch)


def blended(online: Online, batch: GaussianMoments, gain: float, weight: float, batch_weight: float) -> GaussianMoments:
    """(1 - g) of the past and g of the batch, as if they were `weight` rows; about the batch's centre."""
    fresh = batch.scale(gain * weight / batch_weight)
    if gain >= 1:
        return fresh
    past = online.moments.rebase(batch.centre, gaussian(online.mixture).structure)
    return past.scale((1 - gain) * weight / float(past.n.sum())).merge(fresh)


def stepped(
    online: Online, batch: MixtureStatistics, regularisation: Regularisation, window: float | None = None
) -> tuple[Online, tuple[Repair, ...]]:
    """After a batch whose statistics were taken about the current mixture; one without weight changes nothing.

    Raises NumericalError (a row has density zero, numbers overflow), SingularComponentError.
    """
    if batch.weight <= 0:
        return online, ()
    if np.isneginf(batch.log_likelihood):
        raise NumericalError(
            "the log-likelihood of this batch is -inf: a row has density zero under every component. Look for extreme values, or rescale"
            " the columns."
        )
    gain = gain_of(online.weight, batch.weight, window)
    seen = online.weight + batch.weight
    weight = seen if window is None else max(min(seen, window), batch.weight)
    moments = blended(online, cast(GaussianMoments, batch.components), gain, weight, batch.weight)
    mixture, repairs = m_step(replace(batch, weight=weight, components=moments), online.mixture, regularisation)
    if any(repair.action != "floor" for repair in repairs):  # components were put elsewhere or removed: their past is not theirs
        moments = implied_moments(mixture, weight, regularisation.reg_covar)
    return Online(mixture, moments, seen, online.steps + 1), repairs
