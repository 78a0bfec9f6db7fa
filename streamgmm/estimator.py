"""The scikit-learn face: GaussianMixture, and the functions `fit` and `load`. Floor 8.

It translates: scikit-learn's parameters to a FitConfiguration, what the user passes to a source, a result to fitted attributes. It
owns no algorithm and keeps no client, lock, open store or row.
"""

# ruff: noqa: N803  scikit-learn's name for a table is X

__all__ = ["GaussianMixture", "fit", "load"]

import copy
import importlib
import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import sklearn.mixture
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from streamgmm.arrays import ArrayK, ArrayKD, FloatArray
from streamgmm.checkpoint import Run
from streamgmm.chosen_executor import executor_for, local_executor, portable_choice
from streamgmm.column_check import check_columns, own_names
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.configuration import COVARIANCE_TYPES
from streamgmm.errors import ConfigError, DataError, nearest
from streamgmm.estimator_parameters import configuration_of, generator_of, parameters_of, seed_of
from streamgmm.fit import FitResult
from streamgmm.fit_notes import FitNotes
from streamgmm.given_start import GivenStart, digest_of, mixture_of
from streamgmm.job import RESUMES, Job, saved_model, score_table
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel, load_model, save_model
from streamgmm.observers.base import together
from streamgmm.observers.json_lines import JsonLines
from streamgmm.online_step import Online, online_from
from streamgmm.partial_step import START_PASSES, continued, refuse_other_model, step_over, warn_of
from streamgmm.prediction import Question, answer_now, shaped_like
from streamgmm.registry import implementation
from streamgmm.sources import as_source
from streamgmm.sources._held_out import held_out
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS, AbstractSource
from streamgmm.sources.numpy_array import NumpyArraySource
from streamgmm.state import Outcome

DEFAULT_PASSES = 100  # scikit-learn's; `fit` takes the schedule's own instead
Resume = Literal["never", "auto", "must"]
PathLike = str | os.PathLike[str]

_guard = threading.Lock()
_fitting: set[int] = set()


