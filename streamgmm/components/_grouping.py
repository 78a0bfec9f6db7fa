"""Which components may be summed together about one centre, and in which order the kernel takes them. Floor 1.

Second moments about a centre c other than the mean m lose digits when they are brought over to m: about log10(1 + |W (c - m)|^2) of
them, W the whitening factor. Components nearer than NEAR lose less than two and a half; the others are summed about their own means.
"""

__all__ = ["Grouping", "grouping_of", "ordered_factors"]

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayD, ArrayKD, FloatArray
from streamgmm.kernels.features import GROUP, MOST, feature_count

NEAR = 256.0  # squared distance of a mean from the centre, in the component's own standard deviations


class Grouping(NamedTuple):
    """order (K): near components first, None where that is how they are; n_groups of GROUP each are near; n_features about centre (D)."""

    order: npt.NDArray[np.intp] | None
    centre: ArrayD
    n_groups: int
    n_features: int

    def ordered(self, array: FloatArray) -> FloatArray:
        """An array over components, near ones first."""
        return array if self.order is None else array[self.order]

    def back(self, array: FloatArray) -> FloatArray:
        """An array over components, near ones first, in their own order again."""
        if self.order is None:
            return array
        own = np.empty_like(array)
        own[self.order] = array
        return own


def grouping_of(means: ArrayKD, whitening: FloatArray, *, dense: bool) -> Grouping:
    """The centre is the median of the means: a stray component does not move it."""
    d = means.shape[1]
    n_features = feature_count(d, dense=dense)
    centre = np.median(means, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        offset = means - centre
        z = np.einsum("kji,ki->kj", np.broadcast_to(whitening, (len(means), d, d)), offset) if dense else offset * whitening
        near = np.einsum("kj,kj->k", z, z) < NEAR
    order = None if near.all() else np.argsort(~near, kind="stable")
    n_groups = int(near.sum()) // GROUP if n_features <= MOST else 0
    return Grouping(order, centre, n_groups, n_features)


def ordered_factors(factors: Any, by: Grouping) -> Any:
    """A kernel's factors, near components first; what all components share stays."""
    return type(factors)(*(array if len(array) == 1 else by.ordered(array) for array in factors))
