"""A picture of a model: the table as two-dimensional histograms, the components as ellipses, the course of the fit. Floor 7.

Drawn from a sample of the rows, so that the cost does not grow with the table. Nothing here touches matplotlib's global state: a figure
is made, written as a PNG and forgotten.
"""

__all__ = ["plain_text", "save_figure", "save_picture"]

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator

from streamgmm.arrays import ArrayDD, ArrayND
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.errors import ConfigError, nearest
from streamgmm.initialisers._sample import Sample
from streamgmm.model_file import SavedModel
from streamgmm.pending_folder import storage_errors
from streamgmm.wording import one_line

MOST_PAIRS = 6
BINS = 160
OUTSIDE = 0.5  # per cent of the rows at either end of a column that may lie outside of its axis
DEVIATIONS = (1.0, 2.0)
MOST_NAMED = 24  # components in the key
PANEL_INCHES = 3.6

Pair = tuple[str, str]


def save_picture(
    path: str | os.PathLike[str], model: SavedModel, sample: Sample, *, pairs: Sequence[Pair] | None = None, title: str = ""
) -> Path:
    """Write a PNG: a panel for each pair of columns (the first six, unless given), the log-likelihood at each pass, the weights.

    Ellipses stand at one and two standard deviations of every component. Raises ConfigError (unknown column), StorageError.
    """
    chosen = _chosen(model.feature_names, pairs)
    figure, panels = _figure(len(chosen) + 2)
    for panel, (horizontal, vertical) in zip(panels, chosen, strict=False):
        if horizontal == vertical:
            _draw_column(panel, model, sample, horizontal)
        else:
            _draw_pair(panel, model, sample, horizontal, vertical)
    _draw_history(panels[len(chosen)], model.log_likelihoods)
    for blank in panels[len(chosen) + 1 :]:
        blank.set_axis_off()
    _draw_key(panels[len(chosen) + 1], model)
    figure.suptitle(plain_text(title or f"{model.mixture.n_components} components"))
    return save_figure(figure, Path(path))


def _chosen(names: Sequence[str], pairs: Sequence[Pair] | None) -> list[tuple[int, int]]:
    if pairs is None:
        all_pairs = itertools.combinations(range(len(names)), 2)
        return list(itertools.islice(all_pairs, MOST_PAIRS)) or [(0, 0)]
    for name in itertools.chain.from_iterable(pairs):
        if name not in names:
            raise ConfigError(f"no column {name!r} in the model{nearest(name, names)}; its columns are {', '.join(names)}")
    return [(names.index(horizontal), names.index(vertical)) for horizontal, vertical in pairs]


def _figure(n_panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(n_panels, 4 if n_panels > 6 else 3)
    rows = math.ceil(n_panels / columns)
    figure = Figure(figsize=(PANEL_INCHES * columns, PANEL_INCHES * rows), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).ravel())


def _draw_pair(panel: Axes, model: SavedModel, sample: Sample, horizontal: int, vertical: int) -> None:
    columns = [horizontal, vertical]
    ranges = [_range(sample.x, column) for column in columns]
    x, y = sample.x[:, columns].T
    panel.hist2d(x, y, bins=BINS, range=ranges, weights=sample.weight, cmap="Greys", norm=LogNorm())
    components = cast(AbstractGaussian, model.mixture.components)
    covariances = components.dense_covariances()
    for k in range(model.mixture.n_components):
        colour = _colour(k)
        for deviations in DEVIATIONS:
            panel.add_patch(_ellipse(components.means[k, columns], covariances[k][np.ix_(columns, columns)], deviations, colour))
        panel.plot(*components.means[k, columns], "+", color=colour, markersize=6)
    panel.set(xlim=ranges[0], ylim=ranges[1], xlabel=_label(model, horizontal), ylabel=_label(model, vertical))


def _ellipse(mean: Any, covariance: ArrayDD, deviations: float, colour: Any) -> Ellipse:
    """Where the Mahalanobis distance from the mean is `deviations`."""
    variances, axes = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(variances, 0.0))
    angle = math.degrees(math.atan2(axes[1, 0], axes[0, 0]))
    return Ellipse(tuple(mean), width, height, angle=angle, fill=False, edgecolor=colour, linewidth=1.6 / deviations)


def _draw_column(panel: Axes, model: SavedModel, sample: Sample, column: int) -> None:
    low, high = _range(sample.x, column)
    panel.hist(sample.x[:, column], bins=BINS, range=(low, high), weights=sample.weight, density=True, color="0.8")
    at = np.linspace(low, high, 400)
    components = cast(AbstractGaussian, model.mixture.components)
    total = np.zeros_like(at)
    for k, weight in enumerate(model.mixture.weights.proportions):
        variance = components.dense_covariances()[k, column, column]
        density = weight * np.exp(-0.5 * (at - components.means[k, column]) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
        total += density
        panel.plot(at, density, color=_colour(k), linewidth=1)
    panel.plot(at, total, color="black", linewidth=1.2)
    panel.set(xlim=(low, high), xlabel=_label(model, column), ylabel="density")


def _draw_history(panel: Axes, history: Sequence[float]) -> None:
    panel.plot(range(1, len(history) + 1), history, ".-", color="black", linewidth=1, markersize=4)
    panel.set(xlabel="pass", ylabel="mean log-likelihood per row")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.ticklabel_format(axis="y", useOffset=False)
    panel.grid(alpha=0.3)


def _draw_key(panel: Axes, model: SavedModel) -> None:
    weights = model.mixture.weights.proportions
    order = np.argsort(-weights, kind="stable")[:MOST_NAMED]
    lines = [Line2D([], [], color=_colour(int(k)), label=f"{k}: weight {weights[k]:.3g}") for k in order]
    title = "components" if len(order) == len(weights) else f"{len(order)} largest of {len(weights)} components"
    panel.legend(handles=lines, loc="center", frameon=False, title=title, ncols=1 if len(order) <= 12 else 2)


def _range(x: ArrayND, column: int) -> tuple[float, float]:
    """What the axis shows: the column but for a few far rows, which would leave nothing to be seen of the others."""
    low, high = (float(value) for value in np.percentile(x[:, column], [OUTSIDE, 100 - OUTSIDE]))
    margin = 0.05 * (high - low) or max(abs(high), 1.0) * 1e-3
    return low - margin, high + margin


def _colour(k: int) -> Any:
    return mpl.color_sequences["tab10"][k % 10]


def _label(model: SavedModel, column: int) -> str:
    unit = model.units[column]
    return plain_text(f"{model.feature_names[column]} [{unit}]" if unit else model.feature_names[column])


def plain_text(text: str) -> str:
    """No mathematics in names: a dollar sign is a dollar sign."""
    return one_line(text).replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write it as a PNG that appears whole or not at all. Raises StorageError."""
    pending = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with storage_errors(path):
        try:
            figure.savefig(pending, format="png", metadata={"Software": None})
            pending.replace(path)
        finally:
            pending.unlink(missing_ok=True)
    return path
