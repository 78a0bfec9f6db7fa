"""Plain EM on rows in memory, and where more of it would lead. Floor 4.

What ladders race and what exploration explores with; it draws no rows and chooses nothing.
"""

__all__ = ["Fitted", "fit_on_sample", "look_at", "weight_of"]

from dataclasses import dataclass

import numpy as np

from streamgmm.arrays import ArrayN
from streamgmm.block import Block
from streamgmm.em import MixtureStatistics, e_step, m_step
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation

STEPS = 30
FARTHEST = 1000.0


@dataclass(frozen=True, eq=False)
class Fitted:
    """A mixture after some steps on a sample, and the mean log-likelihood before each of them."""

    mixture: Mixture
    log_likelihoods: tuple[float, ...]

    @property
    def value(self) -> float:
        """Mean log-likelihood before the last step."""
        return self.log_likelihoods[-1]

    @property
    def at_the_end(self) -> float:
        """Where more steps would lead: Aitken's extrapolation, but no farther than FARTHEST steps like the last one."""
        if len(self.log_likelihoods) < 3:
            return np.inf
        before, last = np.diff(self.log_likelihoods[-3:])
        ratio = last / before if before > 0 else np.inf
        steps = ratio / (1 - ratio) if ratio < 1 else np.inf
        return float(self.log_likelihoods[-1] + max(last, 0.0) * min(max(steps, 0.0), FARTHEST))


def look_at(mixture: Mixture, rows: Block, *, hard: bool = False) -> MixtureStatistics:
    """What all rows together say about a mixture."""
    return e_step((mixture,), rows, block_rows=max(1, rows.n_rows), hard=hard)[0]


def fit_on_sample(mixture: Mixture, rows: Block, regularisation: Regularisation, *, hard: bool = False, steps: int = STEPS) -> Fitted:
    """So many steps of EM in memory."""
    values: list[float] = []
    for _ in range(steps):
        statistics = look_at(mixture, rows, hard=hard)
        values.append(statistics.mean_log_likelihood)
        mixture, _ = m_step(statistics, mixture, regularisation)
    return Fitted(mixture, tuple(values))


def weight_of(rows: Block) -> ArrayN:
    """The weight (n) of each row, 1 where none is given."""
    return np.ones(rows.n_rows) if rows.sample_weight is None else rows.sample_weight
