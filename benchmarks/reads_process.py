"""One fit of scikit-learn, with its defaults, in a process of its own that gives way to others.

    python -m benchmarks.reads_process ROWS.npy K N_INIT SEED

Prints one line of JSON: the mean log-likelihood at every look at all rows, of all starts one after the other; that of the mixture it
gives; whether it says that it converged; seconds.
"""

__all__ = ["main"]

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

NICER = 15


class Watched(GaussianMixture):
    """Keeps what every E-step finds."""

    looks: list[float]

    def _e_step(self, x: Any, **given: Any) -> Any:
        found = super()._e_step(x, **given)
        self.looks.append(float(found[0]))
        return found


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("k", type=int)
    parser.add_argument("n_init", type=int)
    parser.add_argument("seed", type=int)
    given = parser.parse_args()
    os.nice(max(0, NICER - os.nice(0)))
    x = np.load(given.rows)
    model = Watched(given.k, n_init=given.n_init, random_state=given.seed)
    model.looks = []
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x)
    seconds = time.perf_counter() - began
    said = {"looks": model.looks, "value": max(float(model.lower_bound_), model.looks[-1])}
    print(json.dumps({**said, "converged": bool(model.converged_), "seconds": seconds}))


if __name__ == "__main__":
    main()
