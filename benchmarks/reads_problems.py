"""The problems of the benchmark of reads: random mixtures, the Tycho-2 catalogue, three pixels of Gaia DR2."""

__all__ = ["GAIA_COLUMNS", "Problem", "problems_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from streamgmm.arrays import ArrayND
from streamgmm.sources import open_source

ROWS, TEN_ROWS, TEN_ROWS_OF_LARGE, LARGE_K = 400_000, 100_000, 50_000, 32
SHAPES = ((2, 4), (3, 8), (5, 10), (4, 6), (6, 8), (8, 8), (3, 5), (4, 12), (2, 6), (10, 6), (5, 16), (16, 4), (6, 12), (3, 12), (8, 16))
LARGE_SHAPES = ((4, 32), (6, 64), (16, 32))
TYCHO_COLUMNS = ("pm_ra", "pm_dec", "bt_vt", "vt")
GAIA_COLUMNS = ("pmra", "pmdec", "parallax", "phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag")
TYCHO_K, GAIA_K = 8, 6


@dataclass(frozen=True)
class Problem:
    """Rows to fit k components to. ten_rows: how many of them ten starts of scikit-learn can be waited for. place: of a real table."""

    name: str
    d: int
    k: int
    rows: int
    ten_rows: int
    seed: int
    place: str = ""

    @property
    def n_parameters(self) -> int:
        """Of full covariances."""
        return self.k - 1 + self.k * (self.d + self.d * (self.d + 1) // 2)

    @cached_property
    def x(self) -> ArrayND:
        """All rows."""
        if self.place:
            return thinned(_table(self.name, self.place), self.rows)
        return drawn(self.d, self.k, self.rows, self.seed)

    def table(self, rows: int) -> ArrayND:
        """So many rows, spread evenly."""
        return thinned(self.x, rows)


def problems_of(rows: int, seed: int, tycho: str | None, gaia: str | None) -> list[Problem]:
    """All of them; the real tables where they are given."""
    shapes = (*SHAPES, *LARGE_SHAPES)
    made = [_real("tycho", tycho, TYCHO_K, rows)] if tycho else []
    made += [_real("gaia", gaia, GAIA_K, rows)] if gaia else []
    return made + [Problem("random", d, k, rows, min(rows, _ten_rows(k)), seed + number) for number, (d, k) in enumerate(shapes)]


def _ten_rows(k: int) -> int:
    return TEN_ROWS_OF_LARGE if k >= LARGE_K else TEN_ROWS


def _real(name: str, place: str, k: int, rows: int) -> Problem:
    n, d = _table(name, place).shape
    rows = min(rows, n)
    return Problem(name, d, k, rows, min(rows, TEN_ROWS), 0, place)


def _table(name: str, place: str) -> ArrayND:
    return tycho_rows(place) if name == "tycho" else gaia_rows(place)


def thinned(x: ArrayND, rows: int) -> ArrayND:
    """So many rows of a table, or all of them, at equal distances."""
    if rows >= len(x):
        return x
    return np.ascontiguousarray(x[np.linspace(0, len(x), rows, endpoint=False).astype(int)])


def drawn(d: int, k: int, n: int, seed: int) -> ArrayND:
    """Rows of a random mixture; how far its components lie apart is drawn as well."""
    rng = np.random.default_rng([seed, d, k])
    apart = rng.uniform(1.0, 2.5)
    means = rng.normal(0, apart, (k, d))
    a = rng.normal(0, 0.4, (k, d, d))
    covariances = a @ a.transpose(0, 2, 1) + 0.3 * np.eye(d)
    labels = rng.choice(k, n, p=rng.dirichlet(np.full(k, 5.0)))
    x = rng.normal(size=(n, d))
    for j in range(k):
        x[labels == j] = means[j] + x[labels == j] @ np.linalg.cholesky(covariances[j]).T
    return x


def tycho_rows(store: str) -> ArrayND:
    """Proper motions, colour and magnitude of all stars that have them, from the store that pipelines/tycho2.py makes."""
    source = open_source(store, features=TYCHO_COLUMNS, missing="skip")
    assert source.n_blocks is not None
    return np.concatenate([source.read(index).x for index in range(source.n_blocks)])


def gaia_rows(folder: str) -> ArrayND:
    """Proper motions, parallax and three magnitudes of all files *.csv of a folder."""
    return np.concatenate([_columns(path, GAIA_COLUMNS) for path in sorted(Path(folder).glob("*.csv"))])


def _columns(path: Path, names: Sequence[str]) -> ArrayND:
    with path.open(encoding="utf-8") as file:
        head = file.readline().rstrip("\n").split(",")
        return np.loadtxt(file, delimiter=",", usecols=[head.index(name) for name in names])
