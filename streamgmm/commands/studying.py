"""A whole study of a store in one call: plan, fit, labels, picture. Floor 8. What pipelines and `quickstart` are made of."""

__all__ = ["study"]

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zarr

from streamgmm.commands._places import open_table
from streamgmm.commands.applying import predict
from streamgmm.commands.fitting import fit
from streamgmm.commands.planning import plan
from streamgmm.commands.where import Where
from streamgmm.events import Event, ignore
from streamgmm.executors.base import never
from streamgmm.fit import sample_for_starts
from streamgmm.model_file import load_model
from streamgmm.passes import Observer

AnyPath = str | os.PathLike[str]
Facts = dict[str, Any]


def unseen(planned: Facts) -> None:
    """What `on_plan` does unless told otherwise: nothing."""
    del planned


def study(
    store: AnyPath,
    out: AnyPath,
    *,
    features: Sequence[str] | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    title: str = "",
    where: Where | None = None,
    observe: Observer = ignore,
    stop_requested: Callable[[], bool] = never,
    on_plan: Callable[[Facts], Any] = unseen,
    **parameters: Any,
) -> Facts:
    """Plan a fit (`on_plan` sees it before anything is computed), fit in out/run, write column `label`, draw out/picture.png.

    pairs: the picture's panels. parameters: those of FitConfiguration. What is there already for the same model is not done again.
    """
    folder, column, picture = Path(out), Path(store) / "label", Path(out) / "picture.png"
    planned = plan(store, features=features, where=where, **parameters)
    on_plan(planned)
    fitted = fit(store, folder / "run", features=features, where=where, observe=observe, stop_requested=stop_requested, **parameters)
    facts: Facts = {"out": str(folder), "store": str(store), "plan": planned, "fit": fitted, "labels": None, "picture": None}
    if fitted["model"] is None:
        return facts
    if _labelled_by(column) != fitted["hash"]:
        picture.unlink(missing_ok=True)  # it shows another model: gone before its labels are
        observe(Event("start", "labelling every row", {}))
        predict(folder / "run", store, "label", features=features, overwrite=True, where=where, observe=observe)
    facts["labels"] = str(column)
    missing = str(parameters.get("missing", "raise"))
    facts["picture"] = str(picture) if picture.is_file() else _picture(picture, store, features, pairs, title, fitted, missing, observe)
    return facts


def _labelled_by(column: Path) -> str:
    """Hash of the model that made a column of labels, "" where there is none."""
    if not (column / "zarr.json").is_file():
        return ""
    return str(zarr.open_array(str(column), mode="r", zarr_format=3).attrs.get("model_hash", ""))


def _picture(
    path: Path,
    store: AnyPath,
    features: Sequence[str] | None,
    pairs: Sequence[tuple[str, str]] | None,
    title: str,
    fitted: Facts,
    missing: str,
    observe: Observer,
) -> str | None:
    if importlib.util.find_spec("matplotlib") is None:
        observe(Event("warning", "no picture: matplotlib is not installed (pip install 'streamgmm[plot]')", {}))
        return None
    observe(Event("start", "drawing the picture", {}))
    sample = sample_for_starts(open_table(store, features, None, missing), 0)
    save_picture = importlib.import_module("streamgmm.picture").save_picture
    heading = f"{title or Path(store).name}: {fitted['rows']:,} rows"
    return str(save_picture(path, load_model(fitted["model"]), sample, pairs=pairs, title=heading))
