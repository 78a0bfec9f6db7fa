"""The sample that a run keeps: read back with the same bits, and drawn again where it is not what it should be."""

from dataclasses import replace

import numpy as np
import pytest

from streamgmm import exploration, job
from streamgmm.checkpoint import Run
from streamgmm.commands import planning
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import CheckpointError, StorageError
from streamgmm.executors.serial import Serial
from streamgmm.initialisers._sample import Sample
from streamgmm.job import Job
from streamgmm.kept_sample import SAMPLE, kept_sample, pack_sample, unpack_sample
from streamgmm.ladder import LadderJob
from streamgmm.ladder_configuration import LadderConfiguration
from streamgmm.storage.local_folder import LocalFolder
from tests.making import clustered_rows, rows_source, same_bits
from tests.reliability import kept_samples

ORIGIN = {"source": {"n_rows": 30}, "rows": 10}


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    monkeypatch.setattr(exploration, "EXPLORED_ROWS", 600)
    monkeypatch.setattr(exploration, "EXPLORED_ROWS_A_PARAMETER", 1)


@pytest.fixture
def table(rng):
    return clustered_rows(3000, 3, 2, rng)


def job_of(table, source=None, **hooks):
    given = {"n_components": 3, "block_rows": 100, "max_iter": 3, "tol": 1e-12, "seed": 1}
    return Job(source or rows_source(table, block_rows=100), FitConfiguration.checked(given), Serial(), **hooks)


def sample_of(rng, n=10):
    return Sample(rng.normal(size=(n, 2)), rng.uniform(1, 2, n), complete=False)


def same_sample(a, b):
    return a.x.tobytes() == b.x.tobytes() and a.weight.tobytes() == b.weight.tobytes() and a.complete == b.complete


class Killed(BaseException):
    """As a signal ends a process: nobody catches it."""


def kill(*_, **__):
    raise Killed


def reads_of(table, run, **hooks):
    """Blocks that a fit reads in this run for its sample, and its result: those of the passes and of the fingerprint are left out."""
    drawn = []

    class Watched(Job):
        def drawn_sample(self, *given):
            before = len(self.source.reads)
            found = super().drawn_sample(*given)
            drawn.extend(self.source.reads[before:])
            return found

    made = job_of(table, **hooks)
    told = Watched(made.source, made.configuration, made.executor, observe=made.observe)
    return drawn, told.fit_in(run)


# ---- the file --------------------------------------------------------------------------------------------------------------


def test_it_comes_back_with_the_same_bits(rng):
    sample = sample_of(rng)
    assert same_sample(unpack_sample(pack_sample(sample, ORIGIN), ORIGIN), sample)


def test_no_changed_byte_gets_through(rng):
    raw = pack_sample(sample_of(rng), ORIGIN)
    for at in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(CheckpointError):
            unpack_sample(bytes(changed), ORIGIN)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_cut_file_is_refused(rng, length):
    with pytest.raises(CheckpointError):
        unpack_sample(pack_sample(sample_of(rng), ORIGIN)[:length], ORIGIN)


def test_no_damage_is_used():
    found = kept_samples.trials(300, 0)
    assert found.violations == 0
    assert found.remarks["refused"] > 250


def test_without_the_seal_damage_gets_through(monkeypatch):
    monkeypatch.setattr("streamgmm.kept_sample.sealed", lambda _: True)
    assert kept_samples.trials(300, 0).violations > 0


def test_a_sample_of_other_rows_is_refused(rng):
    with pytest.raises(CheckpointError, match="other rows"):
        unpack_sample(pack_sample(sample_of(rng), ORIGIN), {**ORIGIN, "rows": 11})


def test_a_storage_that_fails_ends_nothing(rng, tmp_path):
    class Full(LocalFolder):
        def create(self, name, content):
            raise StorageError("no space left")

    sample, told = sample_of(rng), []
    assert kept_sample(Full(tmp_path), ORIGIN, lambda: sample, told.append) is sample
    assert [event.kind for event in told] == ["warning"]
    assert "no space left" in told[0].message


