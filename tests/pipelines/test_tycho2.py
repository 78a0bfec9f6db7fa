"""The Tycho-2 pipeline as a script: from records to model, labels and picture; killed and started again, the same model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from streamgmm.model_file import load_model, model_hash
from tests.pipelines.test_tycho2_catalogue import record

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines" / "tycho2.py"
N = 20_000


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """Stars in three groups; every tenth has no proper motion. The numbers repeat after 500 records."""
    rng = np.random.default_rng(5)
    records = []
    for i in range(500):
        group = i % 3
        values = {"pm_ra": rng.normal(10 * group, 3), "pm_dec": rng.normal(-5 * group, 2 + group)}
        values |= {"bt": rng.normal(11 + group, 0.5), "vt": rng.normal(10 + group / 2, 0.4), "ra": 360 * rng.random(), "dec": 10.0}
        records.append(record(values | ({"pm_ra": None, "pm_dec": None} if i % 10 == 0 else {})))
    path = tmp_path_factory.mktemp("catalogue") / "tyc2.dat.00"
    path.write_bytes(b"".join(records) * (N // 500))
    return path


def started(part, out):
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--file", str(part), "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture(scope="module")
def undisturbed(part, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    process = started(part, out)
    shown, said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    return out, shown, said


def test_it_leaves_model_labels_and_picture(undisturbed):
    out, shown, _ = undisturbed
    model = load_model(out / "run" / "model.zarr")
    assert model.feature_names == ("pm_ra", "pm_dec", "bt_vt", "vt")
    assert model.units == ("mas/yr", "mas/yr", "mag", "mag")
    assert model.provenance["rows"] == 0.9 * N
    assert model.provenance["skipped"] == 0.1 * N
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    store = next(out.glob("tycho2*.zarr"))
    table = xr.open_zarr(store, consolidated=False)
    labels = table["label"].to_numpy()
    features = np.stack([table[name].to_numpy() for name in model.feature_names], axis=1).astype(float)
    whole = ~np.isnan(features).any(axis=1)
    assert np.array_equal(labels[whole], model.mixture.predict(features[whole]))
    assert (labels[~whole] == -1).all()
    assert model_hash(out / "run" / "model.zarr") in shown


def test_the_plan_comes_before_the_fit(undisturbed):
    _, shown, said = undisturbed
    assert shown.index("memory, at most") < shown.index("outcome")
    assert "pass 1:" in said


@pytest.mark.parametrize("commits", [1])
def test_killed_and_started_again_it_ends_with_the_same_model(part, undisturbed, tmp_path, commits):
    process = started(part, tmp_path)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "commits" / f"{commits:06d}.zip").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "run" / "model.zarr").exists()
    again = started(part, tmp_path)
    _, said = again.communicate(timeout=250)
    assert again.returncode == 0, said
    assert "goes on after pass" in said
    assert model_hash(tmp_path / "run" / "model.zarr") == model_hash(undisturbed[0] / "run" / "model.zarr")


def test_a_third_start_does_nothing(part, undisturbed):
    out = undisturbed[0]
    before = {path: path.stat().st_mtime_ns for path in (out / "run" / "model.zarr").rglob("*")}
    process = started(part, out)
    _, said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    assert "complete" in said
    assert {path: path.stat().st_mtime_ns for path in (out / "run" / "model.zarr").rglob("*")} == before
