"""A mock star survey: rows drawn from a known mixture. Floor 1.

For `streamgmm quickstart`, examples and tests: proper motions, colour and magnitude of six populations, with a few values missing as they
are in catalogues. The mixture is given beside the rows, so that a fit can be judged. It is NOT a model of the Galaxy.

Rows come in blocks of 65,536, each from a generator of its own: a survey begins with the rows of every shorter one of the same seed, and
any block can be drawn alone. Only elementwise arithmetic is used, so the rows do not depend on a linear algebra library.
"""

__all__ = ["MockSurvey", "mock_survey"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from streamgmm.arrays import ArrayDD, ArrayK, ArrayKD, ArrayND, FloatArray
from streamgmm.errors import ConfigError

BLOCK_ROWS = 65_536
UNITS = {"pm_ra": "mas/yr", "pm_dec": "mas/yr", "color": "mag", "magnitude": "mag"}
# Survey-like: a moving star that is too faint in one band has no colour; a blended one has no proper motion.
NO_COLOR = 0.01
NO_PROPER_MOTION = 0.02


@dataclass(frozen=True)
class Population:
    """Stars of one kind. mean, deviation: (d), in the order of the columns. The other covariances are zero."""

    name: str
    weight: float
    mean: tuple[float, float, float, float]
    deviation: tuple[float, float, float, float]
    motion_correlation: float
    color_magnitude_correlation: float

    @property
    def covariance(self) -> ArrayDD:
        """Covariance (d d)."""
        correlation = np.eye(4)
        correlation[0, 1] = correlation[1, 0] = self.motion_correlation
        correlation[2, 3] = correlation[3, 2] = self.color_magnitude_correlation
        covariance: ArrayDD = correlation * np.outer(self.deviation, self.deviation)
        return covariance


POPULATIONS = (
    Population("disc dwarfs", 0.42, (-2.5, -4.5, 0.68, 11.4), (18.0, 16.0, 0.16, 0.70), -0.15, 0.45),
    Population("disc giants", 0.30, (-1.5, -4.0, 1.25, 11.0), (6.0, 6.5, 0.22, 0.90), -0.10, -0.20),
    Population("hot stars", 0.17, (-1.0, -3.0, 0.12, 10.3), (7.0, 6.5, 0.14, 0.95), -0.10, 0.30),
    Population("halo", 0.05, (-5.0, -16.0, 0.75, 11.8), (75.0, 65.0, 0.20, 0.55), -0.20, 0.20),
    Population("near cluster", 0.04, (20.0, -45.5, 0.70, 10.0), (1.6, 1.5, 0.30, 1.10), 0.05, 0.96),
    Population("far cluster", 0.02, (-36.0, -13.0, 0.55, 10.6), (1.1, 1.1, 0.22, 0.80), 0.05, 0.94),
)


@final
@dataclass(frozen=True)
class MockSurvey:
    """A survey of `n_rows` stars; `blocks()` draws them."""

    n_rows: int
    seed: int

    @property
    def units(self) -> Mapping[str, str]:
        """Columns, in order, and their units."""
        return UNITS

    @property
    def names(self) -> tuple[str, ...]:
        """Populations, in the order of the components."""
        return tuple(population.name for population in POPULATIONS)

    @property
    def weights(self) -> ArrayK:
        """True weights (K)."""
        return np.array([population.weight for population in POPULATIONS])

    @property
    def means(self) -> ArrayKD:
        """True means (K d)."""
        return np.array([population.mean for population in POPULATIONS])

    @property
    def covariances(self) -> FloatArray:
        """True covariances (K d d)."""
        return np.array([population.covariance for population in POPULATIONS])

    def blocks(self) -> Iterator[dict[str, FloatArray]]:
        """The rows in order, a dictionary of columns per block; NaN where a value is missing."""
        for index in range(-(-self.n_rows // BLOCK_ROWS)):
            yield self.block(index)

    def block(self, index: int) -> dict[str, FloatArray]:
        """Rows `index * 65536` and on."""
        rows = _draw(self.seed, index)[: self.n_rows - index * BLOCK_ROWS]
        return {name: np.ascontiguousarray(rows[:, j]) for j, name in enumerate(UNITS)}


def mock_survey(n_rows: int, seed: int = 0) -> MockSurvey:
    """A survey of `n_rows` stars. Raises ConfigError for counts or seeds that are not whole numbers >= 0."""
    for name, value in (("n_rows", n_rows), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name} must be a whole number >= 0, got {value!r}")
    return MockSurvey(n_rows, seed)


def _draw(seed: int, index: int) -> ArrayND:
    """One whole block of rows (n d)."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index,))))
    bounds = np.cumsum([population.weight for population in POPULATIONS])[:-1]
    which = np.searchsorted(bounds, generator.random(BLOCK_ROWS), side="right")
    normal = generator.standard_normal((BLOCK_ROWS, len(UNITS)))
    for first, name in ((0, "motion_correlation"), (2, "color_magnitude_correlation")):
        correlation = np.array([getattr(population, name) for population in POPULATIONS])[which]
        normal[:, first + 1] = correlation * normal[:, first] + np.sqrt(1.0 - correlation**2) * normal[:, first + 1]
    means = np.array([population.mean for population in POPULATIONS])
    deviations = np.array([population.deviation for population in POPULATIONS])
    rows: ArrayND = means[which] + deviations[which] * normal
    missing = generator.random((BLOCK_ROWS, 2))
    rows[missing[:, 0] < NO_PROPER_MOTION, :2] = np.nan
    rows[missing[:, 1] < NO_COLOR, 2] = np.nan
    return rows
