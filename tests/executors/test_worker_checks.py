"""Rows W5, W6 and W13 of the catalogue of bad input: a worker with other software, of another kind, or blind to the rows."""

import os
from dataclasses import dataclass

import dask.array
import numpy as np
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

from streamgmm import commands
from streamgmm.commands.where import Where
from streamgmm.errors import ClusterError, WorkerProfileError
from streamgmm.executors import _worker_checks as checks
from streamgmm.executors._worker_checks import (
    Answers,
    ask,
    failed_reads,
    refuse_other_profiles,
    refuse_other_versions,
    refuse_unfit_cluster,
    version_table,
)
from streamgmm.numeric_profile import numeric_profile
from streamgmm.sources import as_source
from streamgmm.sources.base import AbstractSource
from tests.running import survey_rows, write_store


@dataclass(frozen=True, eq=False, kw_only=True)
class SeenThrough(AbstractSource):
    """Rows that a process sees as its environment says: not at all, or as zeros, as a store that is not mounted reads."""

    n_rows = 5
    dtype = np.dtype("float64")

    def portable_rows(self, first, last):
        return self

    def load(self, index):
        seen = os.environ.get("ROWS_ARE", "")
        if seen == "absent":
            raise FileNotFoundError("https://user:canary@host/a?sig=canary is not here")
        return np.arange(1.0, 6.0)[:, None] * (seen != "zeros")


def rows():
    return SeenThrough(feature_names=("a",), units=("",))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A worker like this process; one with another numcodecs, another processor and no rows; one that reads zeros.

    distributed itself does not look at the version of numcodecs.
    """
    elsewhere = tmp_path_factory.mktemp("other") / "numcodecs-9.9.dist-info"
    elsewhere.mkdir()
    (elsewhere / "METADATA").write_text("Metadata-Version: 2.1\nName: numcodecs\nVersion: 9.9\n")
    preload = elsewhere.with_name("other_path.py")
    preload.write_text(f"import sys\nsys.path.insert(0, {str(elsewhere.parent)!r})\n")
    kinds = {
        "plain": {},
        "odd": {"env": {"NUMBA_CPU_NAME": "generic", "ROWS_ARE": "absent"}, "preload": [str(preload)]},
        "blind": {"env": {"ROWS_ARE": "zeros"}},
    }
    workers = {name: {"cls": Nanny, "options": {"nthreads": 1, "host": "127.0.0.1", **kind}} for name, kind in kinds.items()}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    with SpecCluster(workers=workers, scheduler=scheduler, silence_logs=60) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=60)
        yield client, {info["id"]: address for address, info in client.scheduler_info(n_workers=-1)["workers"].items()}


def test_w5_other_versions_are_a_table(mixed):
    client, addresses = mixed
    with pytest.raises(ClusterError) as refusal:
        refuse_other_versions(ask(client))
    said = str(refusal.value)
    assert refusal.value.code == 9
    assert f"9.9 at {addresses['odd']}" in said
    assert addresses["plain"] in said
    assert "numcodecs" in said
    assert "numpy:" not in said


def test_w5_a_fit_on_such_a_cluster_is_refused_before_it_begins(mixed, tmp_path):
    client, _ = mixed
    store = write_store(tmp_path / "stars.zarr", survey_rows(300))
    with pytest.raises(ClusterError, match=r"numcodecs: .*9\.9 at"):
        commands.fit(store, tmp_path / "run", n_components=2, where=Where(scheduler=client.scheduler.address))
    assert not (tmp_path / "run" / "run.json").exists()


def test_w5_without_the_question_the_fit_goes_on(mixed, tmp_path, monkeypatch):
    """The guard taken out: nothing else looks at versions."""
    client, _ = mixed
    monkeypatch.setattr(checks, "refuse_unfit_cluster", lambda executor, source: None)
    store = write_store(tmp_path / "stars.zarr", survey_rows(300))
    found = commands.fit(store, tmp_path / "run", n_components=2, max_iter=1, where=Where(scheduler=client.scheduler.address))
    assert found["passes"] == 1


def test_w5_a_process_without_streamgmm_is_named():
    table = version_table(Answers({"client": {"numpy": "2"}}, {}, {"tcp://w": "ModuleNotFoundError: No module named 'streamgmm'"}))
    assert table == ["tcp://w does not answer (ModuleNotFoundError: No module named 'streamgmm'); is the same streamgmm installed there?"]


def test_w5_a_large_cluster_makes_a_short_line():
    versions = {f"tcp://w{i}": {"numpy": "2.0"} for i in range(1000)}
    (line,) = version_table(Answers({"client": {"numpy": "2.1"}, **versions}, {}, {}))
    assert "and 992 more" in line


def test_w6_another_processor_is_refused_in_strict_mode(mixed):
    client, addresses = mixed
    with pytest.raises(WorkerProfileError) as refusal:
        refuse_other_profiles(ask(client))
    said = str(refusal.value)
    assert refusal.value.code == 9
    assert f"{addresses['odd']} (processor 'generic" in said
    assert addresses["plain"] not in said


def test_w6_equal_profiles_pass():
    own = numeric_profile()
    other_threads = {**own, "blas threads": "64"}
    refuse_other_profiles(Answers({}, {"client": own, "tcp://w": other_threads}, {}))


def test_w13_blind_workers_are_named_without_secrets(mixed):
    """One raises; the other reads zeros, as zarr does where a folder is not mounted: only the comparison finds it."""
    client, addresses = mixed
    failed = failed_reads(client, rows())
    assert set(failed) == {addresses["odd"], addresses["blind"]}
    assert "FileNotFoundError" in failed[addresses["odd"]]
    assert "other rows" in failed[addresses["blind"]]
    assert "canary" not in str(failed)


def test_w13_is_a_cluster_error(mixed, monkeypatch):
    client, addresses = mixed
    monkeypatch.setattr(checks, "refuse_other_versions", lambda answers: None)
    executor = type("Executor", (), {"client": client})()
    with pytest.raises(ClusterError, match="cannot read the rows") as refusal:
        refuse_unfit_cluster(executor, rows())
    assert addresses["odd"] in str(refusal.value)


def test_rows_that_travel_need_no_read(mixed):
    client, _ = mixed
    assert failed_reads(client, as_source(dask.array.from_array(np.ones((5, 1)), chunks=2))) == {}


def test_doctor_says_all_of_it(mixed, tmp_path):
    client, addresses = mixed
    store = write_store(tmp_path / "stars.zarr", survey_rows(300))
    facts = commands.doctor(folder=tmp_path, where=Where(scheduler=client.scheduler.address), data=store)
    by_name = {check["name"]: check for check in facts["checks"]}
    assert facts["code"] == 9
    assert by_name["traffic"]["result"] == by_name["data on workers"]["result"] == by_name["cluster"]["result"] == "ok"
    assert "numcodecs" in by_name["versions"]["found"]
    assert addresses["odd"] in by_name["workers' numeric profile"]["found"]
    assert by_name["versions"]["result"] == by_name["workers' numeric profile"]["result"] == "failed"
