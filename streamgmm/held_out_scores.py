"""What one read of the table says about fitted mixtures: their likelihood on rows fitted to, and on rows held out. Floor 5.

Everything is additive. The Gram matrix of the mixtures' log densities on the rows held out gives the standard error of each mean and of
the difference of any two: on the same rows these differ far less than each of them varies from row to row.
"""

__all__ = ["HeldOut", "HeldOutScores", "ScoreHeldOut", "held_out_of", "held_out_sums", "merge_scores", "parted"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN, FloatArray
from streamgmm.block import Block
from streamgmm.mixture import Mixture
from streamgmm.sources._held_out import is_held_out, rows_held_out
from streamgmm.statistics import Statistics, counted, reference, summed


@dataclass(frozen=True, eq=False)
class HeldOutScores(Statistics):
    """Sums over rows for C mixtures.

    Rows that were fitted to: weight, log_likelihood (C). Rows held out, l their log densities less `centre` (C): held_weight, held_weight2
    (of squares), held (C) = sum w l, held2 (C) = sum w^2 l, gram (C C) = sum w^2 l l^T.
    """

    centre: FloatArray = reference()
    rows: int = counted()
    skipped: int = counted()
    held_rows: int = counted()
    weight: float = summed()
    log_likelihood: FloatArray = summed()
    held_weight: float = summed()
    held_weight2: float = summed()
    held: FloatArray = summed()
    held2: FloatArray = summed()
    gram: FloatArray = summed()

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
        around = second - 2 * mean * first + mean * mean * self.held_weight2
        return math.sqrt(max(around, 0.0) * n / (n - 1)) / self.held_weight if math.isfinite(around) else math.inf

    def fault(self) -> str:
        """What is wrong with them, "" for nothing."""
        return "" if self.is_finite() else "the log-likelihoods are not finite"


S = TypeVar("S", bound=HeldOutScores)


def merge_scores(a: S, b: S) -> S:
    """What executors merge by."""
    return a.merge(b)


@dataclass(frozen=True, eq=False)
class ScoreHeldOut:
    """The function that executors map, of one mixture. centre (1): about its mean log density; hold_out: the share of rows held out."""

    mixture: Mixture
    centre: FloatArray
    hold_out: float

    def __call__(self, block: Block) -> HeldOutScores:
        """The scores of one block, its own weights those of the table."""
        out, fitted = parted(block, self.hold_out)
        density = self.mixture.components.evaluate(block.x, self.mixture.weights.log_weights)[0]
        likelihood = np.einsum("n,n->", fitted, density)
        return HeldOutScores(**held_out_sums(block, self.centre, out, fitted, np.array([likelihood]), [density[out]]))


def parted(block: Block, share: float) -> tuple[npt.NDArray[np.bool_], ArrayN]:
    """Which rows (n) are held out; the weights (n) of the others, 0 for those."""
    weight = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight
    if not share:
        out = np.zeros(block.n_rows, bool)
    elif block.kept is None:
        out = rows_held_out(block.start, block.start + block.n_rows, share)
    else:
        out = is_held_out(block.start + block.kept, share)
    return out, np.where(out, 0.0, weight)


def held_out_sums(
    block: Block,
    centre: FloatArray,
    out: npt.NDArray[np.bool_],
    fitted: ArrayN,
    log_likelihood: FloatArray,
    densities: Sequence[ArrayN],
) -> dict[str, Any]:
    """Fields of HeldOutScores. log_likelihood (C): of the rows fitted to; densities: of those held out, one array for each mixture."""
    held = np.array(densities) - centre[:, None]
    w = np.ones(int(out.sum())) if block.sample_weight is None else block.sample_weight[out]
    return {
        "centre": centre,
        "rows": block.n_rows,
        "skipped": block.skipped,
        "held_rows": len(w),
        "weight": float(fitted.sum()),
        "log_likelihood": log_likelihood,
        "held_weight": float(w.sum()),
        "held_weight2": float((w**2).sum()),
        "held": np.einsum("cn,n->c", held, w),
        "held2": np.einsum("cn,n->c", held, w**2),
        "gram": np.einsum("an,bn->ab", held * w, held * w),
    }


# ---- of one fit ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """Mean log-likelihood per unit of weight of the rows held out, under the model that a fit ends with, and its standard error.

    fitted_mean: the mean of the rows fitted to, under the same model. rows: how many were held out; with fewer than two, or where the
    square of a log density is beyond floating point, there is neither mean nor standard error.
    """

    rows: int
    mean: float | None
    standard_error: float | None
    fitted_mean: float

    @classmethod
    def from_json(cls, found: Any) -> "HeldOut | None":
        """Inverse of `asdict`; None for what is no such record."""
        names = ("mean", "standard_error", "fitted_mean")
        if not isinstance(found, dict) or found.keys() != {"rows", *names} or type(found["rows"]) is not int:
            return None
        whole = all(isinstance(found[name], float) for name in names) or (found["mean"] is None is found["standard_error"])
        return cls(**found) if whole and isinstance(found["fitted_mean"], float) else None

    def said(self) -> str:
        """One line."""
        if self.mean is None or self.standard_error is None:
            return f"no mean and standard error of {self.rows:,} rows: they are too few (raise hold_out), or one of them is extreme"
        return (
            f"{self.mean:.10g} per row, standard error {self.standard_error:.2g}, over {self.rows:,} rows;"
            f" {self.fitted_mean:.10g} over those fitted to"
        )


def held_out_of(scores: HeldOutScores) -> HeldOut:
    """Of the only mixture there is."""
    mean, error = scores.held_out(0) if scores.has_held_out else (math.nan, math.nan)
    is_known = math.isfinite(mean) and math.isfinite(error)
    fitted_mean = float(scores.log_likelihood[0] / scores.weight)
    return HeldOut(scores.held_rows, mean if is_known else None, error if is_known else None, fitted_mean)
