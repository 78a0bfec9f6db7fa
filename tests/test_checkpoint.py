"""A run on disk: what is committed comes back bit for bit, damage is found, two processes do not meet."""

import json
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import zarr

from streamgmm import commit_file
from streamgmm.checkpoint import COMMITS_KEPT, Run
from streamgmm.components.gaussian_full import GaussianFull
from streamgmm.components.gaussian_tied import GaussianTied
from streamgmm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    DataChangedError,
    RunLockedError,
    RunMismatchError,
    StorageError,
)
from streamgmm.mixture import Mixture
from streamgmm.state import Contender, FitState, Outcome
from streamgmm.weights.fixed import FixedWeights
from streamgmm.weights.free import FreeWeights

RECORD = {"configuration": {"n_components": 2, "tol": 1e-3}, "source": {"n_rows": 10}}


def state_after(passes, outcome=None):
    rng = np.random.default_rng(passes)
    full = Mixture(GaussianFull(rng.normal(size=(2, 3)), np.array([np.eye(3), 2 * np.eye(3)])), FreeWeights(np.array([0.25, 0.75])))
    tied = Mixture(GaussianTied(rng.normal(size=(1, 3)), np.eye(3)), FixedWeights(np.ones(1)))
    history = tuple(rng.normal(size=passes))
    contenders = (Contender(0, full, history, False, 1), Contender(1, tied, history, True, 0))
    return FitState(contenders, passes, 10, 2, 10.5, outcome)


def same(a, b):
    (arrays_a, record_a), (arrays_b, record_b) = a.to_record(), b.to_record()
    return record_a == record_b and all(arrays_a[name].tobytes() == arrays_b[name].tobytes() for name in arrays_a | arrays_b)


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run") as opened:
        opened.start(RECORD)
        yield opened


def test_what_is_committed_comes_back_bit_for_bit(run):
    for passes, outcome in ((0, None), (1, None), (2, Outcome.CONVERGED)):
        run.commit(state_after(passes, outcome))
        assert same(Run(run.folder).latest().state, state_after(passes, outcome))


def test_a_new_run_has_no_commit(run):
    assert run.latest() is None


def test_equal_states_have_equal_bytes(tmp_path):
    for name in ("a", "b"):
        with Run(tmp_path / name) as opened:
            opened.start(RECORD)
            opened.commit(state_after(3))
    first, second = (next((tmp_path / name / "commits").iterdir()).read_bytes() for name in ("a", "b"))
    assert first == second


def test_three_commits_are_kept_and_numbers_are_never_used_again(run):
    for passes in range(7):
        run.commit(state_after(passes))
    names = sorted(path.name for path in run.commits.iterdir())
    assert names == [f"{n:06d}.zip" for n in range(8 - COMMITS_KEPT, 8)]


def damage(path, how):
    raw = path.read_bytes()
    middle = len(raw) // 2
    changed = {
        "flipped": raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :],
        "cut": raw[:middle],
        "empty": b"",
        "zeroed": bytes(len(raw)),
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00",
    }[how]
    path.write_bytes(changed)


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "zeroed", "a pickle"])
def test_a_broken_commit_is_reported_and_stepped_over(run, how):
    for passes in (1, 2, 3):
        run.commit(state_after(passes))
    damage(run.commits / "000003.zip", how)
    events = []
    assert same(run.latest(events.append).state, state_after(2))
    assert [event.kind for event in events] == ["warning"]
    assert "000003.zip" in events[0].message


def test_every_flipped_byte_is_found(run):
    run.commit(state_after(1))
    run.commit(state_after(2))
    path = run.commits / "000002.zip"
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(raw), 100, replace=False):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << rng.integers(8))]) + raw[place + 1 :])
        assert same(Run(run.folder).latest().state, state_after(1))


def test_no_good_commit_is_an_error(run):
    run.commit(state_after(1))
    damage(run.commits / "000001.zip", "cut")
    with pytest.raises(CheckpointCorruptError, match=r"000001\.zip"):
        run.latest()


