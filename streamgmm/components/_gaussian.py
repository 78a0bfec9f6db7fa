"""What all Gaussian families share: moments about the current means, the M-step, sampling. Floor 1.

The families differ in three respects only, declared as a Structure: whether columns are correlated (dense), whether all
components share one covariance (shared), whether all columns share one variance (isotropic). M-step (algorithms of Dempster,
Laird & Rubin 1977), moments n, a, A about c = the current mean: m = c + a/n, V = (A - a a^T / n) / n, then the structure's average.
"""

__all__ = ["AbstractGaussian", "GaussianMoments", "Structure"]

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayD, ArrayK, ArrayKD, ArrayN, ArrayND, ArrayNK, FloatArray
from streamgmm.components._grouping import Grouping, grouping_of, ordered_factors
from streamgmm.components._single import Single, accumulate_single, single_of
from streamgmm.components.base import AbstractComponents
from streamgmm.errors import ConfigError
from streamgmm.kernels import e_step as kernels
from streamgmm.kernels import reach
from streamgmm.kernels.dispatch import dims_of
from streamgmm.linalg import (
    cholesky,
    eigh,
    gram,
    invert_lower,
    largest_eigenvalues,
    log_det_lower,
    pack,
    packed_size,
    times_transposed,
    unpack_symmetric,
)
from streamgmm.regularisation import RESOLUTION, Fault, Regularisation, all_sound, lift_dense, lift_diagonal
from streamgmm.statistics import Statistics, reference, summed

LOG_2PI = math.log(2 * math.pi)
ROUNDING = 8 * np.finfo(np.float64).eps  # of the second moment about the old mean: what is left of it about the new one may be noise
ASYMMETRY = 1e-8  # of the columns' standard deviations: beyond rounding, hence a mistake
MATRICES = {"labels": kernels.LABELS, "": kernels.SCORES, "responsibilities": kernels.RESPONSIBILITIES, "log_joint": kernels.LOG_JOINT}


class Structure(NamedTuple):
    """dense: correlated columns; shared: one covariance for all components; isotropic: one variance for all columns."""

    dense: bool
    shared: bool
    isotropic: bool

    def second_shape(self, k: int, d: int) -> tuple[int, int]:
        """Shape of the second moments."""
        columns = packed_size(d) if self.dense else 1 if self.isotropic else d
        return (1 if self.shared else k, columns)

    def n_parameters(self, k: int, d: int) -> int:
        """Means and the free entries of the covariances."""
        return k * d + math.prod(self.second_shape(k, d))

    def reduce(self, per_component: FloatArray) -> FloatArray:
        """Second moments (K P) or (K D) summed to this structure's shape."""
        if self.shared:
            per_component = per_component.sum(axis=0, keepdims=True)
        return per_component.sum(axis=1, keepdims=True) if self.isotropic else per_component

    def products(self, a: ArrayKD, b: ArrayKD) -> FloatArray:
        """a b^T + b a^T, halved, per component: packed (K P) or the diagonal (K D)."""
        if not self.dense:
            return a * b
        outer = a[:, :, None] * b[:, None, :]
        return pack((outer + outer.transpose(0, 2, 1)) / 2)


@dataclass(frozen=True, eq=False)
class GaussianMoments(Statistics):
    """n (K), first (K D) and second moments, about `centre` (K D); second as the structure says."""

    centre: ArrayKD = reference()
    n: ArrayK = summed()
    first: ArrayKD = summed()
    second: FloatArray = summed()

    def rebase(self, centre: ArrayKD, structure: Structure) -> "GaussianMoments":
        """The same rows about another centre, exactly: a' = a + n e, A' = A + a e^T + e a^T + n e e^T with e = c - c'."""
        return self.moved(self.centre - centre, centre, structure)

    def moved(self, e: ArrayKD, centre: ArrayKD, structure: Structure) -> "GaussianMoments":
        """Those about `centre` of moments that were taken about `centre` + e."""
        n = self.n[:, None]
        change = structure.products(2 * self.first + n * e, e)
        return GaussianMoments(centre, self.n, self.first + n * e, self.second + structure.reduce(change))


