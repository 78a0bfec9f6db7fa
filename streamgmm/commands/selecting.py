"""Ladders in a run folder: many numbers of components in the same reads, the table of criteria, the picture. Floor 8."""

__all__ = ["select"]

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.commands._places import checked_path, checked_run_folder, open_table
from streamgmm.commands._summaries import model_facts
from streamgmm.commands._working import at_work
from streamgmm.commands.fitting import address_of
from streamgmm.commands.where import Where
from streamgmm.errors import MissingDependencyError, how_to_install
from streamgmm.events import Event, ignore
from streamgmm.executors.base import never
from streamgmm.executors.serial import Serial
from streamgmm.ladder import LadderJob, ladder_in
from streamgmm.ladder_configuration import LadderConfiguration
from streamgmm.ladder_table import Ladder, refuse_criterion
from streamgmm.model_file import model_hash
from streamgmm.passes import Observer
from streamgmm.sources.base import AbstractSource

AnyPath = str | os.PathLike[str]
PICTURE = "picture.png"


def select(
    store: AnyPath,
    run: AnyPath,
    k: Any = "1:32",
    *,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    criterion: str = "bic",
    out: AnyPath | None = None,
    where: Where | None = None,
    resume: str = "auto",
    overwrite: bool = False,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
    **parameters: Any,
) -> dict[str, Any]:
    """Fit a range of numbers of components in the same reads, in a run folder, and compare them; a ladder begun there goes on.

    k: numbers of components, such as "1:32" or "1,2,4,8". criterion: what chooses the run's model; another one may be asked for when all is
    done, nothing is read again. out: where the picture goes; None for the run's folder. parameters: those of LadderConfiguration.
    """
    configuration = LadderConfiguration.of(k, parameters)
    refuse_criterion(criterion, has_held_out=configuration.hold_out > 0)
    if out is not None and not _can_draw():
        raise MissingDependencyError(f"the picture needs matplotlib, which is not installed: {how_to_install('matplotlib')}")
    opened = Run(checked_run_folder(run, store))
    source = open_table(store, features, weight, configuration.missing, configuration.block_rows)
    location = {"store": address_of(store), "features": None if features is None else list(features), "weight": weight}
    if overwrite and opened.exists:
        with opened:
            opened.clear()
    asked = LadderJob(
        source=source,
        configuration=configuration,
        executor=Serial(),
        location=location,
        observe=observe,
        stop_requested=stop_requested,
        criterion=criterion,
    )
    with at_work(asked, opened, where or Where()) as job:
        ladder = ladder_in(opened, job, resume)
    return _facts(opened, ladder, source, _picture(opened, ladder, out, str(store), observe))


def _facts(run: Run, ladder: Ladder, source: AbstractSource, picture: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"run": run.place, "message": ladder.outcome.value, **ladder.to_json(), "model": None, "hash": None}
    if not ladder.rungs:
        return facts
    with run.model_folder() as path:
        digest = model_hash(path)
    return {
        **facts,
        "converged": ladder.winner.converged,
        "table": ladder.table(),
        "model": f"{run.place}/{run.model_path.name}",
        "hash": digest,
        "picture": picture,
        **model_facts(ladder.mixture, source.feature_names, source.units),
    }


def _can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _picture(run: Run, ladder: Ladder, out: AnyPath | None, title: str, observe: Observer) -> str | None:
    if not ladder.rungs or (out is None and not run.is_local):
        return None
    if not _can_draw():
        observe(Event("warning", f"no picture: matplotlib is not installed ({how_to_install('matplotlib')})", {}))
        return None
    path = run.folder / PICTURE if out is None else checked_path(out)
    save = importlib.import_module("streamgmm.ladder_picture").save_ladder_picture
    return str(save(path, ladder, title=Path(title).name))