def rewrite_record(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(members["record.json"])
    change(record)
    members["record.json"] = json.dumps(record).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_newer_format_is_refused_by_version(run):
    run.commit(state_after(1))
    rewrite_record(run.commits / "000001.zip", lambda record: record.update(format_version=99))
    with pytest.raises(CheckpointVersionError, match="99"):
        run.latest()


def test_a_commit_of_another_number_is_not_accepted(run):
    run.commit(state_after(1))
    run.commit(state_after(2))
    (run.commits / "000003.zip").write_bytes((run.commits / "000001.zip").read_bytes())
    assert same(run.latest().state, state_after(2))


def test_litter_of_a_killed_process_is_ignored_and_removed(run, tmp_path):
    run.commit(state_after(1))
    litter = run.commits / ".pending-99999-000002.zip"
    litter.write_bytes(b"half")
    (run.commits / "notes.txt").write_text("mine")
    run.__exit__()
    with Run(run.folder) as again:
        assert same(again.latest().state, state_after(1))
        assert not litter.exists()
        assert (run.commits / "notes.txt").exists()


def test_the_second_process_is_told_who_holds_the_run(run):
    with pytest.raises(RunLockedError, match=f"process {os.getpid()}"), Run(run.folder):
        pass


def test_a_killed_owner_leaves_no_lock(tmp_path):
    hold = "r = Run(sys.argv[1]).__enter__(); print('held', flush=True); time.sleep(60)"
    code = f"import sys, time; from streamgmm.checkpoint import Run; {hold}"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(RunLockedError), Run(tmp_path / "run"):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with Run(tmp_path / "run"):
            pass


def test_a_commit_that_another_writer_made_is_never_overwritten(run):
    run.commit(state_after(1))
    other = Run(run.folder)  # as if the lock did not hold, on some network file systems
    other.commit(state_after(2))
    theirs = (run.commits / "000002.zip").read_bytes()
    run.numbers = lambda: [1]  # this writer has not seen it
    with pytest.raises(RunLockedError, match="another process"):
        run.commit(state_after(3))
    assert (run.commits / "000002.zip").read_bytes() == theirs


def test_another_configuration_is_refused_key_by_key(run):
    other = {**RECORD, "configuration": {"n_components": 3, "tol": 1e-3}}
    with pytest.raises(RunMismatchError, match="n_components was 2, is 3"):
        run.check_same(other, ("tol",))
    run.check_same({**RECORD, "configuration": {"n_components": 2, "tol": 5.0}}, ("tol",))


def test_other_rows_are_refused(run):
    with pytest.raises(DataChangedError, match="n_rows was 10, is 11"):
        run.check_same({**RECORD, "source": {"n_rows": 11}}, ())


def test_a_folder_without_a_run_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"run\.json"):
        Run(tmp_path).record()


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError), Run(tmp_path / "run"):
        pass


def test_broken_commits_do_not_count_among_the_good_ones_that_are_kept(run):
    for passes in range(1, 7):
        run.commit(state_after(passes))
    for number in (5, 6):
        damage(run.commits / f"{number:06d}.zip", "cut")
    assert same(run.latest().state, state_after(4))
    assert run.commit(state_after(7)).number == 7, "the number of a broken commit is not used again"
    damage(run.commits / "000007.zip", "cut")
    assert same(run.latest().state, state_after(4))
    assert sorted(path.name for path in run.commits.glob("*.broken")) == [f"{number:06d}.broken" for number in (5, 6, 7)]


def test_the_arrays_of_a_commit_are_written_as_zarr_writes_them():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(1.5), "empty": np.empty(0), "deep": np.arange(8.0).reshape(2, 2, 2)}
    held = {}
    group = zarr.create_group(zarr.storage.MemoryStore(held), zarr_format=3)
    with zarr.config.set({"array.write_empty_chunks": True}):
        for name, value in arrays.items():
            array = group.create_array(
                name, shape=value.shape, dtype="float64", chunks=tuple(max(n, 1) for n in value.shape), compressors=None
            )
            array[...] = value
    assert commit_file.group_members(arrays) == {name: content.to_bytes() for name, content in held.items()}