def _refuse_asymmetry(covariances: FloatArray) -> None:
    sd = np.sqrt(np.abs(np.einsum("kii->ki", covariances)))
    difference = np.abs(covariances - covariances.transpose(0, 2, 1))
    symmetric = (difference <= ASYMMETRY * sd[:, :, None] * sd[:, None, :]).all(axis=(1, 2))
    if not symmetric.all():
        raise ConfigError(f"component {int(np.argmin(symmetric))}: its covariance is not symmetric; pass (V + V.T) / 2 if that is meant")


@dataclass(frozen=True, eq=False)
class AbstractGaussian(AbstractComponents):
    """K Gaussians: means (K D), covariances in the family's own shape (scikit-learn's)."""

    means: ArrayKD
    covariances: FloatArray

    structure: ClassVar[Structure]
    statistics_type = GaussianMoments

    def __post_init__(self) -> None:
        k, d = self.means.shape
        expected = self.covariance_shape(k, d)
        if self.covariances.shape != expected:
            raise ConfigError(f"covariances of type {self.name!r} must have shape {expected}, got {self.covariances.shape}")
        for name, values in (("mean", self.means), ("covariance", self._stacked)):
            finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            if not finite.all():
                raise ConfigError(f"component {int(np.argmin(finite))}: its {name} is not finite")
        if self.structure.dense:
            _refuse_asymmetry(self._stacked)
        _ = self.whitening  # refuses a covariance that is not positive definite

    @staticmethod
    @abstractmethod
    def covariance_shape(k: int, d: int) -> tuple[int, ...]:
        """Shape of `covariances`."""

    @property
    def n_components(self) -> int:
        """K."""
        return int(self.means.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.means.shape[1])

    @property
    def n_parameters(self) -> int:
        """Means and the free entries of the covariances."""
        return self.structure.n_parameters(self.n_components, self.n_features)

    # ---- densities ---------------------------------------------------------------------------------------------------

    @cached_property
    def _stacked(self) -> FloatArray:
        """Covariances as (1 or K, D, D) if dense, else variances (1 or K, D or 1)."""
        d = self.n_features
        if self.structure.dense:
            return self.covariances.reshape(-1, d, d)
        return self.covariances.reshape(-1, 1 if self.structure.isotropic else d)

    @cached_property
    def whitening(self) -> FloatArray:
        """W with W V W^T = 1: lower triangular (1 or K, D, D) if dense, else inverse standard deviations (1 or K, D or 1)."""
        if self.structure.dense:
            return invert_lower(cholesky(self._stacked))
        cholesky(self._stacked[:, :, None] * np.eye(self._stacked.shape[1]))
        return 1 / np.sqrt(self._stacked)

    @cached_property
    def _log_det_whitening(self) -> ArrayK:
        if self.structure.dense:
            return log_det_lower(self.whitening)
        repeats = self.n_features if self.structure.isotropic else 1
        result: ArrayK = repeats * np.log(self.whitening).sum(axis=1)
        return result

    @abstractmethod
    def factors(self) -> Any:
        """What the family's kernel wants of `whitening`."""

    def _constants(self, log_weights: ArrayK) -> ArrayK:
        return np.ascontiguousarray(log_weights - 0.5 * self.n_features * LOG_2PI + self._log_det_whitening)

    @cached_property
    def _grouping(self) -> Grouping:
        return grouping_of(self.means, self.whitening, dense=self.structure.dense)

    @cached_property
    def _parameters(self) -> tuple[Any, ...]:
        """Means and factors in the kernel's order, and the number of columns: the same for all blocks of a pass."""
        return self._grouping.ordered(self.means), ordered_factors(self.factors(), self._grouping), dims_of(self.n_features)

    @cached_property
    def _single(self) -> Single | None:
        by, dense = self._grouping, self.structure.dense
        whitening, variances = (a if len(a) == 1 else by.ordered(a) for a in (self.whitening, self._stacked))
        deviations = np.sqrt(np.einsum("kii->ki", variances) if dense else variances)
        return single_of(by.ordered(self.means), deviations, whitening, ordered_factors(self.factors(), by), by)

    def _accumulate_single(self, x: ArrayND, sample_weight: ArrayN, log_weights: ArrayK) -> tuple[float, GaussianMoments] | None:
        by, single = self._grouping, self._single
        if single is None:
            return None
        shape = self.structure.second_shape(*self.means.shape)
        sums = accumulate_single(single, by, x, sample_weight, by.ordered(self._constants(log_weights)), shape)
        if sums is None:
            return None
        second = sums.second if self.structure.shared else by.back(sums.second)
        about_rounded = GaussianMoments(self.means, by.back(sums.n), by.back(sums.first), second)
        return sums.log_likelihood, about_rounded.moved(by.back(single.moved), self.means, self.structure)

    def accumulate(
        self, x: ArrayND, sample_weight: ArrayN, log_weights: ArrayK, *, hard: bool, arithmetic: str = "float64"
    ) -> tuple[float, GaussianMoments]:
        """See the base class."""
        found = self._accumulate_single(x, sample_weight, log_weights) if arithmetic == "float32" and not hard else None
        return self._accumulate(x, sample_weight, log_weights, hard) if found is None else found

    def _accumulate(self, x: ArrayND, sample_weight: ArrayN, log_weights: ArrayK, hard: bool) -> tuple[float, GaussianMoments]:
        k, d = self.means.shape
        by = self._grouping
        n_groups = 0 if hard else by.n_groups  # the covariances decide nothing in hard assignments, and must not change a bit
        n, first, second = np.zeros(k), np.zeros((k, d)), np.zeros(self.structure.second_shape(k, d))
        means, factors, dims = self._parameters
        constants = by.ordered(self._constants(log_weights))
        grouped = hard, reach.pays(k), by.centre, n_groups, by.n_features
        likelihood = kernels.accumulate(x, sample_weight, means, factors, constants, dims, *grouped, by.centre, by.centre, n, first, second)
        second = second if self.structure.shared else by.back(second)
        return float(likelihood), GaussianMoments(self.means, by.back(n), by.back(first), second)

    def evaluate(self, x: ArrayND, log_weights: ArrayK, matrix: str = "") -> tuple[ArrayN, npt.NDArray[np.int32], ArrayNK | None]:
        """See the base class."""
        k, d = self.means.shape
        score, label = np.empty(len(x)), np.empty(len(x), np.int32)
        out = np.empty((len(x), k) if matrix else (0, 0))
        parameters = self.means, self.factors(), self._constants(log_weights), dims_of(d), reach.pays(k)
        kernels.evaluate(x, *parameters, MATRICES[matrix], score, label, out)
        return score, label, out if matrix else None

    # ---- M-step ------------------------------------------------------------------------------------------------------

    def counts(self, statistics: Statistics) -> ArrayK:
        """Sums of weighted responsibilities (K)."""
        return cast(GaussianMoments, statistics).n

    def maximise(self, statistics: Statistics, regularisation: Regularisation) -> tuple[Self, tuple[Fault, ...]]:
        """See the base class. A component below the occupancy floor keeps its mean and covariance."""
        moments = cast(GaussianMoments, statistics)
        total = float(moments.n.sum())
        least = max(regularisation.occupancy_floor, 10 * np.finfo(np.float64).eps * total)
        alive = moments.n > least
        n = np.where(alive, moments.n, 1.0)
        shift = np.where(alive[:, None], moments.first / n[:, None], 0.0)
        means = self.means + shift
        second = moments.second - self.structure.reduce(self.structure.products(moments.first * alive[:, None], shift))
        covariances = self._average(self._without_rounding(second, moments.second), n, total)
        if not self.structure.shared:
            covariances[~alive] = self._stacked[~alive]
        covariances = self._ridge(covariances, regularisation.reg_covar, alive)
        scale = self._column_variances(moments)
        covariances, thin = self._lift(covariances, means, scale, regularisation.variance_floor)
        empty = (Fault("occupancy", int(k), float(moments.n[k]), least) for k in np.flatnonzero(~alive))
        return self._rebuild(means, covariances), (*empty, *thin)

    def _without_rounding(self, second: FloatArray, about_old_means: FloatArray) -> FloatArray:
        """Columns of which nothing but rounding is left about the new means (a constant column, say) have variance 0 exactly."""
        d = self.n_features
        if not self.structure.dense:
            return np.where(second <= ROUNDING * about_old_means, 0.0, second)
        diagonal = np.cumsum(np.arange(1, d + 1)) - 1
        kept = (second[:, diagonal] > ROUNDING * about_old_means[:, diagonal]).astype(np.float64)
        return second * pack(kept[:, :, None] * kept[:, None, :])

    def _average(self, second: FloatArray, n: ArrayK, total: float) -> FloatArray:
        """Second moments about the new means, divided by their weight: stacked covariances or variances."""
        d = self.n_features
        weight = np.array([[total]]) if self.structure.shared else n[:, None]
        average = second / (weight * d if self.structure.isotropic else weight)
        return unpack_symmetric(average, d) if self.structure.dense else average

    def _ridge(self, covariances: FloatArray, reg_covar: float, alive: npt.NDArray[np.bool_]) -> FloatArray:
        ridge = reg_covar * (np.eye(self.n_features) if self.structure.dense else 1.0)
        if self.structure.shared:
            return covariances + ridge
        added: FloatArray = covariances + np.where(alive.reshape(-1, *[1] * (covariances.ndim - 1)), ridge, 0.0)
        return added

    def column_moments(self, statistics: Statistics) -> tuple[ArrayD, ArrayD]:
        """See the base class."""
        moments = cast(GaussianMoments, statistics)
        mean = (moments.first + moments.n[:, None] * moments.centre).sum(axis=0) / moments.n.sum()
        return mean, np.sqrt(self._column_variances(moments))

    def _column_variances(self, moments: GaussianMoments) -> ArrayD:
        """Variance of each column over all rows (D), from the statistics; for isotropic ones their mean, repeated."""
        total, d = float(moments.n.sum()), self.n_features
        mean = (moments.first + moments.n[:, None] * moments.centre).sum(axis=0) / total
        offset = moments.centre - mean
        between = (2 * moments.first * offset + moments.n[:, None] * offset**2).sum(axis=0)
        within = moments.second.sum(axis=0)
        if self.structure.dense:
            within = within[np.cumsum(np.arange(1, d + 1)) - 1]
        variances = (within + between) / total
        if self.structure.isotropic:
            variances = np.full(d, (within.sum() + between.sum()) / total / d)
        constant = variances <= RESOLUTION * mean**2
        fallback = np.where(mean**2 >= np.finfo(np.float64).tiny, mean**2, 1.0)
        return np.where(constant, fallback, variances)

    def _lift(self, covariances: FloatArray, means: ArrayKD, scale: ArrayD, floor: float | None) -> tuple[FloatArray, tuple[Fault, ...]]:
        faults = []
        centres = np.abs(means).max(axis=0, keepdims=True) if self.structure.shared else means
        if self.structure.dense and all_sound(covariances, centres, scale, floor):
            return covariances, ()
        if self.structure.isotropic:
            centres = np.abs(centres).max(axis=1, keepdims=True)
        unit = scale[: centres.shape[1]]
        for k, (covariance, mean) in enumerate(zip(covariances, centres, strict=True)):
            lift = lift_dense if self.structure.dense else lift_diagonal
            lifted, smallest = lift(covariance, mean, unit, floor)
            if not np.array_equal(lifted, covariance):
                column = -1 if self.structure.isotropic else _most_lifted(covariance, lifted, unit)
                covariances[k] = lifted
                faults.append(Fault("variance", -1 if self.structure.shared else k, smallest, floor or 0.0, column))
        return covariances, tuple(faults)

    def _rebuild(self, means: ArrayKD, stacked: FloatArray) -> Self:
        shape = self.covariance_shape(*means.shape)
        return type(self)(np.ascontiguousarray(means), np.ascontiguousarray(stacked).reshape(shape))

    # ---- other verbs -------------------------------------------------------------------------------------------------

    def split(self, donor: int, receiver: int) -> Self:
        """Halves at m +- 0.7 sqrt(l) u with V - 0.49 l u u^T, l and u the largest eigenpair: the pair keeps mean and covariance."""
        means, stacked = self.means.copy(), self._stacked.copy()
        row = 0 if self.structure.shared else donor
        value, direction, removed = self._largest_axis(row)
        step = 0.7 * math.sqrt(value) * direction
        means[receiver], means[donor] = self.means[donor] - step, self.means[donor] + step
        if not self.structure.shared:
            stacked[donor] = stacked[receiver] = self._stacked[donor] - 0.49 * removed
        return self._rebuild(means, stacked)

    def _largest_axis(self, row: int) -> tuple[float, ArrayD, FloatArray]:
        """Largest variance along any axis, its direction (D), and what it contributes to the stacked covariance."""
        covariance, d = self._stacked[row], self.n_features
        if self.structure.dense:
            values, vectors = eigh(covariance)
            return float(values[-1]), vectors[:, -1], values[-1] * np.outer(vectors[:, -1], vectors[:, -1])
        axis = int(np.argmax(covariance)) if not self.structure.isotropic else 0
        direction = np.eye(d)[axis]
        value = float(covariance[axis])
        return value, direction, np.array([value / d]) if self.structure.isotropic else value * direction

    def select(self, kept: Sequence[int]) -> Self:
        """Only these components."""
        index = np.asarray(kept, dtype=np.intp)
        return self._rebuild(self.means[index], self._stacked if self.structure.shared else self._stacked[index])

    def extent(self) -> ArrayK:
        """Largest standard deviation (K) along any direction."""
        largest = largest_eigenvalues(self._stacked) if self.structure.dense else self._stacked.max(axis=1)
        result: ArrayK = np.sqrt(np.broadcast_to(largest, (self.n_components,)))
        return result

    def sample(self, labels: npt.NDArray[np.integer[Any]], rng: np.random.Generator) -> ArrayND:
        """One row per label."""
        noise = rng.standard_normal((len(labels), self.n_features))
        rows = np.zeros(len(labels), np.intp) if self.structure.shared else labels
        if not self.structure.dense:
            drawn: ArrayND = self.means[labels] + noise * np.sqrt(self._stacked)[rows]
            return drawn
        factors = cholesky(self._stacked)
        out = np.empty_like(noise)
        for k in range(self.n_components):
            mine = labels == k
            out[mine] = self.means[k] + times_transposed(noise[mine], factors[0 if self.structure.shared else k])
        return out

    def precision_cholesky(self) -> FloatArray:
        """scikit-learn's `precisions_cholesky_`: upper triangular W^T, in the family's own shape."""
        upper = self.whitening.transpose(0, 2, 1) if self.structure.dense else self.whitening
        return np.ascontiguousarray(upper).reshape(self.covariances.shape)

    def precisions(self) -> FloatArray:
        """Inverse covariances, in the family's own shape."""
        stacked = gram(self.whitening) if self.structure.dense else self.whitening**2
        return stacked.reshape(self.covariances.shape)

    def dense_covariances(self) -> FloatArray:
        """Covariances (K D D) whatever the family."""
        k, d = self.means.shape
        stacked = self._stacked if self.structure.dense else self._stacked[:, :, None] * np.eye(d)
        return np.array(np.broadcast_to(stacked, (k, d, d)))

    def packed_whitening(self) -> FloatArray:
        """The whitening factors as packed triangles (1 or K, P)."""
        return pack(self.whitening)

    def to_arrays(self) -> dict[str, FloatArray]:
        """means and covariances."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray]) -> Self:
        """Inverse of `to_arrays`."""
        return cls(*(np.require(arrays[f.name], np.float64, "C") for f in fields(cls)))

    @classmethod
    def from_dense(cls, means: ArrayKD, covariances: FloatArray, weights: ArrayK) -> Self:
        """The family's best fit to dense covariances (K D D): averages over what the structure shares."""
        s = cls.structure
        stacked = covariances if s.dense else np.diagonal(covariances, axis1=1, axis2=2)
        if s.shared:
            stacked = (weights.reshape(-1, *[1] * (stacked.ndim - 1)) * stacked).sum(axis=0, keepdims=True)
        if s.isotropic:
            stacked = stacked.mean(axis=-1, keepdims=True)
        return cls(np.ascontiguousarray(means), np.ascontiguousarray(stacked).reshape(cls.covariance_shape(*means.shape)))

    @classmethod
    def from_precisions(cls, means: ArrayKD, precisions: FloatArray) -> Self:
        """From inverse covariances in the family's own shape (scikit-learn's `precisions_init`)."""
        if not cls.structure.dense:
            return cls(means, 1 / precisions)
        d = means.shape[1]
        inverse = invert_lower(cholesky(precisions.reshape(-1, d, d)))
        return cls(means, gram(inverse).reshape(precisions.shape))


def _most_lifted(before: FloatArray, after: FloatArray, scale: ArrayD) -> int:
    """The column whose variance a lift raised most, in units of its variance over all rows."""
    raised = after - before
    return int(np.argmax((np.diagonal(raised) if raised.ndim == 2 else raised) / scale))
