"""partial_fit: the rows of one call as one step of stepwise EM, and the record of a model that is fitted so. Floor 7.

It is NOT the live mixture (live.py), which cuts a stream into batches, holds rows out and watches for drift.
"""

__all__ = ["START_PASSES", "continued", "refuse_other_model", "step_over", "warn_of"]

import warnings
from collections.abc import Sequence
from dataclasses import replace

from streamgmm.configuration import FitConfiguration
from streamgmm.em import MixtureStatistics, Repair, merge_partials
from streamgmm.errors import ConfigError, DataError, DegenerateFitWarning
from streamgmm.executors.base import AbstractExecutor
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel
from streamgmm.online_step import Online, stepped
from streamgmm.passes import BlockStatistics
from streamgmm.sources.base import AbstractSource

START_PASSES = 10  # over the rows of the first call: those of the calls after it do the rest


def step_over(
    online: Online, source: AbstractSource, executor: AbstractExecutor, configuration: FitConfiguration
) -> tuple[Online, MixtureStatistics, tuple[Repair, ...]]:
    """After one step over all rows of a source; their statistics about the mixture before it; what was repaired."""
    look = BlockStatistics((online.mixture,), source.block_rows, configuration.assignment == "hard", configuration.arithmetic)
    found = executor.map_reduce(look, merge_partials, source)
    if found is None:
        raise DataError("Found array with 0 sample(s) in the rows of partial_fit while a minimum of 1 is required.")
    statistics = found.statistics[0]
    after, repairs = stepped(online, statistics, configuration.regularisation())
    return after, statistics, repairs


def continued(record: SavedModel, online: Online, statistics: MixtureStatistics) -> SavedModel:
    """The record of the model after a step; rows without weight leave no trace in the history."""
    history = record.log_likelihoods
    if statistics.weight > 0:
        history = (*history, statistics.mean_log_likelihood)
    counts = {name: int(record.provenance.get(name, 0)) + getattr(statistics, name) for name in ("rows", "skipped")}
    ending = {"weight": online.weight, "steps": online.steps, "outcome": "partial_fit", "converged": False}
    provenance = {**record.provenance, **counts, **ending}
    return replace(record, mixture=online.mixture, log_likelihoods=history, provenance=provenance)


def refuse_other_model(mixture: Mixture, configuration: FitConfiguration) -> None:
    """Refuse parameters that were changed since to those of another kind of mixture. Raises ConfigError."""
    k, kind = mixture.n_components, mixture.components.name.removeprefix("gaussian_")
    wanted = configuration.n_components
    if kind != configuration.covariance_type or (k != wanted and configuration.on_singular != "drop"):
        raise ConfigError(
            f"partial_fit goes on with {k} components of covariance_type {kind!r}, but the parameters now say {wanted} of"
            f" {configuration.covariance_type!r}; set them back, or make a new estimator (clone) for another mixture"
        )


def warn_of(repairs: Sequence[Repair], stacklevel: int) -> None:
    """One DegenerateFitWarning for all that a step repaired."""
    if repairs:
        said = [f"component {one.fault.component} ({one.action}, {one.fault.kind} {one.fault.value:.3g})" for one in repairs[:8]]
        more = f" and {len(repairs) - 8} more" if len(repairs) > 8 else ""
        warnings.warn(
            f"Components were repaired in this step: {', '.join(said)}{more}; -1 is the shared covariance. Give more rows a call, use fewer"
            " components, or raise reg_covar or variance_floor.",
            DegenerateFitWarning,
            stacklevel=stacklevel + 1,
        )
