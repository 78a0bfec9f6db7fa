"""Fits in a run folder: start, go on, start anew. Floor 8."""

__all__ = ["address_of", "fit", "location_of", "resume"]

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.commands._places import checked_run_folder, open_table, run_of
from streamgmm.commands._summaries import fit_facts
from streamgmm.commands._working import at_work
from streamgmm.commands.where import Where
from streamgmm.configuration import MAY_CHANGE, FitConfiguration
from streamgmm.errors import CheckpointError, ConfigError, nearest
from streamgmm.events import Event, ignore
from streamgmm.executors.base import never
from streamgmm.executors.serial import Serial
from streamgmm.job import Job
from streamgmm.observers.base import together
from streamgmm.passes import Observer
from streamgmm.sources.base import AbstractSource
from streamgmm.wording import redacted_words

AnyPath = str | os.PathLike[str]


def fit(
    store: AnyPath,
    run: AnyPath,
    *,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    where: Where | None = None,
    resume: str = "auto",
    overwrite: bool = False,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
    **parameters: Any,
) -> dict[str, Any]:
    """Fit a mixture to a store in a run folder; a run that holds this fit's commits already goes on.

    features: columns, None for every numeric one. weight: column of row weights. resume: "never", "auto" or "must". overwrite: what
    the run folder holds of an earlier run is deleted first. parameters: those of FitConfiguration.
    """
    configuration = FitConfiguration.checked(parameters)
    folder = checked_run_folder(run, store)
    source = open_table(store, features, weight, configuration.missing, configuration.block_rows)
    location = {"store": address_of(store), "features": None if features is None else list(features), "weight": weight}
    opened = Run(folder)
    if overwrite and opened.exists:
        with opened:
            opened.clear()
    return _fit_in(opened, source, configuration, location, where or Where(), resume, observe, stop_requested)


def resume(
    run: AnyPath,
    *,
    store: AnyPath | None = None,
    where: Where | None = None,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
    **changes: Any,
) -> dict[str, Any]:
    """Go on with a run. store: where its rows lie now, if they were moved. changes: other values of what MAY_CHANGE names; they stay."""
    opened = run_of(run)
    record = opened.record()
    configuration = _changed(opened, record, changes)
    location = location_of(opened, record, store)
    folder = checked_run_folder(run, location["store"])
    source = open_table(location["store"], location["features"], location["weight"], configuration.missing, configuration.block_rows)
    if changes:
        with opened:
            opened.change(changes)
    return _fit_in(Run(folder), source, configuration, location, where or Where(), "must", observe, stop_requested)


def _fit_in(
    run: Run,
    source: AbstractSource,
    configuration: FitConfiguration,
    location: Mapping[str, Any],
    where: Where,
    resume: str,
    observe: Observer,
    stop_requested: Callable[[], bool],
) -> dict[str, Any]:
    passes = _Passes()
    watch = together(passes, observe)
    asked = Job(source, configuration, Serial(), location=location, observe=watch, stop_requested=stop_requested)
    with at_work(asked, run, where) as job:
        result = job.fit_in(run, resume)
    return fit_facts(run, job, result, passes.made)


class _Passes:
    """An observer that counts the passes of this call."""

    made = 0

    def __call__(self, event: Event) -> None:
        self.made += event.kind == "pass"


def address_of(store: AnyPath) -> str:
    """Independent of the working folder of whoever resumes, and without a password: a run keeps no secrets."""
    return redacted_words(str(store)) if "://" in str(store) else str(Path(store).absolute())


def _changed(run: Run, record: Mapping[str, Any], changes: Mapping[str, Any]) -> FitConfiguration:
    for name in changes:
        if name not in MAY_CHANGE:
            raise ConfigError(f"{name} of a run cannot change; {', '.join(MAY_CHANGE)} can{nearest(name, MAY_CHANGE)}")
    saved = record.get("configuration")
    if not isinstance(saved, dict):
        raise CheckpointError(f"{run.place}/run.json holds no configuration; start again in a new run folder")
    if "ladder" in saved:
        raise ConfigError(f"the run in {run.place} is a ladder; streamgmm select STORE --run {run.place} goes on with it")
    saved = {**saved, **{name: value for name, value in run.changes().items() if name in MAY_CHANGE}}
    try:
        FitConfiguration.checked(saved)
    except ConfigError as error:
        raise CheckpointError(f"{run.place}/run.json, or a change of it: {error}") from error
    return FitConfiguration.checked({**saved, **changes})


def location_of(run: Run, record: Mapping[str, Any], store: AnyPath | None) -> dict[str, Any]:
    """Where the rows of a run lie, and which columns; store: where they lie now. Raises ConfigError, CheckpointError."""
    found = record.get("location")
    found = found if isinstance(found, dict) else {}
    address = str(store) if store is not None else found.get("store")
    if store is None and isinstance(address, str) and redacted_words(address) == address and "***" in address:
        raise ConfigError(f"a run keeps no secrets: run.json says {address}; name the store with its credentials, --store (store=...)")
    features, weight = found.get("features"), found.get("weight")
    whole = isinstance(address, str) and isinstance(features, list | None) and isinstance(weight, str | None)
    if not whole or not all(isinstance(name, str) for name in features or ()):
        raise CheckpointError(f"{run.place}/run.json does not say where the rows are; name the store with --store (store=...)")
    return {"store": address, "features": features, "weight": weight}
