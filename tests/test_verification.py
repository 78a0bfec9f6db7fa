"""Damage is found, by the loader and by `verify` alike."""

import json
import shutil

import pytest

from streamgmm import checkpoint, commands
from streamgmm.checkpoint import Run
from streamgmm.commit_file import Link, pack, sealed, unpack
from streamgmm.errors import CheckpointCorruptError, CheckpointError
from streamgmm.model_file import load_model, save_model, seal_model
from tests.reliability import damage
from tests.reliability.small_runs import RECORD, same_state, small_state
from tests.running import Shell, survey_rows, write_store

FIT = {"n_components": 2, "init": "random", "tol": 0.0, "max_iter": 4, "block_rows": 512}


def test_p16_p42_damage_is_found_and_the_good_commit_before_is_used():
    outcome = damage.trials(300, seed=2)
    assert outcome.violations == 0, outcome


def test_p43_hostile_bytes_bring_no_other_error():
    outcome = damage.hostile_inputs(400, seed=2)
    assert outcome.violations == 0, outcome


def test_p42_a_saved_part_of_a_pass_is_judged_as_a_resume_judges_it():
    outcome = damage.part_trials(60, seed=2)
    assert outcome.violations == 0, outcome
    assert 20 < outcome.remarks["refused by resume"] < 60


def test_p42_without_a_look_into_it_such_a_part_passes(monkeypatch):
    monkeypatch.setattr("streamgmm.verification._part_faults", lambda good, record: ([], []))
    assert damage.part_trials(20, seed=2).violations > 0


def test_p16_without_the_seal_some_damage_is_not_found(monkeypatch):
    monkeypatch.setattr("streamgmm.commit_file._check_seal", lambda raw, record: None)
    monkeypatch.setattr("streamgmm.model_file._check_seal", lambda folder, members: None)
    assert damage.trials(200, seed=2).violations > 0


def test_every_byte_of_a_commit_counts():
    raw, _ = pack(small_state(2), Link(1))
    assert sealed(raw)
    for place in range(0, len(raw), 7):
        for changed in (raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :], raw[:place]):
            with pytest.raises(CheckpointError):
                unpack(changed, 1)


# ---- two histories ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run") as opened:
        opened.start(RECORD)
        for passes in range(1, 5):
            opened.commit(small_state(passes))
        yield opened


def test_k9_a_commit_of_another_run_is_named_and_stepped_over(run, tmp_path):
    with Run(tmp_path / "other") as other:
        other.start({**RECORD, "source": {"n_rows": 11}})
        for passes in range(1, 6):
            other.commit(small_state(passes))
    shutil.copy(other.commits / "000005.zip", run.commits)
    said = []
    assert run.latest(said.append).number == 4
    assert "another run" in said[0].message


def test_k9_two_histories_of_one_run_are_refused_with_both_parents(run):
    commit = unpack((run.commits / "000004.zip").read_bytes(), 4)
    fork, _ = pack(small_state(5), Link(5, "0" * 64, 3, commit.link.run))
    (run.commits / "000005.zip").write_bytes(fork)
    with pytest.raises(
        CheckpointError, match=r"two histories.*000005.*follows commit 3 \(000000000000\).*000004.*follows commit 3"
    ) as refusal:
        run.latest()
    assert commit.link.parent[:12] in str(refusal.value)
    assert refusal.value.code == 6


def test_k9_a_gap_is_said_and_the_newest_is_used(run):
    (run.commits / "000003.zip").unlink()
    said = []
    assert run.latest(said.append).number == 4
    assert "missing" in said[0].message


def test_k9_a_number_set_aside_is_no_gap(run):
    path = run.commits / "000004.zip"
    path.write_bytes(path.read_bytes()[:-1])
    assert run.latest().number == 3
    assert run.commit(small_state(4)).number == 5
    said = []
    assert same_state(run.latest(said.append).state, small_state(4))
    assert said == []


