"""What one read of the table says about many fitted mixtures: likelihood, entropy, and how they compare on rows held out. Floor 5.

Everything is additive. The Gram matrix of the contenders' log densities on the rows held out gives the standard error of the
difference of any two: on the same rows these differ far less than each of them varies from row to row.
"""

__all__ = ["LadderScores", "ScoreLadder", "merge_scores"]

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.mixture import Mixture
from streamgmm.sources._held_out import is_held_out
from streamgmm.statistics import Statistics, counted, reference, summed

TILE = 4096  # rows at a time: their responsibilities stay in cache


@dataclass(frozen=True, eq=False)
class LadderScores(Statistics):
    """Sums over rows for C mixtures.

    Rows that were fitted to: weight, weight2 (of squares), log_likelihood (C), entropy (C) = -sum w r log r, log_largest (C)
    = sum w log max r. Rows held out, l their log densities less `centre` (C): held_weight, held_weight2, held (C) = sum w l,
    held2 (C) = sum w^2 l, gram (C C) = sum w^2 l l^T.
    """

    centre: FloatArray = reference()
    rows: int = counted()
    skipped: int = counted()
    held_rows: int = counted()
    weight: float = summed()
    weight2: float = summed()
    log_likelihood: FloatArray = summed()
    entropy: FloatArray = summed()
    log_largest: FloatArray = summed()
    held_weight: float = summed()
    held_weight2: float = summed()
    held: FloatArray = summed()
    held2: FloatArray = summed()
    gram: FloatArray = summed()

    @property
    def n_effective(self) -> float:
        """(sum w)^2 / sum w^2 of the rows that were fitted to: their number where all weights are equal."""
        return self.weight**2 / self.weight2 if self.weight2 else 0.0

    @property
    def has_held_out(self) -> bool:
        """Whether there are rows enough to compare on."""
        return self.held_weight2 > 0 and self.held_weight**2 / self.held_weight2 > 1

    def held_out(self, a: int) -> tuple[float, float]:
        """Mean log density of the rows held out under mixture a, and its standard error."""
        mean = self.held[a] / self.held_weight
        return float(self.centre[a] + mean), self._error(float(mean), float(self.held2[a]), float(self.gram[a, a]))

    def difference(self, a: int, b: int) -> tuple[float, float]:
        """Mean over the rows held out of their log density under a less that under b, and its standard error (of pairs)."""
        mean = (self.held[a] - self.held[b]) / self.held_weight
        squares = self.gram[a, a] - 2 * self.gram[a, b] + self.gram[b, b]
        return float(self.centre[a] - self.centre[b] + mean), self._error(float(mean), float(self.held2[a] - self.held2[b]), float(squares))

    def _error(self, mean: float, first: float, second: float) -> float:
        """Of a weighted mean, from sum w^2 d and sum w^2 d^2 of what it is the mean of."""
        n = self.held_weight**2 / self.held_weight2
        around = second - 2 * mean * first + mean**2 * self.held_weight2
        return math.sqrt(max(around, 0.0) * n / (n - 1)) / self.held_weight

    def fault(self) -> str:
        """What is wrong with them, "" for nothing."""
        return "" if self.is_finite() else "the scores of the contenders are not finite"


def merge_scores(a: LadderScores, b: LadderScores) -> LadderScores:
    """What executors merge by."""
    return a.merge(b)


@dataclass(frozen=True, eq=False)
class ScoreLadder:
    """The function that executors map. centre (C): about the mean log density of each; hold_out: the share of rows held out."""

    mixtures: tuple[Mixture, ...]
    centre: FloatArray
    hold_out: float

    def __call__(self, block: Block) -> LadderScores:
        """The scores of one block, its own weights those of the table."""
        weight = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight
        out = _held_out(block, self.hold_out)
        fitted = np.where(out, 0.0, weight)
        scores = [_summed(mixture, block.x, fitted, out) for mixture in self.mixtures]
        sums = np.array([one for one, _ in scores])
        held, w = np.array([densities for _, densities in scores]) - self.centre[:, None], weight[out]
        return LadderScores(
            centre=self.centre,
            rows=block.n_rows,
            skipped=block.skipped,
            held_rows=int(out.sum()),
            weight=float(fitted.sum()),
            weight2=float((fitted**2).sum()),
            log_likelihood=sums[:, 0],
            entropy=sums[:, 1],
            log_largest=sums[:, 2],
            held_weight=float(w.sum()),
            held_weight2=float((w**2).sum()),
            held=np.einsum("cn,n->c", held, w),
            held2=np.einsum("cn,n->c", held, w**2),
            gram=np.einsum("an,bn->ab", held * w, held * w),
        )


def _held_out(block: Block, share: float) -> npt.NDArray[np.bool_]:
    if not share:
        return np.zeros(block.n_rows, bool)
    return is_held_out(block.start + (np.arange(block.n_rows) if block.kept is None else block.kept), share)


def _summed(mixture: Mixture, x: ArrayND, weight: ArrayN, out: npt.NDArray[np.bool_]) -> tuple[list[float], ArrayN]:
    """What is kept of one mixture before the next one's turn: three weighted sums, and the log densities of the rows held out."""
    three = _of_rows(mixture, x)
    return [float(np.einsum("n,n->", weight, one)) for one in three], three[0][out]


def _of_rows(mixture: Mixture, x: ArrayND) -> tuple[ArrayN, ArrayN, ArrayN]:
    """Log density, entropy of the responsibilities, and logarithm of the largest one, of each row."""
    parts = [_of_tile(mixture, x[start : start + TILE]) for start in range(0, max(len(x), 1), TILE)]
    density, entropy, largest = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return density, entropy, largest


def _of_tile(mixture: Mixture, x: ArrayND) -> tuple[ArrayN, ArrayN, ArrayN]:
    density, _, joint = mixture.components.evaluate(x, mixture.weights.log_weights, "log_joint")
    assert joint is not None
    log_r = joint - density[:, None]
    r = np.exp(log_r)
    terms = np.multiply(r, log_r, out=np.zeros_like(r), where=r > 0)
    return density, -terms.sum(axis=1), log_r.max(axis=1, initial=-np.inf)
