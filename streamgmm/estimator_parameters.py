"""The estimator's parameters as a FitConfiguration, and back: scikit-learn's words, NumPy's numbers, seeds. Floor 7."""

__all__ = ["SKLEARN_INITS", "configuration_of", "generator_of", "parameters_of", "seed_of"]

from collections.abc import Mapping
from typing import Any

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.configuration import INITS, FitConfiguration, fresh_seed
from streamgmm.errors import CheckpointError, ConfigError, nearest

SKLEARN_INITS = {"k-means++": "kmeans_plus_plus", "k-means||": "kmeans_parallel", "random_from_data": "random_rows"}
LARGEST_SEED = 2**63
SHARED = (
    "n_components",
    "covariance_type",
    "weight_model",
    "assignment",
    "arithmetic",
    "schedule",
    "scan",
    "n_init",
    "max_iter",
    "tol",
    "reg_covar",
    "variance_floor",
    "on_singular",
    "block_rows",
    "missing",
)  # parameters of the same name and meaning in both


def configuration_of(parameters: Mapping[str, Any], seed: int, hold_out: float = 0.0) -> FitConfiguration:
    """Check all parameters. As in scikit-learn no component is too small: the floor of occupancy is 0. Raises ConfigError."""
    _check_own(parameters)
    shared = {name: _plain(parameters[name]) for name in SHARED}
    own = {"init": _init(parameters["init_params"]), "seed": seed, "occupancy_floor": 0.0, "hold_out": _plain(hold_out)}
    return FitConfiguration.checked({**shared, **own})


def parameters_of(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The estimator's parameters of a recorded configuration; of one that is not valid none."""
    try:
        found = FitConfiguration.checked(configuration).model_dump()
    except ConfigError:
        return {}
    return {name: found[name] for name in SHARED} | {"init_params": found["init"], "random_state": found["seed"]}


def seed_of(random_state: Any, run: Run | None) -> int:
    """The seed of a fit: as given, drawn from the given generator, the run's own on a resume, or a fresh one. Raises ConfigError."""
    if random_state is None:
        return fresh_seed() if run is None or not run.exists else _recorded_seed(run)
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        if not 0 <= random_state < LARGEST_SEED:
            raise ConfigError(f"random_state must be from 0 to 2**63 - 1, got {random_state}")
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        if run is not None and run.exists:
            return _recorded_seed(run)
        return int(random_state.integers(LARGEST_SEED))
    if random_state is np.random or isinstance(random_state, np.random.RandomState):
        if run is not None:
            raise ConfigError(
                "random_state is a RandomState, whose next numbers depend on who else draws from it: a fit with a checkpoint needs an"
                " int or a numpy.random.Generator to be resumable"
            )
        return int(random_state.randint(2**31 - 1))
    raise ConfigError(
        f"random_state must be None, an int, a numpy.random.Generator or a numpy.random.RandomState, got {random_state!r} of type"
        f" {type(random_state).__name__}"
    )


def _recorded_seed(run: Run) -> int:
    configuration = run.record().get("configuration")
    seed = configuration.get("seed") if isinstance(configuration, dict) else None
    if type(seed) is not int:
        raise CheckpointError(f"{run.place}/run.json holds no seed; start again in a new run folder")
    return seed


def generator_of(random_state: Any) -> np.random.Generator:
    """The generator to draw samples from: an int gives the same sample every time, as in scikit-learn."""
    return random_state if isinstance(random_state, np.random.Generator) else np.random.default_rng(seed_of(random_state, None))


def _check_own(parameters: Mapping[str, Any]) -> None:
    warm_start = parameters["warm_start"]
    if not isinstance(warm_start, bool | np.bool_):
        raise ConfigError(f"warm_start must be True or False, got {warm_start!r}")
    for name, least in (("verbose", 0), ("verbose_interval", 1)):
        value = parameters[name]
        if not isinstance(value, int | np.integer) or value < least:
            raise ConfigError(f"{name} must be an int >= {least}, got {value!r}")


def _init(word: Any) -> str:
    allowed = (*INITS, *SKLEARN_INITS)
    if not isinstance(word, str) or word not in allowed:
        raise ConfigError(f"init_params must be one of {', '.join(allowed)}, got {word!r}{nearest(word, allowed)}")
    return SKLEARN_INITS.get(word, word)


def _plain(value: Any) -> Any:
    """NumPy's numbers, which come out of grids, as Python's."""
    return value.item() if isinstance(value, np.generic) else value
