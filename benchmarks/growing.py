"""What updates of a grown table lack of a full refit, in nats over all rows: rows of the same law, shifted ones, a new cluster.

python -m benchmarks.growing [--tables 3] [--rows 200000]
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.components.gaussian_full import GaussianFull
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.mixture import Mixture
from streamgmm.sources import as_source
from streamgmm.updating import HOWS, prepared
from streamgmm.weights.free import FreeWeights

K, D, BLOCK_ROWS = 8, 4, 2048
SPREADS = {"apart": 3.0, "overlapping": 1.0}
LAWS = ("the same", "shifted by half a deviation", "half a new cluster")


def main(arguments=None):
    """Print a line for each kind of table: its law, and the median gap of the old model and of each update."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200_000)
    given = parser.parse_args(arguments)
    for name, spread in SPREADS.items():
        for law in LAWS:
            found = [gaps_of(given.rows, spread, law, seed) for seed in range(given.tables)]
            medians = {who: float(np.median([one[who] for one in found])) for who in found[0]}
            listed = ", ".join(f"{who} {value:,.2f}" for who, value in medians.items())
            sys.stdout.write(f"components {name}, appended rows {law}: {listed}\n")


def gaps_of(n_rows, spread, law, seed):
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


def table_of(n_rows, spread, law, seed):
    """So many rows of a random mixture, and a tenth more that were appended."""
    rng = np.random.default_rng(seed)
    more = n_rows // 10
    a = rng.normal(size=(K, D, D + 2))
    covariances = np.einsum("kij,klj->kil", a, a) / (D + 2) + 0.2 * np.eye(D)
    weights = rng.dirichlet(np.full(K, 5.0))
    drawn = Mixture(GaussianFull.from_dense(rng.normal(scale=spread, size=(K, D)), covariances, weights), FreeWeights(weights))
    x = rng.permutation(drawn.sample(n_rows + more, rng)[0])
    if law == LAWS[1]:
        x[n_rows:] += 0.5 * x.std(0)
    if law == LAWS[2]:
        x[n_rows : n_rows + more // 2] = rng.normal(size=(more // 2, D)) + 6
    return x


def _source(x):
    return as_source(x).with_block_rows(BLOCK_ROWS)


if __name__ == "__main__":
    main()
