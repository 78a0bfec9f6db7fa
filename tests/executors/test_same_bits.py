"""One SHA-256 of the model file: whatever executes, however the store is cut, however often, interrupted or not."""

import hashlib

import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client

from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.model_file import model_hash
from streamgmm.registry import names
from streamgmm.sources import as_source, open_source
from streamgmm.state import Outcome
from tests.executors.conftest import local_cluster

N, D, K = 60_007, 3, 4
BLOCK_ROWS = 4_096


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(7)
    labels = rng.integers(0, K, N)
    return rng.normal(0, 6, (K, D))[labels] + rng.normal(size=(N, D)) * rng.uniform(0.5, 2, (K, D))[labels] + [0, 1e3, -50]


def write(folder, rows, name, **layout):
    path = folder / f"{name}.zarr"
    array = zarr.create_array(path, shape=rows.shape, dtype=rows.dtype, **layout)
    array[...] = rows
    return path


@pytest.fixture(scope="module")
def stores(rows, tmp_path_factory):
    """The same rows in chunks that fit the blocks, in odd chunks, in one chunk, in shards, and split along the columns."""
    folder = tmp_path_factory.mktemp("stores")
    layouts = {
        "aligned": {"chunks": (BLOCK_ROWS, D)},
        "odd": {"chunks": (1_777, D)},
        "whole": {"chunks": (N, D)},
        "sharded": {"chunks": (1_000, D), "shards": (9_000, D)},
        "by_column": {"chunks": (10_000, 1), "compressors": None},
    }
    return {name: write(folder, rows, name, **layout) for name, layout in layouts.items()}


def fitted_hash(source, executor, folder, covariance_type="full", schedule="full_batch", **options):
    """Of plain passes, where not told otherwise: other schedules have a test of their own."""
    given = {"n_components": K, "covariance_type": covariance_type, "schedule": schedule, "block_rows": BLOCK_ROWS, **options}
    configuration = FitConfiguration(max_iter=6, tol=0.0, n_init=2, **given)
    run = Run(folder)
    result = Job(source, configuration, executor).fit_in(run)
    assert result.outcome is Outcome.PASSES_EXHAUSTED
    return model_hash(run.model_path)


def opened(path):
    return open_source(path, block_rows=BLOCK_ROWS)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_one_hash_for_executors_and_layouts(covariance_type, stores, client, tmp_path):
    hashes = {}
    for name, path in stores.items():
        hashes[name] = fitted_hash(opened(path), Threads(2), tmp_path / name, covariance_type)
    for name, executor in {"serial": Serial(), "threads 1": Threads(1), "threads 5": Threads(5), "dask": DaskDistributed(client)}.items():
        hashes[name] = fitted_hash(opened(stores["odd"]), executor, tmp_path / name, covariance_type)
    assert len(set(hashes.values())) == 1, hashes


def test_one_hash_in_float32_arithmetic(stores, client, tmp_path):
    hashes = {}
    for name, path in stores.items():
        hashes[name] = fitted_hash(opened(path), Threads(2), tmp_path / name, arithmetic="float32")
    for name, executor in {"serial": Serial(), "threads 5": Threads(5), "dask": DaskDistributed(client)}.items():
        hashes[name] = fitted_hash(opened(stores["odd"]), executor, tmp_path / name, arithmetic="float32")
    assert len(set(hashes.values())) == 1, hashes
    assert set(hashes.values()) != {fitted_hash(opened(stores["odd"]), Serial(), tmp_path / "float64")}


def test_one_hash_for_one_two_and_four_workers(stores, tmp_path):
    hashes = set()
    for n_workers in (1, 2, 4):
        with local_cluster(n_workers) as cluster, Client(cluster, set_as_default=False) as client:
            hashes.add(fitted_hash(opened(stores["sharded"]), DaskDistributed(client), tmp_path / str(n_workers)))
    hashes.add(fitted_hash(opened(stores["sharded"]), Serial(), tmp_path / "serial"))
    assert len(hashes) == 1


