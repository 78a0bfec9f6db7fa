"""Rows K1 to K20 of the catalogue of bad input, as far as runs, commits and model files go."""

import hashlib
import io
import json
import os
import pickle
import shutil
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest

from streamgmm import commands
from streamgmm.checkpoint import Run
from streamgmm.commands.where import Where
from streamgmm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    RunLockedError,
    RunMismatchError,
    SecurityError,
)
from streamgmm.model_file import load_model, model_hash, seal_model
from tests.running import Shell, survey_rows, write_store

FIT = {"n_components": 2, "init": "random", "tol": 0.0, "max_iter": 5, "block_rows": 512, "where": Where(executor="serial")}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A store, a run interrupted after four passes, and the hash of the whole fit."""
    folder = tmp_path_factory.mktemp("original")
    store = write_store(folder / "stars.zarr", survey_rows(1500))
    whole = commands.fit(store, folder / "whole", **FIT)
    seen = []
    observe = lambda event: seen.append(event) if event.kind == "pass" else None  # noqa: E731
    commands.fit(store, folder / "run", **FIT, observe=observe, stop_requested=lambda: len(seen) >= 4)
    return store, folder / "run", whole["hash"]


@pytest.fixture
def run(original, tmp_path):
    """A copy of the interrupted run."""
    return shutil.copytree(original[1], tmp_path / "run")


@pytest.fixture
def model(original, tmp_path):
    """A copy of the model of the whole fit."""
    return shutil.copytree(original[1].parent / "whole" / "model.zarr", tmp_path / "model.zarr")


def commit_files(run):
    """Commits of a run, the newest first."""
    return sorted((run / "commits").glob("*.zip"), reverse=True)


def rewritten(path, change):
    """A commit written again after a change of its members, every hash put right: damage that hashes cannot find."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(members.pop("record.json"))
    change(members, record)
    record["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "record.json": json.dumps(record).encode()}.items():
            archive.writestr(name, content)


def only_the_newest(run):
    """Leave one commit, so that nothing is stepped over."""
    newest, *others = commit_files(run)
    for path in others:
        path.unlink()
    return newest


def numbers(members, name):
    """An array of a commit, to be changed in place."""
    key = next(key for key in members if key.startswith(f"contender_0_{name}/c"))
    return key, np.frombuffer(members[key], "<f8").copy()


# ---- damage ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "zeroed", "swapped", "deleted member"])
def test_k1_newest_commit_damaged(original, run, damage):
    store, _, expected = original
    newest, older, *_ = commit_files(run)
    raw = bytearray(newest.read_bytes())
    if damage == "flipped":
        raw[len(raw) // 3] ^= 16
    elif damage == "cut":
        raw = raw[: len(raw) // 2]
    elif damage == "empty":
        raw = b""
    elif damage == "zeroed":
        raw[100:200] = bytes(100)
    elif damage == "swapped":
        raw = older.read_bytes()
    if damage == "deleted member":
        rewritten(newest, lambda members, _: members.pop("zarr.json"))
    else:
        newest.write_bytes(raw)
    events = []
    facts = commands.fit(store, run, **FIT, observe=events.append)
    assert facts["hash"] == expected
    (warning,) = (event for event in events if event.kind == "warning")
    assert str(newest) in warning.message
    assert "stepped over" in warning.message
    logged = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert sum(record["kind"] == "warning" for record in logged) == 1


def test_k1_says_expected_and_found_hash(run):
    newest = commit_files(run)[0]
    raw = bytearray(newest.read_bytes())
    with zipfile.ZipFile(newest) as archive:
        entry = next(entry for entry in archive.infolist() if "/c/" in entry.filename)
    name, content = entry.filename, b"\1" * entry.file_size
    with zipfile.ZipFile(io.BytesIO(bytes(raw))) as archive:
        members = {other: archive.read(other) for other in archive.namelist()}
    with zipfile.ZipFile(newest, "w") as archive:
        for other, old in members.items():
            archive.writestr(other, content if other == name else old)
    events = []
    assert Run(run).latest(events.append).number == int(commit_files(run)[1].stem)
    assert hashlib.sha256(content).hexdigest()[:12] in events[0].message
    assert "recorded" in events[0].message


def test_k2_all_commits_damaged(original, run, capsys):
    store, _, _ = original
    for path in commit_files(run):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointCorruptError) as refusal:
        commands.fit(store, run, **FIT)
    for path in commit_files(run):
        assert path.name in str(refusal.value)
    code, _, err = Shell(capsys)("resume", run)
    assert code == 6
    assert "new run folder" in err


def test_k3_newer_format(run, model):
    newest = only_the_newest(run)
    rewritten(newest, lambda _, record: record.update(format_version=99))
    with pytest.raises(CheckpointVersionError, match=r"99.*reads up to 1.*upgrade") as refusal:
        Run(run).latest()
    assert refusal.value.code == 6
    for path in (run / "run.json", model / "zarr.json"):
        text = path.read_text()
        assert '"format_version": 1' in text
        path.write_text(text.replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(CheckpointVersionError, match=r"99.*upgrade"):
        Run(run).record()
    with pytest.raises(CheckpointVersionError, match=r"99.*upgrade"):
        load_model(model)


class Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def foreign_files(trace):
    """What other programs call a model."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:  # as torch does
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(trace)))
    return {"pickle": pickle.dumps(Bomb(trace)), "torch": zipped.getvalue(), "text": b"weights: 1\n", "numpy": b"\x93NUMPY\1\0v\0{}"}


@pytest.mark.parametrize("kind", ["pickle", "torch", "text", "numpy"])
def test_k4_made_by_another_program(original, run, tmp_path, capsys, kind):
    store, _, _ = original
    trace = str(tmp_path / "trace")
    content = foreign_files(trace)[kind]
    only_the_newest(run).write_bytes(content)
    with pytest.raises(CheckpointError):
        Run(run).latest()
    (tmp_path / "model").write_bytes(content)
    code, _, err = Shell(capsys)("score", tmp_path / "model", store)
    assert code == 6
    assert "not a streamgmm file" in err
    assert not Path(trace).exists()


def test_k4_other_folders_are_no_models(original, tmp_path, capsys):
    store, _, _ = original
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", store, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError):
            load_model(path)
        assert Shell(capsys)("score", path, store)[0] == 6


# ---- numbers that are no mixture -------------------------------------------------------------------------------------------------


def change_weights(members, _):
    key, values = numbers(members, "weights")
    members[key] = (values * 2).tobytes()


def change_means(members, _):
    key, values = numbers(members, "means")
    values[0] = np.nan
    members[key] = values.tobytes()


def change_covariances(members, _):
    key, values = numbers(members, "covariances")
    members[key] = (-values).tobytes()


@pytest.mark.parametrize(("change", "said"), [(change_weights, "weights"), (change_means, "finite"), (change_covariances, "component 0")])
def test_k5_no_mixture_though_the_hash_is_right(run, change, said):
    rewritten(only_the_newest(run), change)
    with pytest.raises(CheckpointError, match=said) as refusal:
        Run(run).latest()
    assert refusal.value.code == 6


@pytest.mark.parametrize(
    ("name", "factor", "said"),
    [("weights", 2.0, "weights"), ("means", np.nan, "component 0: its mean is not finite"), ("covariances", -1.0, "component 0")],
)
def test_k5_no_mixture_in_a_model_file(model, name, factor, said):
    (chunk,) = (model / name / "c").rglob("0") if name == "weights" else [next(p for p in (model / name / "c").rglob("*") if p.is_file())]
    chunk.write_bytes((np.frombuffer(chunk.read_bytes(), "<f8") * factor).tobytes())
    with pytest.raises(CheckpointError, match=said):
        load_model(model)


# ---- headers that lie ------------------------------------------------------------------------------------------------------------


def change_header(path, **changes):
    """Change keys of an array's metadata."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [3, 3]}, r"chunks \[2, 3\] for shape \[3, 3\]"),
        ({"shape": [2**40, 2**40]}, "is the limit"),
        ({"shape": [2**29, 2**29]}, "is the limit"),
        ({"shape": [-1, 3]}, "not a list of sizes"),
        ({"shape": "many"}, "not a list of sizes"),
        ({"shape": [1] * 100}, "not a list of sizes"),
        ({"shape": [2**62, 0, 2**62]}, "is the limit"),
        ({"chunk_grid": {"configuration": 3}}, "one chunk per array"),
        ({"data_type": "float32"}, "float64 is read"),
        ({"data_type": "object"}, "float64 is read"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "plain little-endian bytes only"),
        ({"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]}, "plain little-endian bytes only"),
        ({"shape": [2], "chunk_grid": {"configuration": {"chunk_shape": [2]}}}, "is missing"),
        ({"chunk_grid": 3}, "one chunk per array"),
        ({"zarr_format": 2}, "not the metadata of a Zarr v3 array"),
    ],
)
def test_k6_shape_or_dtype_disagree_with_the_header(model, changes, said):
    change_header(model / "means" / "zarr.json", **changes)
    with pytest.raises(CheckpointError, match=said) as refusal:
        load_model(model)
    assert "means" in str(refusal.value)


def test_k6_a_chunk_of_another_length(model):
    chunk = next(path for path in (model / "means" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes() + b"\0" * 8)
    with pytest.raises(CheckpointError, match=r"56 bytes for shape .*48 are expected"):
        load_model(model)


@pytest.mark.parametrize("key", ["components", "weight_model", "feature_names", "feature_units", "provenance"])
@pytest.mark.parametrize("value", [None, 3, "base", "../evil", ["a"], {"a": 1}])
def test_k6_attributes_that_do_not_fit(model, key, value):
    document = json.loads((model / "zarr.json").read_text())
    document["attributes"][key] = value
    (model / "zarr.json").write_text(json.dumps(document))
    if key == "provenance" and isinstance(value, dict):
        seal_model(model)
        assert load_model(model).provenance == value
        return
    with pytest.raises(CheckpointError):
        load_model(model)


def test_k6_a_commit_whose_arrays_disagree(run):
    def change(members, _):
        key = "contender_0_means/zarr.json"
        members[key] = members[key].replace(b'"float64"', b'"int64"')

    rewritten(only_the_newest(run), change)
    with pytest.raises(CheckpointError):
        Run(run).latest()


@pytest.mark.parametrize(
    "raw",
    [b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 2}', b'{"a": ' + b"9" * 10_000 + b"}", b"\xff", b" " * (5 << 20), b"", b"3"],
    ids=["deep", "NaN", "twice", "digits", "not UTF-8", "long", "empty", "number"],
)
def test_k7_headers_that_are_no_strict_json(model, run, raw):
    (model / "zarr.json").write_bytes(raw)
    with pytest.raises(CheckpointError):
        load_model(model)
    (run / "run.json").write_bytes(raw)
    with pytest.raises(CheckpointError):
        Run(run).record()


def test_k7_a_compressed_commit_is_refused_before_it_is_unpacked(run):
    newest = only_the_newest(run)
    with zipfile.ZipFile(newest, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("record.json", b" " * (64 << 20))
    assert newest.stat().st_size < 1 << 20
    with pytest.raises(CheckpointCorruptError, match="compressed"):
        Run(run).latest()


# ---- names, links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "a\\..\\outside"])
def test_k8_names_that_lead_out(original, run, capsys, name):
    newest = only_the_newest(run)
    rewritten(newest, lambda members, _: members.update({name: b"x"}))
    with pytest.raises(SecurityError, match="outside") as refusal:
        Run(run).latest()
    assert repr(name) in str(refusal.value)
    assert refusal.value.code == 11
    assert Shell(capsys)("resume", run)[0] == 11


def test_k8_a_link_out_of_a_model_is_not_followed(model, tmp_path):
    (tmp_path / "secret").write_bytes(b"x" * 16)
    chunk = next(path for path in (model / "weights" / "c").rglob("*") if path.is_file())
    chunk.unlink()
    chunk.symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="not a plain file"):
        load_model(model)


# ---- runs ------------------------------------------------------------------------------------------------------------------------


def test_k10_copied_to_another_place(original, tmp_path):
    _, run, expected = original
    moved = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    assert commands.resume(moved)["hash"] == expected


@pytest.mark.parametrize(("key", "value"), [("n_components", 3), ("seed", 1), ("missing", "skip"), ("block_rows", 256), ("reg_covar", 0.5)])
def test_k12_configuration_differs(original, run, key, value):
    store, _, _ = original
    before = sorted(path.name for path in (run / "commits").iterdir())
    with pytest.raises(RunMismatchError, match=f"{key} was .*, is {value!r}") as refusal:
        commands.fit(store, run, **{**FIT, key: value})
    assert refusal.value.code == 5
    assert sorted(path.name for path in (run / "commits").iterdir()) == before


def test_k15_resume_of_a_finished_run(original, tmp_path, capsys):
    _, run, expected = original
    whole = shutil.copytree(run.parent / "whole", tmp_path / "whole")
    code, out, _ = Shell(capsys)("resume", whole)
    assert code == 0
    assert "already complete" in out
    assert expected in out


def test_k16_finished_at_max_iter_then_more(original, tmp_path):
    _, run, _ = original
    whole = shutil.copytree(run.parent / "whole", tmp_path / "whole")
    events = []
    facts = commands.resume(whole, max_iter=8, observe=events.append)
    assert (facts["passes"], facts["passes_made"]) == (8, 3)
    assert any("goes on after pass 5" in event.message for event in events)
    assert facts["hash"] == model_hash(whole / "model.zarr")


def test_k20_run_in_use(original, run, capsys):
    store, _, _ = original
    with Run(run):
        with pytest.raises(RunLockedError) as refusal:
            commands.fit(store, run, **FIT)
        assert refusal.value.code == 7
        for part in (f"process {os.getpid()}", socket.gethostname(), "since 20"):
            assert part in str(refusal.value)
        code, _, err = Shell(capsys)("resume", run)
        assert code == 7
        assert "in use" in err
    assert commands.fit(store, run, **FIT)["outcome"] == "passes_exhausted"
