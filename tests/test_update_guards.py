"""Updates and forgetting: rows that have changed, runs that were killed or changed since, blocks that cannot be read."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from streamgmm.checkpoint import Run
from streamgmm.configuration import FitConfiguration
from streamgmm.errors import CheckpointError, ChunkCorruptError, DataChangedError
from streamgmm.executors.serial import Serial
from streamgmm.forgetting import model_without
from streamgmm.job import Job
from streamgmm.updating import fitted_of, prepared
from tests.making import CountedRows
from tests.test_updating import BLOCK, counted, fitted, rows_of, updated


@dataclass(frozen=True, eq=False, kw_only=True)
class Torn(CountedRows):
    """Rows of which some blocks cannot be read."""

    bad: tuple = ()

    def load(self, index):
        if index in self.bad:
            raise ChunkCorruptError(f"chunk {index} is damaged")
        return super().load(index)


def torn(x, *bad):
    return Torn(feature_names=("f0", "f1"), units=("", ""), block_rows=BLOCK, x=x, bad=bad)


def changed_at(x, row):
    other = x.copy()
    other[row] += 1
    return other


# ---- rows that have changed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["full_batch", "stepwise"])
def test_a_pass_over_the_grown_table_refuses_changed_blocks(tmp_path, schedule):
    """P19: in the middle of the table, where its ends do not tell."""
    x = rows_of(1200)
    run = fitted(tmp_path / "run", counted(x[:1010]), schedule=schedule)
    with pytest.raises(DataChangedError, match="block 7 had checksum"):
        updated(run, tmp_path / "more", counted(changed_at(x, 370)), read_all=True)
    updated(run, tmp_path / "same", counted(x), read_all=True)


@pytest.mark.parametrize("grown", [False, True])
def test_forgetting_refuses_changed_neighbours(tmp_path, grown):
    """P19; the last block, which was filled up since, is that of the run as far as the run's rows go."""
    x = rows_of(1210)
    run = fitted(tmp_path / "run", counted(x[:1010]))
    table = x if grown else x[:1010]
    plan, _ = model_without(run, counted(table), Serial(), 6, 7)
    assert {7, 20} <= set(plan.to_read)
    with pytest.raises(DataChangedError, match="block 7 had checksum"):
        model_without(run, counted(changed_at(table, 370)), Serial(), 6, 7)


# ---- runs that were killed or changed since ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exact", "quick"])
def test_an_update_that_was_killed_before_its_first_commit_is_no_fit_to_resume(tmp_path, how):
    """The same update begins again, also where the table has grown once more."""
    x = rows_of(1400)
    run = fitted(tmp_path / "run", counted(x[:1000]))
    job, into = prepared(run, Run(tmp_path / "more"), counted(x[:1200]), Serial(), how), Run(tmp_path / "more")
    with into:
        into.start(job.record())
    with pytest.raises(CheckpointError, match="start the same update again"):
        fitted(tmp_path / "more", counted(x[:1200]))
    result, into = updated(run, tmp_path / "more", counted(x), how=how)
    assert result.state.rows == into.record()["source"]["n_rows"] == into.record()["update"]["rows"] == 1400


def test_what_a_resume_has_changed_holds_for_the_update(tmp_path):
    x = rows_of(1000 + 2 * BLOCK)
    run = fitted(tmp_path / "run", counted(x[:1000]), max_iter=2)
    with run:
        run.change({"on_damage": "skip"})
    assert fitted_of(run).configuration.on_damage == "skip"
    assert updated(run, tmp_path / "more", torn(x, 20), how="quick")[0].state.lost[0].block == 20


# ---- blocks that cannot be read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["full_batch", "incremental"])
def test_a_forgotten_model_says_what_was_left_out(tmp_path, schedule):
    """P18, P41: blocks that the fit has left out, and one that cannot be read now; not those that are forgotten."""
    x, seen = rows_of(1000), []
    run = fitted(tmp_path / "run", torn(x, 2, 5), schedule=schedule, on_damage="skip", max_iter=2)
    plan, model = model_without(run, torn(x, 2, 5, 7), Serial(), 5, 7, seen.append)
    lost = [2, 7] if schedule == "full_batch" else [2]
    assert [one["block"] for one in model.provenance["lost_blocks"]] == lost
    assert model.provenance["skipped"] == BLOCK * len(lost)
    assert model.provenance["rows"] == 1000 - BLOCK * (len(lost) + 2)
    assert [event.details["block"] for event in seen if event.kind == "skipped"] == [b for b in lost if b in plan.to_read]


def test_rows_left_out_of_groups_are_not_said_to_be_none(tmp_path):
    """The groups of an incremental fit do not count rows with missing values; without any, there are none."""
    x = rows_of(1000)
    x[::7, 0] = np.nan
    source = replace(counted(x), missing="skip")
    run = fitted(tmp_path / "run", source, schedule="incremental", max_iter=2)
    assert "skipped" not in model_without(run, source, Serial(), 3, 4)[1].provenance
    run = Run(tmp_path / "whole")
    Job(counted(rows_of(1000)), FitConfiguration(n_components=2, block_rows=BLOCK, schedule="incremental", max_iter=2), Serial()).fit_in(
        run
    )
    assert model_without(run, counted(rows_of(1000)), Serial(), 3, 4)[1].provenance["skipped"] == 0