def test_one_hash_for_twenty_repeats(stores, tmp_path):
    assert len({fitted_hash(opened(stores["odd"]), Threads(2), tmp_path / str(i)) for i in range(20)}) == 1


def test_one_hash_for_kinds_of_arrays(rows, stores, tmp_path):
    """The store, the array in memory, big-endian, Fortran order and Dask chunks hold the same numbers; only names may differ."""
    kinds = {
        "memory": rows,
        "big-endian": rows.astype(">f8"),
        "fortran": np.asfortranarray(rows),
        "dask": da.from_array(rows, chunks=(7_001, D)),
    }
    hashes = set()
    for name, kind in kinds.items():
        source = as_source(kind, block_rows=BLOCK_ROWS, feature_names=("a", "b", "c"))
        hashes.add(fitted_hash(source, Threads(2), tmp_path / name))
    assert len(hashes) == 1


def test_one_hash_interrupted_after_every_pass(stores, tmp_path):
    """Each start makes one pass more and is told to stop; what was saved leads to the same model."""
    source = opened(stores["odd"])
    whole = fitted_hash(source, Threads(2), tmp_path / "whole")
    configuration = FitConfiguration(n_components=K, schedule="full_batch", max_iter=6, tol=0.0, n_init=2, block_rows=BLOCK_ROWS)
    run, starts = Run(tmp_path / "pieces"), 0
    while True:
        starts += 1
        passes = []

        def told(seen=passes):
            return bool(seen)

        def watch(event, seen=passes):
            if event.kind == "pass":
                seen.append(event)

        result = Job(source, configuration, Threads(2), observe=watch, stop_requested=told).fit_in(run)
        if result.outcome is not Outcome.INTERRUPTED:
            break
    assert starts == 6
    assert model_hash(run.model_path) == whole


def test_weights_travel_with_their_rows(rows, stores, client, tmp_path):
    weight = np.random.default_rng(3).uniform(0, 2, N)
    source = opened(stores["odd"]).with_sample_weight(as_source(weight[:, None], block_rows=BLOCK_ROWS))
    hashes = {fitted_hash(source, executor, tmp_path / executor.name) for executor in (Serial(), Threads(2), DaskDistributed(client))}
    assert len(hashes) == 1
    assert hashes != {fitted_hash(opened(stores["odd"]), Serial(), tmp_path / "unweighted")}


def test_rows_held_out_are_the_same_everywhere(stores, client, tmp_path):
    """Their figures are in the model's file."""
    found = {
        name: fitted_hash(opened(stores[layout]), executor, tmp_path / name, hold_out=0.1)
        for name, layout, executor in (
            ("serial", "odd", Serial()),
            ("threads", "sharded", Threads(3)),
            ("dask", "by_column", DaskDistributed(client)),
        )
    }
    assert len(set(found.values())) == 1, found


def test_the_hash_is_of_names_and_bytes(stores, tmp_path):
    fitted_hash(opened(stores["odd"]), Serial(), tmp_path / "run")
    model = tmp_path / "run" / "model.zarr"
    before = model_hash(model)
    target = model / "means" / "c" / "0" / "0"
    raw = target.read_bytes()
    target.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert model_hash(model) != before
    assert len(before) == hashlib.sha256().digest_size * 2


@pytest.mark.parametrize("schedule", [name for name in names("schedules") if name != "full_batch"])
def test_one_hash_for_every_schedule(schedule, stores, client, tmp_path, monkeypatch):
    monkeypatch.setattr("streamgmm.exploration.EXPLORED_ROWS", N // 10)  # exploring is not what is looked at here
    found = {
        name: fitted_hash(opened(stores["odd"]), executor, tmp_path / name, schedule=schedule)
        for name, executor in {"serial": Serial(), "threads": Threads(3), "dask": DaskDistributed(client)}.items()
    }
    assert len(set(found.values())) == 1, found
