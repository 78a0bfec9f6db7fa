"""Row W14 of the catalogue of bad input: workers whose clocks are hours off."""

# ruff: noqa: N802  the rows of the catalogue have capital letters

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from distributed import Client

from streamgmm import GaussianMixture
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.sources import as_source
from tests.executors.conftest import local_cluster
from tests.running import environment

WORKER = """
import time
true = time.time
time.time = lambda: true() + {hours} * 3600
from distributed.cli.dask_worker import main
main()
"""


@contextmanager
def workers(address, hours):
    """One worker for each clock, so many hours off."""
    arguments = [address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
    running = [subprocess.Popen([sys.executable, "-c", WORKER.format(hours=off), *arguments], env=environment()) for off in hours]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)


def there():
    import time  # noqa: PLC0415  (on the worker)

    return time.time()


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_W14_clocks_of_workers_do_not_matter(rng):
    """W14: the same bits, and no error."""
    rows = rng.normal(size=(4000, 2))
    gm = GaussianMixture(2, random_state=0, max_iter=3, tol=0.0, init_params="random", block_rows=100)
    with local_cluster(0) as scheduler, workers(scheduler.scheduler_address, [-7, 9]), Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        clocks = client.run(there).values()
        assert max(clocks) - min(clocks) > 15 * 3600
        found = gm.set_params(executor=DaskDistributed(client)).fit(as_source(rows, block_rows=100)).means_.tobytes()
    assert found == gm.set_params(executor="serial").fit(rows).means_.tobytes()
    assert np.isfinite(gm.means_).all()
