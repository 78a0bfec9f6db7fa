"""What the sample of rows tells about the table before the first pass: columns short of digits, rows that repeat. Floor 6."""

__all__ = ["cautions"]

from collections.abc import Iterator
from typing import Any

import numpy as np

from streamgmm.events import Event
from streamgmm.initialisers._sample import Sample
from streamgmm.sources.base import AbstractSource

FEWEST_STEPS = 16  # a spread of fewer steps of the dtype at the column's mean leaves too few digits


def cautions(sample: Sample, source: AbstractSource, n_components: int) -> Iterator[Event]:
    """Events of kind "warning"; their detail `about` is "precision" or "distinct_rows"."""
    yield from _short_of_digits(sample, source)
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
