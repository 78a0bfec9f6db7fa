"""Rows E1, E2, E3 and E9 of the catalogue of bad input: what the environment lacks."""

import importlib
import resource
import shutil
import subprocess
from importlib import metadata
from types import SimpleNamespace

import pytest

from streamgmm import commands
from streamgmm.errors import ClusterError, MissingDependencyError
from streamgmm.sources import open_source
from tests.running import PROGRAM, environment, survey_rows, write_store

FIT = ("-k", "2", "--init", "random", "--max-iter", "2", "--quiet")


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stars") / "stars.zarr", survey_rows(300))


def found_by_doctor(folder, name):
    facts = commands.doctor(folder=folder)
    return facts["code"], next(check for check in facts["checks"] if check["name"] == name)


def test_e1_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch, tmp_path):
    real = importlib.import_module

    def without_obstore(name, *more):
        if name.startswith("obstore"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without_obstore)
    with pytest.raises(MissingDependencyError, match=r"pip install 'streamgmm\[cloud\]'") as refusal:
        open_source("s3://bucket/a.zarr")
    assert refusal.value.code == 2
    assert isinstance(refusal.value, ImportError)


def test_e2_a_release_that_runs_code_of_stores_is_refused(monkeypatch, tmp_path):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.16.5" if name == "numcodecs" else real(name))
    code, check = found_by_doctor(tmp_path, "libraries")
    assert (code, check["code"]) == (11, 11)
    assert "numcodecs 0.16.5" in check["found"]
    assert "numcodecs>=0.16.6" in check["found"]


@pytest.mark.parametrize("version", ["0.16.6", "0.17.0", "1.0"])
def test_e2_later_releases_pass(version, monkeypatch, tmp_path):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "numcodecs" else real(name))
    assert found_by_doctor(tmp_path, "libraries")[1]["result"] == "ok"


def test_e3_no_home_no_cache_no_temporary_folder(stars, tmp_path):
    env = environment(XDG_CACHE_HOME="/nonexistent", TMPDIR="/nonexistent")
    env.pop("HOME", None)
    done = subprocess.run([*PROGRAM, "fit", str(stars), "--run", str(tmp_path / "run"), *FIT], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_e3_little_space_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    code, check = found_by_doctor(tmp_path, "free space")
    assert code == 8
    assert "Make room" in check["found"]


def test_e9_a_fit_needs_few_files(stars, tmp_path):
    done = limited(64, "fit", stars, "--run", tmp_path / "run", *FIT)
    assert done.returncode == 0, done.stderr


def test_e9_a_cluster_that_cannot_start_names_the_limit(stars, tmp_path):
    done = limited(32, "fit", stars, "--run", tmp_path / "run", *FIT, "--local", "4")
    assert done.returncode == ClusterError.code, done.stderr
    said = done.stderr.splitlines()[-1]
    assert "open files allowed: 32" in said
    assert "ulimit -n" in said


def test_e9_doctor_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (32, 32))
    code, check = found_by_doctor(tmp_path, "open files")
    assert (code, check["result"]) == (0, "note")
    assert "32 at a time" in check["found"]


def limited(files, *arguments):
    """The program with so many files at a time."""
    lower = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # noqa: E731
    words = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(words, env=environment(), capture_output=True, text=True, preexec_fn=lower, timeout=200, check=False)
