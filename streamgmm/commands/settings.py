"""What a fit is told, and by whom: flag, environment, configuration file or default. Floor 8.

A configuration file is TOML: the keys of `Settings` on top, a fit's parameters in the table [fit]. Everything is checked strictly
and all faults of a file are reported at once, each with its key path.
"""

__all__ = ["Given", "Setting", "Settings", "read_settings", "resolve"]

import datetime as dt
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from streamgmm.commands._durations import seconds_of
from streamgmm.commands._toml import read_table
from streamgmm.configuration import FitConfiguration, explain
from streamgmm.errors import ConfigError, nearest
from streamgmm.wording import redacted_words

NOT_OF_TYPE = ("int_type", "float_type", "string_type", "bool_type")
TIMES = ("stall_timeout", "fit.deadline", "fit.checkpoint_every")
PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")

Count = Annotated[int, Field(ge=1)]


class _FitTable(FitConfiguration):
    """The table [fit]: a FitConfiguration of which nothing must be given, and whose times have units."""

    n_components: Count | None = None  # type: ignore[assignment]
    deadline: str | None = None  # type: ignore[assignment]
    checkpoint_every: str | None = None  # type: ignore[assignment]


class Settings(BaseModel):
    """The keys of a configuration file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    store: str | None = None
    run: str | None = None
    features: list[str] | None = None
    weight: str | None = None
    executor: str | None = None
    threads: int | Literal["auto"] | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    local: int | Literal["auto"] | None = None
    insecure_cluster: bool = False
    strict: bool = False
    stall_timeout: str | None = None
    fit: _FitTable = _FitTable()


@final
@dataclass(frozen=True)
class Setting:
    """A value and where it comes from."""

    value: Any
    origin: str


Given = Mapping[str, Setting]  # by dotted key: "store", "fit.tol"


def read_settings(path: str | os.PathLike[str], *, strict: bool = False) -> dict[str, Setting]:
    """The settings of a configuration file by dotted key. strict: a secret in it is an error, not a warning. Raises ConfigError."""
    table = read_table(path)
    if not table:
        raise ConfigError(f"{path} holds no settings: expected a table [fit] with n_components, and store and run, or some of these keys")
    _warn_of_secrets(table, path, strict or table.get("strict") is True)
    table, unset = _filled(table, "")
    faults = [*unset, *_faults(table)]
    if faults:
        raise ConfigError(redacted_words(f"{path}: {'; '.join(faults)}"))
    return {key: Setting(_final(key, value), f"file {path}") for key, value in _flat(table)}


def resolve(flags: Given, config: str | os.PathLike[str] | None = None, *, strict: bool = False) -> dict[str, Setting]:
    """Every setting with its origin; flags (which hold what the environment says, too) go before the file, the file before defaults."""
    file = {} if config is None else read_settings(config, strict=strict)
    return {**_defaults(), **file, **flags}


def _defaults() -> dict[str, Setting]:
    top = {name: field.default for name, field in Settings.model_fields.items() if name != "fit"}
    fit = {f"fit.{name}": None if field.is_required() else field.default for name, field in FitConfiguration.model_fields.items()}
    return {key: Setting(value, "default") for key, value in {**top, **fit}.items()}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _final(key: str, value: Any) -> Any:
    return seconds_of(value, key) if key in TIMES else value


# ---- faults ----------------------------------------------------------------------------------------------------------------------


def _known() -> list[str]:
    return [*Settings.model_fields, *(f"fit.{name}" for name in FitConfiguration.model_fields)]


def _faults(table: Mapping[str, Any]) -> list[str]:
    try:
        checked = Settings(**table)
    except ValidationError as error:
        return list(dict.fromkeys(_explain(fault) for fault in error.errors()))
    try:
        values = checked.stall_timeout, checked.fit.deadline, checked.fit.checkpoint_every
        for key, value in zip(TIMES, values, strict=True):
            if value is not None:
                seconds_of(value, key)
    except ConfigError as error:
        return [str(error)]
    return []


def _explain(fault: ErrorDetails) -> str:
    """One fault, with the key path, what TOML made of the value and what to write in its place."""
    path, kind = ".".join(str(part) for part in fault["loc"]), fault["type"]
    if kind == "extra_forbidden":
        return f"unknown key {path!r}{_right_place(path)}"
    if kind in ("model_type", "list_type"):
        wanted = f"a table [{path}] with {', '.join(FitConfiguration.model_fields)}" if kind == "model_type" else "a list"
        return f"{path}: expected {wanted}; found {_toml_type(fault['input'])}"
    return _of_value(path, fault["input"]) or _of_type(fault)


def _of_value(path: str, value: Any) -> str:
    """What is wrong with a value, whatever was wanted; nothing where that depends on the key."""
    if isinstance(value, dt.date | dt.time):
        return f"{path}: TOML reads {value.isoformat()} as {_toml_type(value)}; write a number, or quote it if text is meant"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} must be finite, got {value}"
    if path in TIMES:
        return f'{path} must be text with a unit, such as "90s", "10min" or "2h"; got {value!r}, which TOML reads as {_toml_type(value)}'
    if path.startswith(("threads.", "local.")):
        return f'{path.partition(".")[0]} must be a whole number or "auto", got {value!r}'
    return ""


def _of_type(fault: ErrorDetails) -> str:
    return explain(fault, _known()) + (f" (TOML reads {_toml_type(fault['input'])})" if fault["type"] in NOT_OF_TYPE else "")


def _right_place(path: str) -> str:
    last = path.rsplit(".", 1)[-1]
    for key in _known():
        if key.rsplit(".", 1)[-1] == last:
            table = f"the table [{key.rsplit('.', 1)[0]}]" if "." in key else "the top of the file, before any [table]"
            return f"; {last!r} belongs into {table}"
    known = [key for key in _known() if key.count(".") == path.count(".")]
    close = nearest(last, [key.rsplit(".", 1)[-1] for key in known])
    return close or f"; known are {', '.join(known)}"


def _toml_type(value: Any) -> str:
    names: tuple[tuple[Any, str], ...] = (
        (bool, "a truth value"),
        (int, "an integer"),
        (float, "a float"),
        (str, "text"),
        (dt.datetime, "a date and time"),
        (dt.date, "a date"),
        (dt.time, "a local time"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


# ---- placeholders and secrets ----------------------------------------------------------------------------------------------------


def _filled(value: Any, path: str) -> tuple[Any, list[str]]:
    """The value with ${NAME} replaced by the environment's, and what was not set (names only, never values)."""
    if isinstance(value, Mapping):
        items = {key: _filled(item, f"{path}.{key}" if path else key) for key, item in value.items()}
        return {key: item for key, (item, _) in items.items()}, [fault for _, faults in items.values() for fault in faults]
    if isinstance(value, list):
        parts = [_filled(item, path) for item in value]
        return [item for item, _ in parts], [fault for _, faults in parts for fault in faults]
    if not isinstance(value, str):
        return value, []
    unset = [name for name in PLACEHOLDER.findall(value) if name not in os.environ]
    faults = [f"{path}: the environment variable {name!r} is not set; set it, or write the value" for name in unset]
    return PLACEHOLDER.sub(lambda found: os.environ.get(found[1], ""), value), faults


def _warn_of_secrets(table: Mapping[str, Any], path: str | os.PathLike[str], strict: bool) -> None:
    for key, value in _flat(table):
        shown = redacted_words(str(value))
        if shown != str(value):
            message = f"{path}: {key} holds a secret ({shown}); keep it in the environment, or in a file that only you can read"
            if strict:
                raise ConfigError(message)
            warnings.warn(message, UserWarning, stacklevel=2)
