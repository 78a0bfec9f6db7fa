"""Updates on a cluster: the same bits as in this process, for rows from a store and for rows that Dask computes."""

import dask.array
import numpy as np

import streamgmm as sg
from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.executors.serial import Serial
from streamgmm.forgetting import model_without
from streamgmm.job import Job
from streamgmm.updating import prepared
from tests.making import same_bits


def test_a_cluster_gives_the_same_bits(tmp_path, client):
    """P21, and forgetting; the last span of a cluster is longer than a block."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)) + np.where(rng.random(3000) < 0.4, -3.0, 2.0)[:, None]
    grown = sg.as_source(dask.array.from_array(x, chunks=(256, 2))).with_block_rows(64)
    cluster = DaskDistributed(client)
    run = Run(tmp_path / "run")
    first = sg.as_source(dask.array.from_array(x[:2010], chunks=(256, 2))).with_block_rows(64)
    Job(first, FitConfiguration(n_components=2, block_rows=64, schedule="full_batch", max_iter=2), cluster).fit_in(run)
    for how in ("exact", "quick"):
        found = []
        for executor in (Serial(), cluster):
            into = Run(tmp_path / f"{how}-{executor.name}")
            found.append(prepared(run, into, grown, executor, how).fit_in(into).mixture)
        assert same_bits(*found)
    a, b = (model_without(run, grown, executor, 3, 9)[1].mixture for executor in (Serial(), cluster))
    assert same_bits(a, b)