def test_a_commit_that_cannot_be_read_for_a_moment_is_not_set_aside(run, monkeypatch):
    def busy(self, descriptor, size):
        raise OSError(12, "out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("streamgmm.storage.disk.Disk.read", busy)
        with pytest.raises(OSError, match="ENOMEM"):
            run.latest()
    assert run.latest().number == 4
    assert run.set_aside() == []


def test_commits_without_their_record_are_no_place_for_a_new_run(run):
    (run.folder / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds commits, but not the run\.json"):
        Run(run.folder).start(RECORD)


def test_p6_commits_of_the_first_release_load(run, monkeypatch):
    """Without seal, run and number of the parent."""
    path = run.commits / "000004.zip"
    commit = unpack(path.read_bytes(), 4)
    monkeypatch.setattr("streamgmm.commit_file._has_seal", lambda raw: False)
    dumps = json.dumps

    def first_release(record, **how):
        kept = {key: value for key, value in record.items() if key not in ("sealed", "run", "parent_number")}
        return dumps(kept, **how)

    monkeypatch.setattr("streamgmm.commit_file.json.dumps", first_release)
    old, _ = pack(commit.state, commit.link)
    monkeypatch.undo()
    path.write_bytes(old)
    assert run.latest().number == 4


# ---- models ----------------------------------------------------------------------------------------------------------------------


def test_a_changed_byte_of_a_model_is_found(tmp_path):
    path = save_model(tmp_path / "model.zarr", damage._model())
    chunk = path / "means" / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[0] ^= 1
    chunk.write_bytes(raw)
    with pytest.raises(CheckpointCorruptError, match=r"means/c/0/0: SHA-256 .*recorded"):
        load_model(path)
    seal_model(path)
    load_model(path)


# ---- verify ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    store = write_store(folder / "stars.zarr", survey_rows(1500))
    commands.fit(store, folder / "run", **FIT)
    return folder / "run"


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_a_whole_run_is_said_to_be_whole_with_what_was_not_checked(copy, capsys):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    code, out, _ = Shell(capsys)("verify", copy, "--json")
    facts = json.loads(out)
    assert code == facts["code"] == 0
    assert facts["ok"]
    assert facts["faults"] == []
    assert facts["newest"] == facts["commits"][-1]
    assert any("rows of the store" in said for said in facts["not_checked"])
    assert "unsigned" in facts["remarks"]
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    code, out, _ = Shell(capsys)("verify", copy)
    assert code == 0
    assert "not checked" in out


def test_a_broken_commit_is_named_with_exit_code_6(copy, capsys):
    newest = max((copy / "commits").glob("*.zip"))
    newest.write_bytes(newest.read_bytes()[:-1])
    code, out, _ = Shell(capsys)("verify", copy, "--json")
    assert code == 6
    assert newest.name in json.loads(out)["faults"][0]


def test_no_run_is_a_fault(tmp_path, capsys):
    assert Shell(capsys)("verify", tmp_path)[0] == 6


def test_a_model_of_other_rows_is_found_though_its_hashes_are_right(copy):
    saved = load_model(copy / "model.zarr")
    other = type(saved)(
        saved.mixture,
        saved.feature_names,
        saved.units,
        saved.log_likelihoods,
        {**saved.provenance, "source": {}},
    )
    save_model(copy / "model.zarr", other, overwrite=True)
    facts = commands.verify(copy)
    assert facts["code"] == 6
    assert "other rows" in facts["faults"][0]


def test_rows_that_do_not_add_up_are_found(copy):
    run = Run(copy)
    newest = run.latest()
    state = checkpoint.FitState(newest.state.contenders, newest.state.passes, 7, 0, 7.0, newest.state.outcome)
    raw, _ = pack(state, newest.link)
    (copy / "commits" / f"{newest.number:06d}.zip").write_bytes(raw)
    assert any("counted 7 rows, the run was started on 1500" in fault for fault in commands.verify(copy)["faults"])
