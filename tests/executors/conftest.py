"""A small Dask cluster of real processes, for this folder's tests."""

from contextlib import contextmanager

import pytest
from distributed import Client, LocalCluster


@contextmanager
def local_cluster(n_workers, **options):
    """Worker processes of one thread on loopback; any free port serves the scheduler's pages."""
    options = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 60} | options
    with LocalCluster(n_workers=n_workers, **options) as running:
        yield running


@pytest.fixture(scope="session")
def cluster():
    """Two worker processes of one thread, on loopback, without a dashboard."""
    with local_cluster(2) as running:
        yield running


@pytest.fixture(scope="session")
def client(cluster):
    """A client that is not the current one."""
    with Client(cluster, set_as_default=False) as found:
        yield found
