"""Rows that are not the same in every pass are found: the columns' means and deviations come with the statistics."""

from dataclasses import dataclass, field

import dask.array as da
import numpy as np
import pytest

from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import DataChangedError, NondeterminismError
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.sources import as_source
from tests.making import CountedRows

K = 2
FAMILIES = ["full", "tied", "diag", "spherical", "tied_spherical"]


def rows_of(rng, n=3000):
    return np.concatenate([rng.normal(0, 1, (n // 2, 2)), rng.normal(9, 2, (n // 2, 2))]) + np.array([1e8, -3])


def job(source, max_iter, covariance_type="full"):
    configuration = FitConfiguration(n_components=K, covariance_type=covariance_type, max_iter=max_iter, tol=0.0, block_rows=500)
    return Job(source, configuration, Threads(2))


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_same_rows_are_the_same_in_every_pass(covariance_type, rng):
    state = job(as_source(rows_of(rng), block_rows=500), 12, covariance_type).fit().state
    assert state.passes == 12


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("change", ["moved", "swapped values", "fewer"])
def test_rows_changed_in_the_middle_of_the_table_are_found_on_resume(change, covariance_type, rng, tmp_path):
    x = rows_of(rng)
    job(as_source(x, block_rows=500), 3, covariance_type).fit_in(Run(tmp_path / "run"))
    if change == "moved":
        x[1200:1210] += 0.01
    elif change == "swapped values":
        x[1200:1400, 1] += 5
    else:
        x[1300] = np.nan
    source = as_source(x, block_rows=500, missing="raise")
    going_on = job(source if change != "fewer" else source.with_missing("skip"), 6, covariance_type)
    with pytest.raises(DataChangedError, match=r"changed since the pass before: the (mean of column|pass before read)"):
        going_on.fit_in(Run(tmp_path / "run"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Written(CountedRows):
    """A store that somebody writes to: from the given read on, one value is another."""

    after: int = 0
    changed: list = field(default_factory=list)

    def load(self, index):
        rows = super().load(index)
        if len(self.reads) > self.after and index == 2:
            rows = rows.copy()
            rows[3, 0] += 1
        return rows


def test_a_store_that_is_written_to_during_a_fit_is_found(rng):
    x = rows_of(rng)
    source = Written(feature_names=("a", "b"), units=("", ""), block_rows=500, x=x, after=25)
    with pytest.raises(DataChangedError, match=r"block 2 had checksum [0-9a-f]{8} in the pass before"):
        job(source, 10).fit()


def test_a_graph_that_is_not_pure_is_found(tmp_path):
    def fresh(block, block_info=None):
        seed = 0 if block_info[0]["chunk-location"][0] in (0, 3) else None  # both ends look the same every time
        return np.random.default_rng(seed).normal(size=block.shape)

    def source():
        x = da.zeros((4000, 2), chunks=(1000, 2)).map_blocks(fresh, dtype=float, meta=np.empty((0, 0)))
        return as_source(x, block_rows=500)

    job(source(), 2).fit_in(Run(tmp_path / "run"))
    with pytest.raises(NondeterminismError, match="Persist the Dask graph"):
        job(source(), 4).fit_in(Run(tmp_path / "run"))
