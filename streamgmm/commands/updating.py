"""Runs brought up to date: rows that were appended, blocks that are to be forgotten. Floor 8."""

__all__ = ["forget", "update"]

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.commands._places import checked_path, checked_run_folder, open_table, run_of
from streamgmm.commands._summaries import fit_facts, model_facts
from streamgmm.commands.fitting import address_of, location_of
from streamgmm.commands.where import Where
from streamgmm.errors import EXIT_STOPPED, ConfigError
from streamgmm.events import ignore
from streamgmm.executors.base import never
from streamgmm.forgetting import model_without
from streamgmm.model_file import model_hash, save_model
from streamgmm.observers.base import together
from streamgmm.observers.json_lines import JsonLines
from streamgmm.passes import Observer
from streamgmm.signals import nothing_to_save
from streamgmm.updating import prepared

AnyPath = str | os.PathLike[str]


def update(
    run: AnyPath,
    store: AnyPath,
    into: AnyPath,
    *,
    how: str = "exact",
    read_all: bool = False,
    dry_run: bool = False,
    where: Where | None = None,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
) -> dict[str, Any]:
    """The model of a finished run for its grown store, as a new run; only what was appended is read. See `streamgmm.updating.update`.

    dry_run: say what would be read, beyond the two blocks that tell whether the first rows are still those of the run.
    """
    old, new = run_of(run), Run(checked_run_folder(into, store))
    location = location_of(old, old.record(), address_of(store))
    source = open_table(store, location["features"], location["weight"])
    with contextlib.ExitStack() as stack:
        with nothing_to_save(stop_requested, EXIT_STOPPED):
            executor = stack.enter_context((where or Where()).open())
        watch = {"observe": observe, "stop_requested": stop_requested, "location": location}
        job = prepared(old, new, source, executor, how, read_all=read_all, **watch)
        appendix = job.appendix
        plan = {**asdict(appendix), "rows_appended": appendix.rows_appended, "nothing_to_do": not appendix.rows_appended}
        plan = {"updated": old.place, **plan, "said": appendix.said()}
        if dry_run or not appendix.rows_appended:
            return plan
        log: Any = contextlib.nullcontext(ignore) if new.events_path is None else JsonLines(new.events_path)
        result = replace(job, observe=together(stack.enter_context(log), observe)).fit_in(new)
    return {**plan, **fit_facts(new, job, result, result.state.passes), "converged": None, "said": job.said()}


def forget(
    run: AnyPath,
    store: AnyPath,
    blocks: tuple[int, int],
    out: AnyPath,
    *,
    overwrite: bool = False,
    where: Where | None = None,
    observe: Observer = ignore,
) -> dict[str, Any]:
    """The model of a run's table without blocks first .. last-1, as a model of its own. See `streamgmm.forgetting.forget`."""
    opened, target = run_of(run), checked_path(out)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists already; use --overwrite (overwrite=True) or another path")
    location = location_of(opened, opened.record(), address_of(store))
    source = open_table(store, location["features"], location["weight"])
    with (where or Where()).open() as executor:
        plan, model = model_without(opened, source, executor, *blocks, observe)
    save_model(target, model, overwrite=overwrite)
    return {
        "run": opened.place,
        "forgotten": [plan.first, plan.last],
        "blocks_read": len(plan.to_read),
        "rows": model.provenance["rows"],
        "skipped": model.provenance.get("skipped"),
        "log_likelihood": model.log_likelihoods[-1],
        "model": str(target),
        "hash": model_hash(target),
        **model_facts(model.mixture, model.feature_names, model.units),
    }
