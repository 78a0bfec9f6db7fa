"""Models, fits and tables as plain data. Floor 8."""

__all__ = ["fit_facts", "model_facts"]

from dataclasses import asdict
from typing import Any, cast

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.fit import FitResult
from streamgmm.job import Job
from streamgmm.mixture import Mixture
from streamgmm.model_file import model_hash
from streamgmm.state import Outcome

DONE = (Outcome.CONVERGED, Outcome.PASSES_EXHAUSTED)


def model_facts(mixture: Mixture, features: tuple[str, ...], units: tuple[str, ...], *, correlations: bool = False) -> dict[str, Any]:
    """Weights, means, standard deviations and, on demand, correlations of every component."""
    components = cast(AbstractGaussian, mixture.components)
    covariances = components.dense_covariances()
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    listed: list[dict[str, Any]] = []
    for k, weight in enumerate(mixture.weights.proportions):
        facts: dict[str, Any] = {
            "weight": float(weight),
            "mean": components.means[k].tolist(),
            "standard_deviation": deviations[k].tolist(),
        }
        if correlations:
            facts["correlation"] = (covariances[k] / np.outer(deviations[k], deviations[k])).tolist()
        listed.append(facts)
    return {
        "covariance_type": components.name.removeprefix("gaussian_"),
        "weight_model": mixture.weights.name,
        "n_components": mixture.n_components,
        "n_parameters": mixture.n_parameters,
        "features": list(features),
        "units": list(units),
        "components": listed,
    }


def fit_facts(run: Run, job: Job, result: FitResult, passes_made: int) -> dict[str, Any]:
    """How a fit ended and where things lie."""
    state, done = result.state, result.outcome in DONE
    with run.model_folder() as path:
        digest = model_hash(path) if done else None
    return {
        "run": run.place,
        "outcome": result.outcome.word,
        "message": result.outcome.value,
        "converged": result.converged,
        "already_complete": done and passes_made == 0,
        "passes": state.passes,
        "passes_made": passes_made,
        "log_likelihood": state.best.log_likelihood if state.passes else None,
        "held_out": None if result.held_out is None else asdict(result.held_out),
        "rows": state.rows,
        "skipped": state.skipped,
        "model": f"{run.place}/{run.model_path.name}" if done else None,
        "hash": digest,
        "events": None if run.events_path is None else str(run.events_path),
        **model_facts(result.mixture, job.source.feature_names, job.source.units),
    }
