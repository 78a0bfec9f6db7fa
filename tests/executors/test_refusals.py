"""Results that are refused, workers that are odd, places from which a fit cannot be led."""

import asyncio
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import distributed
import numpy as np
import pytest

from streamgmm.configuration import FitConfiguration
from streamgmm.errors import ClusterError, ConfigError, NumericalError, WorkerProfileError
from streamgmm.events import Event
from streamgmm.executors import dask_distributed
from streamgmm.executors.dask_distributed import DaskDistributed
from streamgmm.executors.serial import Serial
from streamgmm.job import Job
from tests.executors.test_conformance import Sum, add, table


@dataclass(frozen=True)
class Odd:
    """A sum; the worker that is named in a file, the first one to come, gives `there`, the others `elsewhere`, "" for what is right."""

    liar: Path
    there: object
    elsewhere: object = ""

    def __call__(self, block):
        own = distributed.get_worker().address
        with suppress(FileExistsError), self.liar.open("x") as file:
            file.write(own)
        value = self.there if self.liar.read_text() == own else self.elsewhere
        return Sum()(block) if value == "" else value


def finite(span, value):
    return "" if np.isfinite(value) else f"it is {value}"


def keep(a, b):
    """Adds numbers, and hands on what is none."""
    return a + b if isinstance(a, float) and isinstance(b, float) else (a if isinstance(b, float) else b)


def delivered(client, function, **options):
    executor = DaskDistributed(client, **options)
    return list(executor.map_spans(function, keep, table(400), sound=finite))


def events(found, kind):
    return [one for one in found if isinstance(one, Event) and one.kind == kind]


def results(found):
    return dict(one for one in found if not isinstance(one, Event))


@pytest.fixture
def liar(tmp_path):
    return tmp_path / "liar"


@pytest.mark.parametrize("bad", [float("nan"), "rubbish"])
def test_an_unsound_result_is_computed_again_by_another_worker(client, liar, bad):
    """W11."""
    found = delivered(client, Odd(liar, bad))
    refused = events(found, "refused")
    assert refused
    assert {event.details["worker"] for event in refused} == {liar.read_text()}
    assert results(found) == results(DaskDistributed(client).map_spans(Sum(), add, table(400)))


def test_what_every_worker_finds_is_accepted(client, liar):
    """W11: honest overflow."""
    found = delivered(client, Odd(liar, float("inf"), float("inf")))
    assert events(found, "refused")
    assert set(results(found).values()) == {np.inf}


def test_two_unsound_results_that_differ_end_the_fit(client, liar):
    """W11: both workers are named."""
    with pytest.raises(NumericalError, match=r"(?s)block.* gave no sound result: worker tcp://.*; worker tcp://.*doctor"):
        delivered(client, Odd(liar, float("inf"), float("nan")))


def test_without_the_check_an_unsound_result_gets_through(client, liar):
    found = DaskDistributed(client).map_spans(Odd(liar, float("nan")), keep, table(400))
    assert any(np.isnan(value) for value in results(found).values())


@pytest.fixture
def other_profile(monkeypatch):
    profile = dask_distributed.numeric_profile() | {"processor": "another one"}
    monkeypatch.setattr(dask_distributed, "numeric_profile", lambda: profile)


def test_an_odd_worker_is_refused_by_name_where_the_fit_is_strict(client, other_profile):
    """W6."""
    with pytest.raises(WorkerProfileError, match=r"worker tcp://127\.0\.0\.1:\d+ would give other last bits.*processor '.*' instead of"):
        delivered(client, Sum(), strict=True)


def test_an_odd_worker_is_told_once_otherwise(client, other_profile):
    """W6."""
    told = events(delivered(client, Sum()), "warning")
    named = [event.details["worker"] for event in told]
    assert named
    assert len(set(named)) == len(named) <= 2


def test_equal_workers_pass_in_strict_mode(client):
    assert not events(delivered(client, Sum(), strict=True), "warning")


def test_blocks_beyond_the_memory_of_a_worker_are_refused_before_the_start(client):
    """W15."""
    executor = DaskDistributed(client)
    executor._watch.memory = {"a": 10_000, "b": 0}
    source = table(2000, block_rows=500)
    configuration = FitConfiguration(n_components=1, block_rows=500)
    with pytest.raises(ConfigError, match=r"the largest block_rows allowed is \d+"):
        Job(source, configuration, executor).fit()


def test_an_asynchronous_client_is_refused(cluster):
    """W16."""

    async def refused():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(ClusterError, match="an asynchronous client cannot lead a fit"):
                DaskDistributed(client)

    asyncio.run(refused())


def test_an_executor_is_refused_in_a_fork(client):
    """W16."""
    executor = DaskDistributed(client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer interpreters warn of forks beside threads
        child = os.fork()
    if child == 0:
        try:
            next(executor.map_spans(Sum(), add, table(100)))
        except ClusterError as error:
            os._exit(0 if "does not survive a fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def lead(n_rows):
    """Runs as a task: a pass over the cluster that it is a task of."""
    return DaskDistributed().map_reduce(Sum(), add, table(n_rows))


def test_tasks_that_lead_passes_do_not_wait_for_their_own_places(client):
    """W16: as many of them as there are threads."""
    found = client.gather(client.map(lead, [300, 400], pure=False))
    assert found == [Serial().map_reduce(Sum(), add, table(n)) for n in (300, 400)]
