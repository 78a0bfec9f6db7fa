"""Contenders that cannot become the best any more: they cost every pass their share, and the fit its end. Floor 5.

A contender whose schedule knows what is left to gain (half of the remaining error's square, in nats) is left behind where another one of as
many components has converged so far above it that FACTOR times as much would not close the gap.
"""

__all__ = ["is_behind", "left_behind", "taken_up"]

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamgmm.state import BEHIND, Contender

FACTOR = 10.0  # what is left to gain is a quadratic's word, given far from its top


def is_behind(contender: Contender, others: Sequence[Contender], weight: float) -> bool:
    """Whether it cannot win, the likelihoods being of rows of this weight in all."""
    if contender.converged or "left" not in contender.memory:
        return False
    to_gain = FACTOR * float(contender.memory["left"]) * contender.mixture.n_parameters / 2
    return any((other.log_likelihood - contender.log_likelihood) * weight > to_gain for other in _ended(contender, others))


def left_behind(contenders: Sequence[Contender], weight: float) -> tuple[Contender, ...]:
    """The same contenders; those that cannot win any more are marked."""
    marked = [is_behind(one, contenders, weight) for one in contenders]
    mark = {BEHIND: np.array(1.0)}
    return tuple(replace(one, memory={**one.memory, **mark}) if new else one for one, new in zip(contenders, marked, strict=True))


def taken_up(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """The same contenders; those that were left behind another one which has not converged under a smaller tol go on."""
    return tuple(one if BEHIND not in one.memory or _ended(one, contenders) else _unmarked(one) for one in contenders)


def _ended(contender: Contender, others: Sequence[Contender]) -> list[Contender]:
    k = contender.mixture.n_components
    return [other for other in others if other.converged and other.mixture.n_components == k]


def _unmarked(contender: Contender) -> Contender:
    return replace(contender, memory={name: value for name, value in contender.memory.items() if name != BEHIND})
