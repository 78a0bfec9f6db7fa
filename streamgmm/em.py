"""Expectation and maximisation: pure functions of mixtures and blocks. Floor 3.

`e_step` turns the rows of a block into additive statistics for every mixture that is being fitted, `m_step` turns statistics into
the next mixture. Neither knows where rows come from, where it runs or when it is called.
"""

__all__ = ["LostBlock", "MixtureStatistics", "Partial", "Repair", "e_step", "m_step", "merge_all", "merge_partials"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN
from streamgmm.block import Block
from streamgmm.checksums import checksum
from streamgmm.errors import DataError, NumericalError, SingularComponentError
from streamgmm.mixture import Mixture
from streamgmm.reduce import Span, TreeReducer
from streamgmm.regularisation import Fault, Regularisation
from streamgmm.statistics import Statistics, counted, nested, summed


@dataclass(frozen=True, eq=False)
class MixtureStatistics(Statistics):
    """What one mixture takes from rows: how many, their weight, their log-likelihood, and the components' moments."""

    rows: int = counted()
    skipped: int = counted()
    weight: float = summed()
    log_likelihood: float = summed()
    components: Statistics = nested()

    @property
    def mean_log_likelihood(self) -> float:
        """Log-likelihood per unit of row weight, scikit-learn's `lower_bound_`."""
        return self.log_likelihood / self.weight


class LostBlock(NamedTuple):
    """A block that was left out because it could not be read: its number, its rows, why."""

    block: int
    rows: int
    reason: str


@dataclass(frozen=True, eq=False)
class Partial:
    """What a span of blocks gives to a pass.

    stamp: names the pass and the parameters that it is taken about. statistics: one for each mixture. checksums: of the rows of each
    block, in order; none where the rows lie in memory. lost: blocks that could not be read, whose rows count as skipped.
    """

    stamp: str
    statistics: tuple[MixtureStatistics, ...]
    checksums: npt.NDArray[np.uint32]
    lost: tuple["LostBlock", ...] = ()

    @property
    def rows(self) -> int:
        """Rows read, those left out included."""
        return self.statistics[0].rows + self.statistics[0].skipped

    def merge(self, other: "Partial") -> "Partial":
        """The partial of this span and of the next one."""
        if self.stamp != other.stamp:
            raise ValueError(f"partials of pass {self.stamp} and of pass {other.stamp} do not merge")
        checksums = np.concatenate((self.checksums, other.checksums))
        return Partial(self.stamp, merge_all(self.statistics, other.statistics), checksums, self.lost + other.lost)

    def digest(self) -> int:
        """A checksum of everything: equal partials have equal ones."""
        return checksum(self.checksums, *(value for one in self.statistics for value in one.to_arrays().values()))

    def fault(self) -> str:
        """Why this cannot be what rows give, "" where nothing speaks against it."""
        for number, one in enumerate(self.statistics):
            if not one.is_finite():
                return f"the statistics of start {number} are not finite"
            if one.rows < 0 or one.skipped < 0 or one.weight < 0:
                return f"the statistics of start {number} count less than nothing"
        return ""


@dataclass(frozen=True)
class Repair:
    """What was done about a fault: action is floor, reseed or drop."""

    action: str
    fault: Fault


def e_step(
    mixtures: Sequence[Mixture], block: Block, *, block_rows: int, hard: bool = False, arithmetic: str = "float64"
) -> tuple[MixtureStatistics, ...]:
    """Statistics of one block for every mixture, each about its own current parameters.

    A block longer than `block_rows` (a whole partition) is cut from its start and merged in the fixed tree.
    """
    return tuple(_statistics(mixture, block, block_rows, hard, arithmetic) for mixture in mixtures)


def _statistics(mixture: Mixture, block: Block, block_rows: int, hard: bool, arithmetic: str) -> MixtureStatistics:
    tree: TreeReducer[MixtureStatistics] = TreeReducer(lambda a, b: a.merge(b))
    for number, start in enumerate(range(0, max(block.n_rows, 1), block_rows)):
        x = block.x[start : start + block_rows]
        weight = _ones(len(x)) if block.sample_weight is None else block.sample_weight[start : start + block_rows]
        likelihood, moments = mixture.components.accumulate(x, weight, mixture.weights.log_weights, hard=hard, arithmetic=arithmetic)
        skipped = block.skipped if number == 0 else 0
        tree.add(Span(number, 0), MixtureStatistics(len(x), skipped, float(weight.sum()), likelihood, moments))
    whole = tree.result()
    assert whole is not None
    return whole


@lru_cache(maxsize=4)
def _ones(n: int) -> ArrayN:
    """Weights of rows that have none: fresh memory for every block would cost as much as the M-step. Nobody writes to them."""
    return np.ones(n)


def merge_all(a: Sequence[MixtureStatistics], b: Sequence[MixtureStatistics]) -> tuple[MixtureStatistics, ...]:
    """Merge the statistics of two sets of rows, mixture by mixture."""
    return tuple(left.merge(right) for left, right in zip(a, b, strict=True))


def merge_partials(a: Partial, b: Partial) -> Partial:
    """What executors merge by."""
    return a.merge(b)


def m_step(statistics: MixtureStatistics, mixture: Mixture, regularisation: Regularisation) -> tuple[Mixture, tuple[Repair, ...]]:
    """The next mixture, repaired by the regularisation's policy, and what was repaired.

    Raises DataError (no row took part), NumericalError (statistics not finite), SingularComponentError (policy "raise").
    """
    if statistics.weight <= 0:
        raise DataError(
            f"no row takes part: {statistics.rows} rows read with total weight {statistics.weight:g}, {statistics.skipped} left out"
        )
    if not statistics.is_finite():
        raise NumericalError(
            "the statistics of this pass are not finite: the squares of some column overflow float64. Rescale the columns"
            " (inspect the store for its largest values)."
        )
    components, faults = mixture.components.maximise(statistics.components, regularisation)
    weights = mixture.weights.maximise(mixture.components.counts(statistics.components))
    return _repair(Mixture(components, weights), faults, regularisation.on_singular)


def _repair(mixture: Mixture, faults: tuple[Fault, ...], policy: str) -> tuple[Mixture, tuple[Repair, ...]]:
    if faults and policy == "raise":
        raise SingularComponentError(_fault_message(faults[0]))
    fallen = sorted({fault.component for fault in faults if fault.component >= 0})
    healthy = [k for k in range(mixture.n_components) if k not in fallen]
    repaired = set(fallen)
    if policy == "drop" and fallen:
        kept = healthy or [int(np.argmax(mixture.weights.proportions))]
        mixture = mixture.select(kept)
        repaired -= set(kept)
    elif policy == "reseed" and healthy:
        for k in fallen:
            mixture = mixture.split(_donor(mixture, healthy), k)
    else:  # nothing to seed from: the floor, which is in the parameters already, has to do
        repaired = set()
    return mixture, tuple(Repair(policy if fault.component in repaired else "floor", fault) for fault in faults)


def _donor(mixture: Mixture, healthy: Sequence[int]) -> int:
    """The component with most mass spread widest; it loses least by being halved."""
    mass = mixture.weights.proportions * mixture.components.extent()
    return max(healthy, key=lambda k: (float(mass[k]), -k))


def _fault_message(fault: Fault) -> str:
    whom = "the shared covariance" if fault.component < 0 else f"component {fault.component}"
    if fault.kind == "occupancy":
        return (
            f"{whom} holds {fault.value:.3g} rows, at or below the floor of {fault.floor:.3g}; use fewer components or on_singular='floor'"
        )
    return (
        f"{whom}: smallest relative eigenvalue {fault.value:.3g} is below the floor of {fault.floor:.3g}"
        f"{'' if fault.column < 0 else f', mostly along column number {fault.column}'} (a constant or collinear column?);"
        " raise reg_covar or variance_floor, or use on_singular='floor'"
    )
