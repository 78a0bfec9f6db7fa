"""Parameters that the user gives: where a fit starts, or a mixture that is known. Checked, and named as they were given. Floor 4.

scikit-learn's weights_init, means_init and precisions_init: all three are a start of their own, fewer replace what an initialiser
made of the rows.
"""

__all__ = ["GivenStart", "digest_of", "mixture_of"]

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamgmm.arrays import ArrayK, ArrayKD, FloatArray
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.errors import ConfigError
from streamgmm.mixture import Mixture
from streamgmm.weights.free import FreeWeights

Family = type[AbstractGaussian]


@dataclass(frozen=True, eq=False)
class GivenStart:
    """weights (K), means (K D) and precisions (inverse covariances in the family's own shape), each None where not given."""

    family: Family
    weights: ArrayK | None = None
    means: ArrayKD | None = None
    precisions: FloatArray | None = None

    @classmethod
    def checked(cls, family: Family, n_components: int, n_features: int, weights: Any, means: Any, precisions: Any) -> "GivenStart":
        """From what the user gave. Raises ConfigError."""
        return cls(
            family,
            None if weights is None else _weights("weights_init", weights, n_components),
            None if means is None else _means("means_init", means, n_components, n_features),
            None if precisions is None else _matrices("precisions_init", precisions, family, n_components, n_features),
        )

    @property
    def mixture(self) -> Mixture | None:
        """The start, where all three are given."""
        if self.weights is None or self.means is None or self.precisions is None:
            return None
        return Mixture(self.family.from_precisions(self.means, self.precisions), FreeWeights(self.weights))

    @property
    def digest(self) -> str:
        """SHA-256 of what is given, empty where nothing is: tells a run whether it was started from something else."""
        given = {name: value for name in ("weights", "means", "precisions") if (value := getattr(self, name)) is not None}
        hashed = hashlib.sha256(b"".join(name.encode() + value.tobytes() for name, value in given.items()))
        return hashed.hexdigest() if given else ""

    def adjust(self, start: Mixture) -> Mixture:
        """A start with what is given in place of its own."""
        components = start.components
        assert isinstance(components, AbstractGaussian)
        means = components.means if self.means is None else self.means
        if self.precisions is None:
            components = self.family(means, components.covariances)
        else:
            components = self.family.from_precisions(means, self.precisions)
        return Mixture(components, start.weights if self.weights is None else FreeWeights(self.weights))


def digest_of(mixture: Mixture) -> str:
    """SHA-256 of a whole mixture that a fit goes on from."""
    arrays = sorted(mixture.to_arrays().items())
    return hashlib.sha256(b"".join(name.encode() + np.ascontiguousarray(value).tobytes() for name, value in arrays)).hexdigest()


def mixture_of(family: Family, weights: Any, means: Any, covariances: Any) -> Mixture:
    """A mixture with these parameters. Raises ConfigError."""
    centres = _numbers("means", means)
    if centres.ndim != 2 or 0 in centres.shape:
        raise ConfigError(f"means must have shape (n_components, n_features), got {centres.shape}")
    k, d = centres.shape
    checked = _matrices("covariances", covariances, family, k, d)
    return Mixture(family(_means("means", means, k, d), checked), FreeWeights(_weights("weights", weights, k)))


def _numbers(name: str, value: Any) -> FloatArray:
    try:
        return np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} must be an array of numbers: {error}") from None


def _shaped(name: str, value: Any, shape: tuple[int, ...], meaning: str) -> FloatArray:
    array = _numbers(name, value)
    if array.shape != shape:
        raise ConfigError(f"{name} must have shape {shape} {meaning}, got {array.shape}")
    return array


def _weights(name: str, value: Any, k: int) -> ArrayK:
    weights = _shaped(name, value, (k,), "(n_components,)")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise ConfigError(f"{name} must be finite and >= 0: weight {bad[0]} is {weights[bad[0]]:g}")
    if abs(weights.sum() - 1) > 1e-6:
        raise ConfigError(f"{name} must sum to 1, got a sum of {weights.sum():.9g}; divide the weights by their sum")
    return weights


def _means(name: str, value: Any, k: int, d: int) -> ArrayKD:
    means = _shaped(name, value, (k, d), "(n_components, n_features)")
    bad = np.argwhere(~np.isfinite(means))
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        raise ConfigError(f"{name} must be finite: entry {first} is {means[first]}")
    return means


def _matrices(name: str, value: Any, family: Family, k: int, d: int) -> FloatArray:
    """Covariances or precisions in the family's own shape: finite, symmetric, positive definite."""
    shape = family.covariance_shape(k, d)
    array = _shaped(name, value, shape, f"for covariance type {family.name.removeprefix('gaussian_')!r}")
    shared, dense = family.structure.shared, family.structure.dense
    for number, matrix in enumerate(array.reshape((1 if shared else k, d, d) if dense else (1 if shared else k, -1))):
        _check_positive(f"{name} of {'all components' if shared else f'component {number}'}", matrix)
    return array


def _check_positive(whose: str, matrix: FloatArray) -> None:
    if not np.isfinite(matrix).all():
        raise ConfigError(f"{whose} must be finite")
    if matrix.ndim == 2 and not np.allclose(matrix, matrix.T, atol=1e-8 * np.abs(matrix).max()):
        raise ConfigError(f"{whose} must be symmetric: it differs from its transpose by up to {np.abs(matrix - matrix.T).max():.3g}")
    smallest = float(np.linalg.eigvalsh(matrix)[0] if matrix.ndim == 2 else matrix.min())
    if smallest <= 0:
        raise ConfigError(f"{whose} must be positive definite: its smallest eigenvalue is {smallest:.3g}")