def test_damage_in_a_run_is_said_and_the_fit_ends_with_the_same_bits():
    found = kept_samples.run_trials(6, 0)
    assert found.violations == 0, found
    assert found.remarks["said"].keys() >= {"sample damaged", "scan damaged"}


# ---- in a run --------------------------------------------------------------------------------------------------------------


def test_killed_after_sampling_a_resumed_fit_reads_no_block_for_it(table, tmp_path, monkeypatch):
    undisturbed = job_of(table).fit()
    with monkeypatch.context() as patched:
        patched.setattr(job, "explore", kill)
        with pytest.raises(Killed):
            reads_of(table, Run(tmp_path))
    drawn, result = reads_of(table, Run(tmp_path))
    assert drawn == []
    assert same_bits(result.mixture, undisturbed.mixture)


def test_resumed_between_passes_it_reads_no_block_for_it(table, tmp_path):
    undisturbed = job_of(table).fit()
    first = job_of(table)
    replace(first, configuration=first.configuration.model_copy(update={"max_iter": 1})).fit_in(Run(tmp_path))
    drawn, result = reads_of(table, Run(tmp_path))
    assert drawn == []
    assert same_bits(result.mixture, undisturbed.mixture)


@pytest.mark.parametrize("harm", ["missing", "flipped", "cut", "of another fit", "a folder"])
def test_what_is_missing_or_damaged_is_drawn_again_with_the_same_bits(table, tmp_path, harm, rng):
    undisturbed = job_of(table).fit()
    first = job_of(table)
    replace(first, configuration=first.configuration.model_copy(update={"max_iter": 1})).fit_in(Run(tmp_path))
    path = tmp_path / SAMPLE
    raw = path.read_bytes()
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm != "missing":
        changed = {"flipped": raw[:500] + bytes([raw[500] ^ 1]) + raw[501:], "cut": raw[: len(raw) // 2]}
        path.write_bytes(changed.get(harm, pack_sample(sample_of(rng), ORIGIN)))
    told = []
    drawn, result = reads_of(table, Run(tmp_path), observe=told.append)
    assert drawn
    assert any("drawn again" in event.message for event in told)
    assert same_bits(result.mixture, undisturbed.mixture)


def test_a_sample_that_nobody_checked_would_change_the_fit(table, tmp_path, monkeypatch, rng):
    """Without the guard: rows of another table get into the exploration."""
    first = job_of(table)
    (tmp_path / "run").mkdir()
    foreign = Sample(table[:200] + 100, np.ones(200), complete=False)
    (tmp_path / "run" / SAMPLE).write_bytes(pack_sample(foreign, ORIGIN))
    monkeypatch.setattr("streamgmm.kept_sample.unpack_sample", lambda raw, origin: unpack_sample(raw, ORIGIN))
    assert not same_bits(first.fit_in(Run(tmp_path / "run")).mixture, job_of(table).fit().mixture)


def test_a_ladder_keeps_its_sample_as_well(table, tmp_path):
    source = rows_source(table, block_rows=100)
    made = LadderJob(source=source, configuration=LadderConfiguration.of([2, 3], {"max_iter": 2, "hold_out": 0.1}), executor=Serial())
    made.fit_in(Run(tmp_path))
    assert (tmp_path / SAMPLE).exists()


def test_other_schedules_keep_none(table, tmp_path):
    made = job_of(table)
    replace(made, configuration=made.configuration.model_copy(update={"schedule": "full_batch"})).fit_in(Run(tmp_path))
    assert not (tmp_path / SAMPLE).exists()


def test_it_is_no_larger_than_said(table, tmp_path):
    made = job_of(table)
    made.fit_in(Run(tmp_path))
    assert (tmp_path / SAMPLE).stat().st_size <= planning.kept_bytes(made.configuration, made.source)


def test_clearing_a_run_takes_it_along(table, tmp_path):
    run = Run(tmp_path)
    job_of(table).fit_in(run)
    with run:
        run.clear()
    assert not (tmp_path / SAMPLE).exists()
