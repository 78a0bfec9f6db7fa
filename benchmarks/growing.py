"""What updates of a grown table lack of a full refit, in nats over all rows: rows of the same law, shifted ones, a new cluster.

python -m benchmarks.growing [--tables 3] [--rows 200000]
"""

__all__ = ["LAWS", "gaps_of", "main", "table_of"]

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.reporting import markdown, say
from streamgmm.checkpoint import Run
from streamgmm.components.gaussian_full import GaussianFull
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.mixture import Mixture
from streamgmm.sources import as_source
from streamgmm.sources.base import AbstractSource
from streamgmm.updating import HOWS, prepared
from streamgmm.weights.free import FreeWeights

K, D, BLOCK_ROWS = 8, 4, 2048
SPREADS = {"apart": 3.0, "overlapping": 1.0}
LAWS = ("the same", "shifted by half a deviation", "half a new cluster")


def main() -> None:
    """A line for each kind of table: the median gap of the old model and of each update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=3, help="tables of each kind")
    parser.add_argument("--rows", type=int, default=200_000, help="rows before a tenth is appended")
    given = parser.parse_args()
    lines = []
    for name, spread in SPREADS.items():
        for law in LAWS:
            found = [gaps_of(given.rows, spread, law, seed) for seed in range(given.tables)]
            medians = [f"{np.median([one[who] for one in found]):,.2f}" for who in found[0]]
            lines.append((law, name, *medians))
            say(" | ".join(lines[-1]))
    print(markdown(("appended", "components", "old model", *HOWS), lines, n_words=2))


def gaps_of(n_rows: int, spread: float, law: str, seed: int) -> dict[str, float]:
    """Log-likelihood over the grown table below that of the refit: of the old model and of both updates."""
    x = table_of(n_rows, spread, law, seed)
    fit = FitConfiguration(n_components=K, block_rows=BLOCK_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        run, executor = Run(Path(folder, "run")), Threads()
        mixtures = {"old": Job(_source(x[:n_rows]), fit, executor).fit_in(run).mixture}
        to_the_end = FitConfiguration(n_components=K, block_rows=BLOCK_ROWS, schedule="anderson", tol=1e-9, max_iter=300)
        best = Job(_source(x), to_the_end, executor, start=mixtures["old"]).fit().mixture
        for how in HOWS:
            into = Run(Path(folder, how))
            mixtures[how] = prepared(run, into, _source(x), executor, how).fit_in(into).mixture
    largest = best.score_samples(x).sum()
    return {who: float(largest - mixture.score_samples(x).sum()) for who, mixture in mixtures.items()}


def table_of(n_rows: int, spread: float, law: str, seed: int) -> npt.NDArray[np.float64]:
    """So many rows of a random mixture, and a tenth more that were appended."""
    rng = np.random.default_rng(seed)
    more, weights = n_rows // 10, rng.dirichlet(np.full(K, 5.0))
    means, a = rng.normal(scale=spread, size=(K, D)), rng.normal(size=(K, D, D + 2))
    covariances = np.einsum("kij,klj->kil", a, a) / (D + 2) + 0.2 * np.eye(D)
    drawn = Mixture(GaussianFull.from_dense(means, covariances, weights), FreeWeights(weights))
    x = drawn.sample(n_rows + more, rng)[0]
    x = x[rng.permutation(len(x))]
    if law == LAWS[1]:
        x[n_rows:] += 0.5 * x.std(0)
    if law == LAWS[2]:
        x[n_rows : n_rows + more // 2] = rng.normal(size=(more // 2, D)) + 6
    return x


def _source(x: npt.NDArray[np.float64]) -> AbstractSource:
    return as_source(x).with_block_rows(BLOCK_ROWS)


if __name__ == "__main__":
    main()
