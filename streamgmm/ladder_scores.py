"""What one read of the table says about the contenders of a ladder: besides how they do on rows held out, what criteria need. Floor 5."""

__all__ = ["LadderScores", "ScoreLadder"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN, ArrayND, FloatArray
from streamgmm.block import Block
from streamgmm.held_out_scores import HeldOutScores, held_out_sums, parted
from streamgmm.mixture import Mixture
from streamgmm.statistics import summed

TILE = 4096  # rows at a time: their responsibilities stay in cache


@dataclass(frozen=True, eq=False)
class LadderScores(HeldOutScores):
    """With, of the rows fitted to, weight2 (of squares), entropy (C) = -sum w r log r, log_largest (C) = sum w log max r."""

    weight2: float = summed()
    entropy: FloatArray = summed()
    log_largest: FloatArray = summed()

    @property
    def n_effective(self) -> float:
        """(sum w)^2 / sum w^2 of the rows that were fitted to: their number where all weights are equal."""
        return self.weight**2 / self.weight2 if self.weight2 else 0.0


@dataclass(frozen=True, eq=False)
class ScoreLadder:
    """The function that executors map. centre (C): about the mean log density of each; hold_out: the share of rows held out."""

    mixtures: tuple[Mixture, ...]
    centre: FloatArray
    hold_out: float

    def __call__(self, block: Block) -> LadderScores:
        """The scores of one block, its own weights those of the table."""
        out, fitted = parted(block, self.hold_out)
        scores = [_summed(mixture, block.x, fitted, out) for mixture in self.mixtures]
        sums = np.array([one for one, _ in scores])
        return LadderScores(
            **held_out_sums(block, self.centre, out, fitted, sums[:, 0], [densities for _, densities in scores]),
            weight2=float((fitted**2).sum()),
            entropy=sums[:, 1],
            log_largest=sums[:, 2],
        )


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
