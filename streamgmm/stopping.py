"""When a fit ends: change of the mean log-likelihood per row, passes, deadline. Floor 5."""

__all__ = ["Stopping"]

import math
from dataclasses import dataclass
from numbers import Integral, Real

from streamgmm.errors import ConfigError
from streamgmm.state import FitState, Outcome


@dataclass(frozen=True)
class Stopping:
    """When to end.

    tol: on the change of the mean log-likelihood per unit of row weight (scikit-learn's rule). max_iter: passes in all, those before a
    resume included. deadline: seconds from the start of this call, None for none; a pass that has begun is finished.
    """

    tol: float = 1e-3
    max_iter: int = 100
    deadline: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.tol, Real) or isinstance(self.tol, bool) or not math.isfinite(self.tol) or self.tol < 0:
            raise ConfigError(f"tol must be finite and >= 0, got {self.tol!r}")
        if not isinstance(self.max_iter, Integral) or isinstance(self.max_iter, bool) or self.max_iter < 1:
            raise ConfigError(f"max_iter must be an int >= 1, got {self.max_iter!r}")
        if self.deadline is not None and not _is_positive(self.deadline):
            raise ConfigError(f"deadline must be a positive number of seconds, got {self.deadline!r}")

    def outcome(self, state: FitState, seconds: float) -> Outcome | None:
        """The outcome of a fit that has come to `state` after `seconds`, or None to go on."""
        if not state.active:
            return Outcome.CONVERGED
        if state.passes >= self.max_iter:
            return Outcome.PASSES_EXHAUSTED
        if self.deadline is not None and seconds >= self.deadline:
            return Outcome.DEADLINE
        return None


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) > 0