class GaussianMixture(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Gaussian mixture fitted by EM to rows that need not fit in memory.

    scikit-learn's `GaussianMixture` with the same parameters, defaults and attributes, for NumPy arrays, data frames, dask arrays and
    data frames, xarray objects, Zarr arrays and stores (`streamgmm.open_source`). What is not in memory is read block by block in
    every pass, and predictions for it are lazy.

    Parameters
    ----------
    n_components : int, default=1
        Number of components K.
    covariance_type : {'full', 'tied', 'diag', 'spherical', 'tied_spherical'}, default='full'
        What a covariance may be: any matrix per component, one matrix for all, a diagonal, one variance per component, one for all.
    tol : float, default=1e-3
        A fit has converged when the mean log-likelihood per unit of row weight changes by less.
    reg_covar : float, default=1e-6
        Added to every variance, in the squared units of the columns. See `variance_floor` for columns of very different scales.
    max_iter : int, default=100
        Most passes over the rows.
    n_init : int, default=1
        Starts; all of them are fitted in the same passes and the one of largest likelihood is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        How a start is made from a sample of the rows, spread over the whole table. streamgmm's own words for the same:
        'kmeans_plus_plus', 'random_rows'. 'k-means||' ('kmeans_parallel') takes seeds from all rows in seven reads, without a sample.
    weights_init, means_init, precisions_init : array-like, default=None
        Given parameters replace those of the start; all three together are the start. Shapes as in the attributes.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None, default=None
        Seed of starts and of `sample`.
    warm_start : bool, default=False
        Start from the last solution, also on new rows; the history begins anew.
    verbose : int, default=0
        More than 0 writes lines to standard error: every `verbose_interval`-th pass, and everything unusual.
    verbose_interval : int, default=10
        See `verbose`.
    schedule : {'full_batch', 'auto', 'anderson', 'stepwise', 'incremental'}, default='full_batch'
        'full_batch': one EM step a pass, scikit-learn's. 'anderson': the same steps, extrapolated: fewer passes. 'auto': at least ten
        starts explored on a sample in memory, then few exact passes with Newton's steps; `tol` then bounds the mean square of the
        remaining error in units of standard errors, and `max_iter` the passes over all rows. 'stepwise': a step after every batch of
        blocks, with steps that shrink. 'incremental': a step after every group of blocks, whose statistics are kept.
    scan : {'all', 'part'}, default='all'
        What 'auto' reads for its sample of rows that are not in memory: all blocks, or one of each of 256 equal stretches.
    weight_model : {'free', 'fixed'}, default='free'
        Mixing proportions are fitted, or stay at `weights_init` (equal where not given).
    assignment : {'soft', 'hard'}, default='soft'
        A row belongs to every component with its probability, or wholly to the most probable one.
    missing : {'raise', 'skip'}, default='raise'
        Rows with NaN are refused, or left out and counted; `predict` then gives them label -1, and NaN for numbers.
    executor : None, 'serial', 'threads', str, distributed.Client or executor, default=None
        Where a fit computes. None: on the current Dask client if there is one and the rows are not in this process's memory, else in
        threads. Any other string is a scheduler's address. The result has the same bits everywhere.
    block_rows : int, default=65536
        Rows of a block, the unit of reading and summing.
    variance_floor : float or None, default=None
        Smallest variance along any direction, relative to the columns' variances over all rows.
    on_singular : {'floor', 'reseed', 'drop', 'raise'}, default='floor'
        What becomes of a component whose covariance collapses: widened, put elsewhere, removed, or an error.
    arithmetic : {'float64', 'float32'}, default='float64'
        Arithmetic of the E-step within a tile of rows; sums over tiles, parameters and predictions are float64 in either case. 'float32'
        leaves an error of about 2e-6 in a row's log-likelihood, 1e-7 in their mean, and, per pass, 1e-6 of a component's standard
        deviation in its mean, 1e-6 of its variances in its covariance and 1e-6 of its weight: stopping with a `tol` below 1e-6 means
        nothing. Rows farther from the means' median than a thousand of a component's standard deviations cost digits in proportion;
        mixtures with components farther away than four thousand, and hard assignments, are computed in float64.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Mixing proportions.
    means_ : ndarray of shape (n_components, n_features)
        Means.
    covariances_ : ndarray
        (n_components, n_features, n_features) if 'full', (n_features, n_features) if 'tied', (n_components, n_features) if 'diag',
        (n_components,) if 'spherical', () if 'tied_spherical'.
    precisions_, precisions_cholesky_ : ndarray
        Inverse covariances and their Cholesky factors, as in scikit-learn.
    converged_ : bool
        Whether the winning start converged.
    n_iter_ : int
        Passes of the winning start.
    lower_bound_ : float
        Mean log-likelihood per unit of row weight at the last pass.
    lower_bounds_ : list of float
        The same for every pass.
    n_features_in_ : int
        Columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where they have names.
    n_skipped_ : int
        Rows left out in `fit` because a value was missing.
    mixture_ : Mixture
        The fitted mixture, frozen.
    outcome_ : Outcome or None
        How the fit ended; None after `partial_fit`.

    See Also
    --------
    sklearn.mixture.GaussianMixture : the same for rows in memory.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1: EM. Arthur & Vassilvitskii (2007), SODA, 1027: k-means++ starts.
    Chan, Golub & LeVeque (1983), Am. Stat. 37, 242: sums about a centre, merged pairwise.

    Examples
    --------
    >>> import numpy as np
    >>> from streamgmm import GaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(6, 1, (250, 2))])
    >>> gm = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> sorted(gm.weights_.round(2).tolist())
    [0.33, 0.67]
    >>> gm.predict(X[:1]) == gm.predict([[0, 0]])
    array([ True])
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: npt.ArrayLike | None = None,
        means_init: npt.ArrayLike | None = None,
        precisions_init: npt.ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        schedule: str = "full_batch",
        scan: str = "all",
        weight_model: str = "free",
        assignment: str = "soft",
        missing: str = "raise",
        executor: Any = None,
        block_rows: int = DEFAULT_BLOCK_ROWS,
        variance_floor: float | None = None,
        on_singular: str = "floor",
        arithmetic: str = "float64",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.schedule = schedule
        self.scan = scan
        self.weight_model = weight_model
        self.assignment = assignment
        self.missing = missing
        self.executor = executor
        self.block_rows = block_rows
        self.variance_floor = variance_floor
        self.on_singular = on_singular
        self.arithmetic = arithmetic

    # ---- fitting -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        checkpoint: PathLike | None = None,
        resume: Resume = "auto",
    ) -> Self:
        """Fit the mixture to the rows of X.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            See the class. Iterators of arrays are refused, because every pass reads the rows again.
        y : Ignored
        sample_weight : array of shape (n_samples,), default=None
            Weight of each row, of the same kind as X: weight 2 counts as the row twice, weight 0 leaves it out.
        checkpoint : path, default=None
            Folder of the run: it is committed after every pass, and a later call with the same parameters and rows goes on from the
            newest commit.
        resume : {'auto', 'never', 'must'}, default='auto'
            'never' refuses a folder that holds a run, 'must' one that holds none.
        """
        with _sole_fit(self):
            self._fit(X, sample_weight, checkpoint, resume)
        return self

    def fit_predict(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        checkpoint: PathLike | None = None,
        resume: Resume = "auto",
    ) -> Any:
        """Fit, then the labels of the same rows."""
        with _sole_fit(self):
            self._fit(X, sample_weight, checkpoint, resume)
        return self.predict(X)

    def partial_fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Go on with rows that have not been seen: one step of stepwise EM (Cappe & Moulines 2009) over all rows of X.

        The first call makes a start by `init_params` and a few passes over its rows. After it, or after `fit`, `load` or
        `from_parameters`, what a mixture says of the rows seen is blended with what the rows of this call say, whose share is
        (t + 2)^-0.6; t is the row weight seen before in units of this call's. So later calls move the mixture less, and rows count the
        more the later they come: where their order means something, shuffle them. For rows that drift see `LiveMixture`. A call should
        hold at least 20 rows for every component. `lower_bounds_` grows by the mean log-likelihood of each call's rows before its step,
        `converged_` is False. A saved model keeps the mixture and how many rows there were, a pickle everything.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            As in `fit`, which need not fit in memory; after the start iterators of arrays, too.
        y : Ignored
        sample_weight : array of shape (n_samples,), default=None
            Weight of each row: weight 2 counts as the row twice, rows of weight 0 change nothing.
        """
        with _sole_fit(self):
            if self.__sklearn_is_fitted__():
                self._step(X, sample_weight)
            else:
                self._fit(X, sample_weight, None, "never", START_PASSES)
        return self

    def _step(self, X: Any, sample_weight: Any) -> None:
        source = self._source(X, sample_weight)
        configuration = configuration_of(self.get_params(deep=False), seed=0)  # nothing is drawn
        refuse_other_model(self.mixture_, configuration)
        seen: float | Online = self._seen
        skipped: int = self.n_skipped_
        with executor_for(self.executor, source) as executor:
            last = seen if isinstance(seen, Online) else online_from(self.mixture_, seen, configuration.reg_covar)
            online, statistics, repairs = step_over(last, source, executor, configuration)
        self._take(continued(self._record, online, statistics), None, False, skipped + statistics.skipped, online)
        warn_of(repairs, stacklevel=3)

    def _fit(
        self,
        X: Any,
        sample_weight: Any,
        checkpoint: PathLike | None,
        resume: str,
        most_passes: int = 0,
        hold_out: float = 0.0,
        **how: Any,
    ) -> FitResult:
        if resume not in RESUMES:
            raise ConfigError(f"resume must be one of {RESUMES}, got {resume!r}")
        run = None if checkpoint is None else Run(checkpoint)
        configuration = configuration_of(self.get_params(deep=False), seed_of(self.random_state, run), hold_out)
        source = self._as_source(X, sample_weight)
        configuration = configuration.model_copy(update={"block_rows": source.block_rows, "missing": source.missing})
        given, last = self._given_start(source), self._last_solution(source)
        notes = FitNotes(int(self.verbose), int(self.verbose_interval))
        with executor_for(self.executor, source, **how) as executor:
            start = given.mixture if last is None else last
            adjust = given.adjust if given.digest else None
            short = {"max_iter": most_passes if source.repeatable else 1, "schedule": "full_batch"} if most_passes else {}
            asked = configuration.model_copy(update=short)
            digest = given.digest if last is None else digest_of(last)
            job = Job(source, asked, executor, start=start, adjust=adjust, given=digest, observe=notes)
            result = job.fit() if run is None else _fit_in(run, job, resume)
        self._take(
            saved_model(result, held_out(source, hold_out), configuration),
            None if most_passes else result.outcome,
            result.converged and not most_passes,
            result.state.skipped,
            result.state.weight,
        )
        notes.warn(result.state.best.start, stacklevel=3)
        if not self.converged_ and not most_passes:
            warnings.warn(_not_converged(result), ConvergenceWarning, stacklevel=3)
        return result

    def _as_source(self, X: Any, sample_weight: Any) -> AbstractSource:
        """Rows of X; a source keeps its own block_rows and missing where the estimator's are the defaults."""
        own = isinstance(X, AbstractSource)
        block_rows = None if own and self.block_rows == DEFAULT_BLOCK_ROWS else self.block_rows
        missing = None if own and self.missing == "raise" else self.missing
        return as_source(X, sample_weight=sample_weight, block_rows=block_rows, missing=missing)

    def _given_start(self, source: AbstractSource) -> GivenStart:
        k, weights = int(self.n_components), self.weights_init
        if weights is None and self.weight_model == "fixed":
            weights = np.full(k, 1 / k)
        family = _family(self.covariance_type)
        return GivenStart.checked(family, k, source.n_features, weights, self.means_init, self.precisions_init)

    def _last_solution(self, source: AbstractSource) -> Mixture | None:
        """The mixture that a warm start goes on from."""
        if not self.warm_start or not self.__sklearn_is_fitted__():
            return None
        mixture: Mixture = self.mixture_
        found = (mixture.n_components, mixture.n_features, mixture.components.name)
        wanted = (self.n_components, source.n_features, f"gaussian_{self.covariance_type}")
        if found != wanted:
            raise ConfigError(
                f"warm_start=True, but the last solution has (components, columns, family) {found} and this fit wants {wanted};"
                " use warm_start=False"
            )
        return mixture

    def _take(self, record: SavedModel, outcome: Outcome | None, converged: bool, skipped: int, seen: float | Online = 0.0) -> None:
        """Set the fitted attributes. seen: what partial_fit goes on with, or only the weight of all rows."""
        self._record = record
        self._seen = seen
        self.mixture_ = record.mixture
        self.outcome_ = outcome
        self.converged_ = converged
        self.lower_bounds_ = list(record.log_likelihoods)
        self.lower_bound_ = self.lower_bounds_[-1] if self.lower_bounds_ else -math.inf
        self.n_iter_ = len(self.lower_bounds_)
        self.n_skipped_ = skipped
        self.n_features_in_ = record.mixture.n_features
        names = own_names(record.feature_names)
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    # ---- fitted parameters: views of the mixture, not to be written to ------------------------------------------------

    @property
    def weights_(self) -> ArrayK:
        """Mixing proportions (K)."""
        return _read_only(self._fitted.weights.proportions)

    @property
    def means_(self) -> ArrayKD:
        """Means (K D)."""
        return _read_only(self._gaussians.means)

    @property
    def covariances_(self) -> FloatArray:
        """Covariances, shaped by covariance_type."""
        return _read_only(self._gaussians.covariances)

    @property
    def precisions_(self) -> FloatArray:
        """Inverse covariances, shaped by covariance_type."""
        return _read_only(self._gaussians.precisions())

    @property
    def precisions_cholesky_(self) -> FloatArray:
        """Cholesky factors of the precisions, shaped by covariance_type."""
        return _read_only(self._gaussians.precision_cholesky())

    @property
    def _fitted(self) -> Mixture:
        mixture: Mixture = self.mixture_  # an AttributeError before fit, so that hasattr tells
        return mixture

    @property
    def _gaussians(self) -> AbstractGaussian:
        return cast(AbstractGaussian, self._fitted.components)

    # ---- answers about rows --------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """Most probable component of every row: in memory for rows in memory, else a lazy array."""
        return self._answer(X, "labels")

    def predict_proba(self, X: Any) -> Any:
        """Posterior probability (n K) of every component for every row; lazy for lazy rows."""
        return self._answer(X, "probabilities")

    def score_samples(self, X: Any) -> Any:
        """Log density of every row; lazy for lazy rows."""
        return self._answer(X, "log_densities")

    def _answer(self, X: Any, kind: Literal["labels", "probabilities", "log_densities"]) -> Any:
        source = self._source(X)
        question = Question(self.mixture_, kind, source.feature_names, source.missing)
        if isinstance(source, NumpyArraySource) and not isinstance(X, AbstractSource):
            answers: Any = answer_now(question, source, local_executor(self.executor, source))
        else:
            answers = importlib.import_module("streamgmm.lazy").answer_lazily(question, source)
        return shaped_like(X, answers)

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> float:
        """Mean log density per unit of row weight."""
        return float(self._totals(X, sample_weight)["mean_log_likelihood"])

    def aic(self, X: Any, *, sample_weight: Any = None) -> float:
        """Akaike's criterion for the rows of X (the lower the better)."""
        return float(-2 * self._totals(X, sample_weight)["log_likelihood"] + 2 * self.mixture_.n_parameters)

    def bic(self, X: Any, *, sample_weight: Any = None) -> float:
        """Bayesian information criterion for the rows of X (the lower the better); a row counts with its weight."""
        totals = self._totals(X, sample_weight)
        return float(-2 * totals["log_likelihood"] + self.mixture_.n_parameters * math.log(totals["weight"]))

    def _totals(self, X: Any, sample_weight: Any) -> dict[str, Any]:
        source = self._source(X, sample_weight)
        with executor_for(self.executor, source) as executor:
            totals = score_table(self.mixture_, source, executor)
        if totals["weight"] <= 0:
            raise DataError(f"no row takes part: {totals['skipped']} rows are left out, the others have weight 0")
        return totals

    def _source(self, X: Any, sample_weight: Any = None) -> AbstractSource:
        check_is_fitted(self)
        source = self._as_source(X, sample_weight)
        check_columns(type(self).__name__, self._record.feature_names, source)
        return source

    def sample(self, n_samples: int = 1) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Draw rows (n d) and their components (n), ordered by component as scikit-learn does."""
        check_is_fitted(self)
        if isinstance(n_samples, bool) or not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise ConfigError(f"n_samples must be an int >= 1, got {n_samples!r}")
        rows, labels = self.mixture_.sample(int(n_samples), generator_of(self.random_state))
        return rows, labels.astype(np.int64)

    # ---- models from and to elsewhere ----------------------------------------------------------------------------------

    def save(self, path: PathLike, overwrite: bool = False) -> None:
        """Write the model to a folder that plain xarray opens: `xarray.open_zarr(path, consolidated=False)`."""
        check_is_fitted(self)
        save_model(path, self._record, overwrite=overwrite)

    @classmethod
    def from_parameters(
        cls,
        weights: npt.ArrayLike,
        means: npt.ArrayLike,
        covariances: npt.ArrayLike,
        *,
        covariance_type: str = "full",
        feature_names: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
    ) -> Self:
        """A fitted estimator with these parameters, shaped as the attributes are."""
        mixture = mixture_of(_family(covariance_type), weights, means, covariances)
        d = mixture.n_features
        names = tuple(f"f{j}" for j in range(d)) if feature_names is None else tuple(feature_names)
        texts = ("",) * d if units is None else tuple(units)
        if len(names) != d or len(texts) != d:
            raise ConfigError(f"{len(names)} feature_names and {len(texts)} units for {d} columns; one each per column is needed")
        made = cls(mixture.n_components, covariance_type=covariance_type)
        made._take(SavedModel(mixture, names, texts), None, False, 0)
        return made

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """The same mixture as a fitted scikit-learn estimator: it predicts the same. 'tied_spherical' becomes 'spherical'."""
        check_is_fitted(self)
        k, kind = self.mixture_.n_components, _kind(self.mixture_)
        made = sklearn.mixture.GaussianMixture(k, covariance_type="spherical" if kind == "tied_spherical" else kind)
        shared = ("tol", "reg_covar", "max_iter", "n_init", "warm_start", "verbose", "verbose_interval", "random_state")
        made.set_params(**{name: getattr(self, name) for name in shared})
        if isinstance(self.random_state, np.random.Generator):  # which scikit-learn does not take
            made.set_params(random_state=None)
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
            value = np.array(getattr(self, name))
            setattr(made, name, np.full(k, value) if value.ndim == 0 else value)
        for name in ("converged_", "n_iter_", "lower_bound_", "lower_bounds_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(made, name, copy.copy(getattr(self, name)))
        return made

    # ---- what scikit-learn and pickle ask ------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return "mixture_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "skip"
        return tags

    def __sklearn_clone__(self) -> Self:
        # A client cannot be copied, and need not be.
        parameters = self.get_params(deep=False)
        copied = {name: value if name == "executor" else copy.deepcopy(value) for name, value in parameters.items()}
        return type(self)(**copied)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "executor": portable_choice(self.executor)}


def fit(
    source: Any,
    estimator: GaussianMixture,
    *,
    executor: Any = None,
    checkpoint: PathLike | None = None,
    resume: Resume = "auto",
    sample_weight: Any = None,
    schedule: str | None = None,
    hold_out: float = 0.0,
    strict: bool = False,
    stall_timeout: float | None = None,
) -> FitResult:
    """Fit a clone of the estimator to a source or any table, and return the whole result; the estimator stays as it is.

    executor, schedule: in place of the estimator's own, where given. An estimator whose schedule is the default, "full_batch", is fitted
    by "auto" here: pass schedule="full_batch" where scikit-learn's passes are wanted. hold_out: share of the rows, chosen by a hash of
    their number, that take no part; one more read at the end gives the model's mean log-likelihood on them (`held_out`). strict: a
    worker, or a machine that goes on with a run, is refused where it would give other last bits. stall_timeout: seconds without any
    result of a cluster that are borne, 300 where none are given. An executor that was made before has its own of both. The other
    arguments are those of `GaussianMixture.fit`.
    """
    fitted: GaussianMixture = clone(estimator)
    if executor is not None:
        fitted.set_params(executor=executor)
    if schedule is not None:
        fitted.set_params(schedule=schedule)
    elif fitted.schedule == "full_batch":
        fitted.set_params(schedule="auto", max_iter=None if fitted.max_iter == DEFAULT_PASSES else fitted.max_iter)
    how: dict[str, Any] = {"hold_out": hold_out, "strict": strict, "stall_timeout": stall_timeout}
    return fitted._fit(source, sample_weight, checkpoint, resume, **how)  # noqa: SLF001  the class is in this file


def load(path: PathLike) -> GaussianMixture:
    """A fitted estimator from a model file, of `save` or of a run. Raises CheckpointError for what is no valid model."""
    record = load_model(path)
    provenance = record.provenance
    recorded = provenance.get("configuration")
    parameters = parameters_of(recorded) if isinstance(recorded, dict) else {}
    parameters |= {"n_components": record.mixture.n_components, "covariance_type": _kind(record.mixture)}
    made = GaussianMixture(**parameters)
    skipped = provenance.get("skipped")
    outcome = Outcome.__members__.get(str(provenance.get("outcome")).upper())
    converged = provenance.get("converged", outcome is Outcome.CONVERGED) is True
    seen = provenance.get("weight", provenance.get("rows"))
    counts = (skipped if isinstance(skipped, int) else 0, float(seen) if isinstance(seen, int | float) else 0.0)
    made._take(record, outcome, converged, *counts)  # noqa: SLF001
    return made


@contextmanager
def _sole_fit(estimator: GaussianMixture) -> Iterator[None]:
    with _guard:
        if id(estimator) in _fitting:
            raise RuntimeError("fit already running: another thread fits this estimator; give every thread a clone of its own")
        _fitting.add(id(estimator))
    try:
        yield
    finally:
        with _guard:
            _fitting.discard(id(estimator))


def _fit_in(run: Run, job: Job, resume: str) -> FitResult:
    """Fit in a run, which keeps the events as well where it is a folder."""
    if run.events_path is None:
        return job.fit_in(run, resume)
    with JsonLines(run.events_path) as log:
        return replace(job, observe=together(job.observe, log)).fit_in(run, resume)


def _family(covariance_type: str) -> type[AbstractGaussian]:
    if covariance_type not in COVARIANCE_TYPES:
        allowed = ", ".join(COVARIANCE_TYPES)
        raise ConfigError(f"covariance_type must be one of {allowed}, got {covariance_type!r}{nearest(covariance_type, COVARIANCE_TYPES)}")
    return cast(type[AbstractGaussian], implementation("components", f"gaussian_{covariance_type}"))


def _kind(mixture: Mixture) -> str:
    return mixture.components.name.removeprefix("gaussian_")


def _not_converged(result: FitResult) -> str:
    return (
        f"Best performing initialization did not converge: {result.outcome.word} after {len(result.log_likelihoods)} passes."
        " Try different init parameters, or increase max_iter, tol, or check for degenerate data."
    )


def _read_only(array: FloatArray) -> FloatArray:
    view = array.view()
    view.flags.writeable = False
    return view
