"""What the sample of rows tells about the table before the first pass. Floor 6.

Columns short of digits, rows that repeat, numbers that stand for missing values, angles on both sides of their seam.
"""

__all__ = ["cautions"]

from collections.abc import Iterator
from typing import Any

import numpy as np

from streamgmm.arrays import ArrayN
from streamgmm.events import Event
from streamgmm.initialisers._sample import Sample
from streamgmm.sources.base import AbstractSource

PLACEHOLDER_SHARE, PLACEHOLDER_ROWS = 0.01, 10  # a value at an end of its column in fewer rows is an outlier
FEWEST_OTHERS = 16  # distinct values; a column of fewer is a class or a flag
SEAM = 5.0  # degrees within which rows count as lying at an end of [0, 360)
FEWEST_STEPS = 16  # a spread of fewer steps of the dtype at the column's mean leaves too few digits


def cautions(sample: Sample, source: AbstractSource, n_components: int) -> Iterator[Event]:
    """Events of kind "warning"; their detail `about` is "precision", "distinct_rows", "placeholder" or "seam"."""
    yield from _short_of_digits(sample, source)
    for name, column in zip(source.feature_names, sample.x.T, strict=True):
        yield from _placeholders(name, column)
        yield from _seam(name, column)
    distinct = _distinct_rows(sample.x, n_components)
    if sample.complete and distinct < n_components <= len(sample.x):
        message = f"n_components={n_components}, but the table has only {distinct} distinct row(s): some components stay empty or repeat"
        yield Event("warning", message, {"about": "distinct_rows", "distinct": distinct, "n_components": n_components})


def _short_of_digits(sample: Sample, source: AbstractSource) -> Iterator[Event]:
    if source.dtype.kind != "f":
        return
    spread = np.sqrt(np.average((sample.x - sample.mean) ** 2, axis=0, weights=sample.weight))
    steps = spread / _step(np.abs(sample.x).max(axis=0), source.dtype)
    for j in np.flatnonzero((steps > 0) & (steps < FEWEST_STEPS)):
        name = source.feature_names[j]
        message = (
            f"column {name!r} is {source.dtype} with a standard deviation of {spread[j]:.3g} about {sample.mean[j]:.9g}: only"
            f" {steps[j]:.2g} steps (ulp) of its dtype. Store it as float64, or as its offset from a constant."
        )
        yield Event("warning", message, {"about": "precision", "column": name, "steps": float(steps[j])})


def _placeholders(name: str, column: ArrayN) -> Iterator[Event]:
    """A value at an end of its column that many rows share, farther from all others than these are from each other."""
    for value in {float(column.min()), float(column.max())}:
        same = column == value
        rows, share = int(np.count_nonzero(same)), float(same.mean())
        if rows < PLACEHOLDER_ROWS or share < PLACEHOLDER_SHARE or rows == len(column):
            continue
        others = column[~same]
        if np.abs(others - value).min() > np.ptp(others) and len(np.unique(others)) >= FEWEST_OTHERS:
            message = (
                f"column {name!r} holds {value:.9g} in {share:.1%} of its rows, far from all its other values: where that stands for a"
                " missing value, store NaN instead, and choose missing='skip'"
            )
            yield Event("warning", message, {"about": "placeholder", "column": name, "value": value, "share": share})


def _seam(name: str, column: ArrayN) -> Iterator[Event]:
    if column.min() < 0 or column.max() > 360 or min((column < SEAM).mean(), (column > 360 - SEAM).mean()) < PLACEHOLDER_SHARE / 10:
        return
    message = (
        f"column {name!r} lies at both ends of [0, 360): where it is an angle, rows on both sides of 0 are neighbours in the sky and far"
        " apart for a Gaussian; turn the origin away from the rows, or use Cartesian coordinates"
    )
    yield Event("warning", message, {"about": "seam", "column": name})


def _step(values: Any, dtype: np.dtype[Any]) -> Any:
    """Distance of neighbouring numbers of this dtype at these values, in float64."""
    return np.spacing(values.astype(dtype.newbyteorder("="))).astype(np.float64)


def _distinct_rows(x: Any, enough: int) -> int:
    """Distinct rows, counted until there are `enough`."""
    length = 2 * enough
    while True:
        found = len(np.unique(x[:length], axis=0))
        if found >= enough or length >= len(x):
            return found
        length *= 8
