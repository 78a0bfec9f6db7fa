"""The Dask executor: finding a client, spans, and errors that say what to do."""

import gc
import os
import socketserver
import threading
import time

import dask
import numpy as np
import pytest
from distributed import Client

from streamgmm.errors import ClusterError, ConfigError, DataError, NoWorkersError, PoisonBlockError, SecurityError
from streamgmm.executors.dask_distributed import DaskDistributed, span_level
from streamgmm.executors.serial import Serial
from tests.executors.conftest import local_cluster
from tests.executors.test_conformance import Sum, add, table
from tests.making import CountedRows


def test_without_a_client_none_is_started():
    with pytest.raises(ConfigError, match="no current Dask client"):
        DaskDistributed()


def test_the_current_client_is_found(cluster):
    with Client(cluster) as current:
        assert DaskDistributed().client is current


def test_an_address_is_enough(cluster):
    executor = DaskDistributed(cluster.scheduler_address)
    assert executor.map_reduce(Sum(), add, table(100)) == Serial().map_reduce(Sum(), add, table(100))
    executor.client.close()


def test_a_closed_address_is_refused_by_name():
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9"):
        DaskDistributed("tcp://127.0.0.1:9", timeout=1)


class Silent(socketserver.BaseRequestHandler):
    """Takes what is sent and answers nothing, for good."""

    def handle(self):
        while self.request.recv(1000):
            pass


class Web(socketserver.BaseRequestHandler):
    """A web server, to whom a client is somebody who talks nonsense."""

    def handle(self):
        self.request.recv(1000)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nNo.")
        time.sleep(30)


@pytest.mark.parametrize("kind", [Silent, Web])
def test_what_is_no_scheduler_is_given_up(kind):
    """A deadline, whatever it answers."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(ClusterError, match="no Dask scheduler answered at"):
            DaskDistributed(f"tcp://127.0.0.1:{server.server_address[1]}", timeout=1.0)
        assert time.monotonic() - began < 60, "a guard against hangs"
        server.shutdown()


def test_a_wrong_client_is_refused():
    with pytest.raises(ConfigError, match="got int"):
        DaskDistributed(3)


def test_a_client_that_could_not_connect_is_never_collected(monkeypatch):
    """Collected while another one starts, it would wait for good for a lock that its own thread holds."""
    collected = []
    gc.collect()  # those of other tests
    monkeypatch.setattr(Client, "__del__", lambda self: collected.append(self.status))
    with pytest.raises(ClusterError):
        DaskDistributed("tcp://127.0.0.1:1", timeout=0.2)
    gc.collect()
    assert not collected


def test_no_workers_is_an_error_after_the_timeout():
    with (
        local_cluster(0) as empty,
        Client(empty, set_as_default=False) as client,
        pytest.raises(NoWorkersError, match="no Dask worker came"),
    ):
        DaskDistributed(client, timeout=0.5).map_reduce(Sum(), add, table(100))


def test_an_iterator_is_refused(client):
    source = CountedRows(feature_names=("a",), units=("",), x=np.ones((3, 1)), repeatable_rows=False)
    with pytest.raises(DataError, match="Store the rows first"):
        DaskDistributed(client).map_reduce(Sum(), add, source)


@pytest.mark.parametrize(
    ("n_blocks", "workers", "level"), [(1, 2, 0), (8, 2, 0), (64, 2, 3), (10_000, 2, 4), (100_000, 1000, 4), (3, 50, 0)]
)
def test_spans_are_whole_tasks(n_blocks, workers, level):
    assert span_level(table(n_blocks, block_rows=1), workers) == level


def kill_worker(block):
    os._exit(1)


def test_blocks_that_kill_their_workers_are_named():
    """On a cluster of its own: its workers die."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.deploy.lost-worker-timeout": "1h"}),
        local_cluster(2) as doomed,
        Client(doomed, set_as_default=False) as client,
        pytest.raises(PoisonBlockError, match=r"block \d+ \(rows \d+ to \d+\): \d+ workers died while they computed it, alone"),
    ):
        DaskDistributed(client).map_reduce(kill_worker, add, table(80))


def test_an_open_address_of_another_machine_is_refused_before_anything_is_sent():
    with pytest.raises(SecurityError, match="unencrypted and unauthenticated"):
        DaskDistributed("tcp://10.255.255.1:8786", timeout=1)
