"""A picture of a ladder: the criterion, and the held-out likelihood with its paired standard errors, against K. Floor 7."""

__all__ = ["save_ladder_picture"]

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from streamgmm.ladder_table import Ladder, Rung
from streamgmm.picture import plain_text, save_figure

NAMES = {"bic": "BIC", "aic": "AIC", "aicc": "AICc", "icl_map": "ICL (map)", "icl_entropy": "ICL (entropy)"}
BESIDE = ("bic", "icl_map")


def save_ladder_picture(path: str | os.PathLike[str], ladder: Ladder, *, title: str = "") -> Path:
    """Write a PNG; the winner is ringed. Raises StorageError."""
    held_out = all(rung.difference is not None for rung in ladder.rungs)
    figure = Figure(figsize=(11 if held_out else 6, 4.2), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if held_out else 1, squeeze=False)[0]
    _draw_criteria(panels[0], ladder)
    if held_out:
        _draw_held_out(panels[1], ladder)
    heading = f"{ladder.rows:,} rows, {len(ladder.rungs)} contenders, {ladder.passes} passes: K = {ladder.winner.n_components}"
    figure.suptitle(plain_text(f"{title}: {heading}" if title else heading))
    return save_figure(figure, Path(path))


def _draw_criteria(panel: Axes, ladder: Ladder) -> None:
    """Below the best of each, on a scale that shows both what is near the best and what is far."""
    chosen = (ladder.criterion, *(name for name in BESIDE if name != ladder.criterion)) if ladder.criterion in NAMES else BESIDE
    for number, name in enumerate(chosen):
        values = [_number(rung, name) for rung in ladder.best_of_each]
        top = max(values)
        colour = f"C{number}"
        others = [(rung.n_components, _number(rung, name) - top) for rung in ladder.rungs if not rung.best]
        panel.plot([k for k, _ in others], [value for _, value in others], ".", color=colour, alpha=0.4, markersize=4)
        panel.plot([rung.n_components for rung in ladder.best_of_each], [v - top for v in values], "o-", color=colour, label=NAMES[name])
    if ladder.criterion in NAMES:
        panel.plot([ladder.winner.n_components], [0], "o", markersize=14, markerfacecolor="none", markeredgecolor="black")
    panel.set_yscale("symlog", linthresh=10)
    panel.set(xlabel="components K", ylabel="below the best (larger is better)")
    panel.legend(frameon=False)
    _finish(panel)


def _draw_held_out(panel: Axes, ladder: Ladder) -> None:
    for rungs, style, colour in (([r for r in ladder.rungs if not r.best], ".", "0.6"), (list(ladder.best_of_each), "o-", "C3")):
        values, errors = [_number(rung, "difference") for rung in rungs], [_number(rung, "difference_error") for rung in rungs]
        panel.errorbar([rung.n_components for rung in rungs], values, errors, fmt=style, color=colour, capsize=2, linewidth=1)
    if ladder.criterion == "held_out":
        winner = ladder.winner
        at = [winner.n_components], [_number(winner, "difference")]
        panel.plot(*at, "o", markersize=14, markerfacecolor="none", markeredgecolor="black")
    scale = max(4 * float(np.median([_number(rung, "difference_error") for rung in ladder.rungs])), 1e-9)
    panel.axhline(0, color="black", linewidth=0.6)
    panel.set_yscale("symlog", linthresh=scale)
    panel.set_ylim(1.5 * min(_number(rung, "difference") for rung in ladder.rungs) - scale, scale)
    panel.set(xlabel="components K", ylabel=f"log density of {ladder.held_out_rows:,} rows held out,\nless the best contender's")
    _finish(panel)


def _number(rung: Rung, name: str) -> float:
    value = getattr(rung, name)
    return float("nan") if value is None else float(value)


def _finish(panel: Axes) -> None:
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(alpha=0.3)
