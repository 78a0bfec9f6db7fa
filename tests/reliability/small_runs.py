"""The smallest states and runs that commits can be made of, for trial sets that make thousands."""

import functools
from pathlib import Path

import numpy as np

from streamgmm import checkpoint
from streamgmm.checkpoint import Run
from streamgmm.components.gaussian_diag import GaussianDiag
from streamgmm.mixture import Mixture
from streamgmm.state import Contender, FitState
from streamgmm.storage.local_folder import LocalFolder
from streamgmm.weights.free import FreeWeights

PLACE = Path("/survey/run")
RECORD = {"configuration": {"n_components": 2}, "source": {"n_rows": 10}}


@functools.cache
def small_state(passes, shift=0.0):
    """A state that tells its number of passes by its numbers as well."""
    mixture = Mixture(GaussianDiag(np.array([[passes + shift], [1.0]]), np.ones((2, 1))), FreeWeights(np.array([0.25, 0.75])))
    return FitState((Contender(0, mixture, tuple(float(i) for i in range(passes))),), passes, 10)


def same_state(a, b):
    """Bit for bit."""
    (arrays_a, record_a), (arrays_b, record_b) = a.to_record(), b.to_record()
    return record_a == record_b and all(arrays_a[name].tobytes() == arrays_b[name].tobytes() for name in arrays_a | arrays_b)


def run_on(disk, place=PLACE):
    """A run on a simulated disk."""
    return Run(LocalFolder(place, ("commits",), disk))


class remembered_commits:  # noqa: N801  (used as a context manager)
    """`unpack` and `pack` are pure functions: thousands of disk states hold the same few commits, and each is looked at once."""

    def __enter__(self):
        self._before = checkpoint.unpack, checkpoint.pack
        checkpoint.unpack = _remembering(checkpoint.unpack)
        checkpoint.pack = functools.cache(checkpoint.pack)

    def __exit__(self, *_):
        checkpoint.unpack, checkpoint.pack = self._before


def _remembering(unpack):
    seen = {}

    def look(raw, number):
        if (raw, number) not in seen:
            try:
                seen[raw, number] = unpack(raw, number), None
            except Exception as error:  # noqa: BLE001  (raised again, each time)
                seen[raw, number] = None, error
        commit, error = seen[raw, number]
        if error is not None:
            raise error
        return commit

    return look
