"""The E-step in float32 arithmetic: what the kernel is given, what comes back, and where it is not to be used. Floor 1.

Rows are taken about the median of the means, in units (powers of two, hence exact) of the mixture's extent along each column; that is
done in float64, so that neither offsets nor units cost digits. Everything else within a tile of rows is float32. What is left is the
rounding of a row's distance from that median, 2^-24 of it. Where that could be more than 2^-12 of a standard deviation of some
component (one far away or very narrow, or columns correlated to four digits), `single_of` gives None; where a row lies farther away
than 2^30 extents, `accumulate_single` does. Such rows are for float64 arithmetic.
"""

__all__ = ["Single", "accumulate_single", "single_of"]

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayD, ArrayK, ArrayKD, ArrayN, ArrayND, FloatArray
from streamgmm.components._grouping import Grouping
from streamgmm.kernels import e_step as kernels
from streamgmm.kernels import reach
from streamgmm.kernels.dispatch import dims_of

STRETCH = 2.0**12  # of a row's rounding, from units of its distance to units of standard deviations
LARGEST = 2.0**60  # of numbers given to the kernel: far from overflow when squared
WEIGHTS = (2.0**-20, 2.0**20)  # where the largest weight of rows is within these, weights are taken as they are


class Single(NamedTuple):
    """A family's parameters as the kernel takes them, in float32 and in the order of the grouping.

    means (K D) and factors: of rows as (x - origin) * scale. moved (K D): these means in the columns' own units, less the true ones.
    """

    means: npt.NDArray[np.float32]
    factors: Any
    origin: ArrayD
    scale: ArrayD
    moved: ArrayKD


class Sums(NamedTuple):
    """log_likelihood, and moments about the kernel's means in the order of the grouping: n (K), first (K D), second."""

    log_likelihood: float
    n: ArrayK
    first: ArrayKD
    second: FloatArray


def single_of(means: ArrayKD, deviations: FloatArray, whitening: FloatArray, factors: Any, by: Grouping) -> Single | None:
    """From means, standard deviations of columns (1 or K, D or 1), whitening factors and what the kernel wants of them; all ordered."""
    offset = means - by.centre
    with np.errstate(all="ignore"):  # what overflows is refused below
        extent = np.maximum(deviations, np.abs(offset)).max(axis=0)
        if deviations.shape[1] < means.shape[1]:  # one factor for all columns: they keep one unit
            extent[:] = extent.max()
        scale = np.ldexp(1.0, -np.frexp(extent)[1])
        size = np.abs(offset) + deviations
        stretch = np.abs(whitening) @ size[:, :, None] if whitening.ndim == 3 else whitening * size
        single = (offset * scale).astype(np.float32)
        scaled = [(array / scale[_columns(array, len(scale))[1]]).astype(np.float32) for array in factors]
        moved = single / scale - offset
        usable = (stretch <= STRETCH).all() and np.isfinite(moved).all() and all((np.abs(a) <= LARGEST).all() for a in (single, *scaled))
    return Single(single, type(factors)(*scaled), by.centre, scale, moved) if usable else None


def _columns(array: FloatArray, d: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The columns (j, i) that the entries of a packed triangle, of a diagonal or of a number for all columns belong to."""
    width = array.shape[1]
    if width > d:
        return np.tril_indices(d)
    return np.arange(width), np.arange(width)


def accumulate_single(
    single: Single, by: Grouping, x: ArrayND, sample_weight: ArrayN, constants: ArrayK, second_shape: tuple[int, int]
) -> Sums | None:
    """The sums of a block's rows; None where float32 arithmetic does not do for them."""
    k, d = single.means.shape
    shift = float(constants.max())
    unit = _unit(sample_weight)
    weight = sample_weight if unit == 1.0 else sample_weight / unit
    n, first, second = np.zeros(k), np.zeros((k, d)), np.zeros(second_shape)
    parameters = single.means, single.factors, (constants - shift).astype(np.float32), dims_of(d)
    grouped = False, reach.pays(k), np.zeros(d), by.n_groups, by.n_features
    likelihood = float(kernels.accumulate(x, weight, *parameters, *grouped, single.origin, single.scale, n, first, second))
    if not np.isfinite(likelihood):
        return None
    rows, columns = _columns(second, d)
    likelihood = (likelihood + shift * float(weight.sum())) * unit
    return Sums(likelihood, n * unit, first / single.scale * unit, second / single.scale[rows] / single.scale[columns] * unit)


def _unit(sample_weight: ArrayN) -> float:
    """A power of two that weights of extreme size are given in."""
    largest = float(sample_weight.max(initial=0.0))
    return 1.0 if largest == 0.0 or WEIGHTS[0] <= largest <= WEIGHTS[1] else float(np.ldexp(1.0, np.frexp(largest)[1]))
