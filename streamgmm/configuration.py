"""What a fit is: its parameters, checked once for the estimator, the command line and configuration files. Floor 6.

Strict: `"1e-3"`, `2.0` for an int and `True` for a number are refused. All faults are reported at once.
"""

__all__ = ["COVARIANCE_TYPES", "EXPLORING", "INITS", "MAY_CHANGE", "FitConfiguration", "fresh_seed"]

import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from streamgmm.errors import ConfigError, nearest
from streamgmm.regularisation import Regularisation
from streamgmm.sources.base import LARGEST_BLOCK_ROWS
from streamgmm.stopping import Stopping

CovarianceType = Literal["full", "tied", "diag", "spherical", "tied_spherical"]
Init = Literal["kmeans", "kmeans_plus_plus", "kmeans_parallel", "random_rows", "random"]
COVARIANCE_TYPES: tuple[str, ...] = get_args(CovarianceType)
INITS: tuple[str, ...] = get_args(Init)
MAY_CHANGE = ("max_iter", "tol", "deadline", "checkpoint_every", "on_damage")  # a run may go on with another value of these

EXPLORING = ("auto", "anchored")
MOST_PASSES = {"auto": 30, "anchored": 30}  # what is not resolved by then, more passes do not resolve

Count = Annotated[int, Field(ge=1)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]


class FitConfiguration(BaseModel):
    """Parameters of a fit, with the defaults of the command line (the estimator has scikit-learn's).

    variance_floor is relative to each column's own variance over all rows; reg_covar is absolute; occupancy_floor is in rows;
    tol is the change of the mean log-likelihood per row, and with schedules "auto" and "anchored" the mean square of the remaining error in
    standard errors; max_iter counts passes over the table, None for the schedule's own (30 for these two, else 100); arithmetic is the
    E-step's, within a tile of rows; scan is what these two read for the sample that they explore: all blocks, or one of each of 256 equal
    stretches; hold_out is the share of rows, chosen by a hash of their number, that the fit does not see and its model is measured on in
    one more read; deadline and checkpoint_every (work that a kill may cost) are in seconds.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    n_components: Count
    covariance_type: CovarianceType = "full"
    weight_model: Literal["free", "fixed"] = "free"
    assignment: Literal["soft", "hard"] = "soft"
    arithmetic: Literal["float64", "float32"] = "float64"
    schedule: Literal["auto", "anchored", "full_batch", "anderson", "stepwise", "incremental"] = "auto"
    scan: Literal["all", "part"] = "all"
    hold_out: Share = 0.0
    init: Init = "kmeans"
    n_init: Count = 1
    max_iter: Count | None = None
    tol: Size = 1e-3
    reg_covar: Size = 0.0
    variance_floor: Size | None = 1e-6
    occupancy_floor: Size = 1.0
    on_singular: Literal["floor", "reseed", "drop", "raise"] = "floor"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    block_rows: Annotated[int, Field(ge=1, le=LARGEST_BLOCK_ROWS)] = 65_536
    missing: Literal["raise", "skip"] = "raise"
    on_damage: Literal["raise", "retry", "skip"] = "raise"
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    checkpoint_every: Size = 60.0

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Raises ConfigError listing every fault with its parameter."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError("; ".join(explain(fault, cls.model_fields) for fault in error.errors())) from None

    def regularisation(self) -> Regularisation:
        """The part that keeps components alive."""
        return Regularisation(self.reg_covar, self.variance_floor, self.occupancy_floor, self.on_singular)

    def stopping(self) -> Stopping:
        """The part that ends the fit."""
        return Stopping(self.tol, self.most_passes, self.deadline)

    @property
    def most_passes(self) -> int:
        """max_iter, or what stands for it."""
        return self.max_iter or MOST_PASSES.get(self.schedule_name, 100)

    @property
    def explores(self) -> bool:
        """Whether the fit begins on a sample in memory."""
        return self.schedule_name in EXPLORING

    @property
    def schedule_name(self) -> str:
        """The schedule that is used: hard assignments have no likelihood that extrapolated steps could rise on."""
        extrapolates = self.schedule in (*EXPLORING, "anderson")
        return "full_batch" if extrapolates and self.assignment == "hard" else self.schedule


def fresh_seed() -> int:
    """A seed for fits that were given none."""
    return secrets.randbits(31)


WANTED = {
    **dict.fromkeys(("n_components", "n_init", "max_iter"), "must be an int >= 1"),
    **dict.fromkeys(("tol", "reg_covar", "variance_floor", "occupancy_floor", "checkpoint_every"), "must be finite and >= 0"),
    "hold_out": "must be a share from 0 to 0.5",
    "block_rows": f"must be an int from 1 to {LARGEST_BLOCK_ROWS}",
}  # in place of what is said of the one bound that was broken
HINTS = {"reg_covar": "; 1e-6 is scikit-learn's default"}
WORDS = {
    "int_type": "must be an int",
    "float_type": "must be a number",
    "finite_number": "must be finite",
    "string_type": "must be text",
    "bool_type": "must be true or false",
}


def explain(fault: ErrorDetails, known: Iterable[str]) -> str:
    """One fault of a pydantic model in our words: parameter, what is wanted, what came, what to do."""
    path = ".".join(str(part) for part in fault["loc"])
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown parameter {path!r}{nearest(path, known)}"
    if kind == "missing":
        return f"{path} is needed"
    name = path.rpartition(".")[2]
    wanted = WORDS.get(kind) or _limit(kind, context) or fault["msg"]
    if kind != "float_type":
        wanted = WANTED.get(name, wanted)
    return f"{path} {wanted}, got {value!r}{_hint(kind, value, context) or HINTS.get(name, '')}"


def _hint(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return nearest(value, get_choices(context)) if isinstance(value, str) else ""
    if kind not in ("int_type", "float_type"):
        return ""
    if isinstance(value, str) and _is_number(value):
        return "; remove the quotes"
    return " of type bool, which is not accepted" if isinstance(value, bool) else f" of type {type(value).__name__}"


def get_choices(context: Mapping[str, Any]) -> list[str]:
    """The words a literal allows, out of pydantic's text."""
    return [word.strip(" '") for word in str(context.get("expected", "")).replace(" or ", ",").split(",")]


def _limit(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return f"must be one of {', '.join(get_choices(context))}"
    for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        if name in context:
            integer = isinstance(context[name], int) and not isinstance(context[name], bool)
            finite = "finite and " if not integer and name == "ge" else "an int " if integer and name == "ge" else ""
            return f"must be {finite}{sign} {context[name]:g}" if not integer else f"must be {finite}{sign} {context[name]}"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
