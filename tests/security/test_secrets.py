"""Threat rows S11 and S16: a canary goes in through every entry and must come out nowhere; values of rows stay out of messages."""

import contextlib
import importlib
import json
import pickle
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from streamgmm import commands
from streamgmm.commands import fitting
from streamgmm.commands.where import Where
from streamgmm.em import merge_all
from streamgmm.errors import ConfigError, StorageError
from streamgmm.passes import BlockStatistics
from streamgmm.sources import open_source
from streamgmm.sources.base import AbstractSource
from streamgmm.wording import redacted_words
from tests.making import random_mixture
from tests.running import Shell, environment, spawn, survey_rows, write_store

CANARY = "canary-5f2c91"
URL = f"s3://key:{CANARY}@bucket/stars.zarr?X-Amz-Signature={CANARY}&sig={CANARY}"
FIT = ("-k", 2, "--init", "random", "--max-iter", 2, "--executor", "serial")


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stars") / "stars.zarr", survey_rows(300))


def hits(folder):
    """Files below a folder that hold the canary."""
    return [path.name for path in Path(folder).rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"cannot read https://user:{CANARY}@host/a, and https://h/b?sig={CANARY}",
        f"https://a:b@{CANARY}@host/x",
        f"https://user:p%40{CANARY}@host/x",
        f"aws_secret_access_key={CANARY}, region=x",
        f"token={CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"https://h/a?x=1&sig={CANARY}'",
        f'"https://h/a?sig={CANARY}"',
    ],
)
def test_s11_what_can_be_told_for_a_secret_is_not_shown(text):
    shown = redacted_words(text)
    assert CANARY not in shown
    assert "***" in shown
    assert redacted_words(shown) == shown


@pytest.mark.parametrize("text", ["a plain message: 3 rows?", "s3://bucket/a@b.zarr", "https://h/y@z", "what? ://", "tol=0.1, monkey=3"])
def test_plain_words_stay_as_they_are(text):
    assert redacted_words(text) == text


@pytest.mark.timeout(60)  # quadratic work would take minutes
def test_long_hostile_text_takes_no_time():
    for text in ("token-" * 50_000, "a-" * 200_000, "://" * 100_000, "x?" * 200_000):
        redacted_words(text)


# ---- a fit whose store has a secret address --------------------------------------------------------------------------------------


@pytest.fixture
def through(stars, monkeypatch):
    """A bucket that answers from a local store."""
    monkeypatch.setattr(fitting, "open_table", lambda store, features, weight, missing, rows: open_source(stars, features=features))


def test_s11_a_run_keeps_no_secret(through, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    code, out, err = Shell(capsys)("fit", URL, "--run", tmp_path / "run", *FIT)
    assert code == 0, err
    assert CANARY not in out + err
    assert hits(tmp_path) == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["location"]["store"].startswith("s3://***@bucket")


def test_s11_a_run_without_its_secret_asks_for_it(through, tmp_path):
    few = {"n_components": 2, "schedule": "full_batch", "init": "random", "max_iter": 1}
    commands.fit(URL, tmp_path / "run", **few, where=Where(executor="serial"))
    with pytest.raises(ConfigError, match=r"keeps no secrets.*--store") as refusal:
        commands.resume(tmp_path / "run", max_iter=2)
    assert CANARY not in str(refusal.value)
    assert commands.resume(tmp_path / "run", store=URL, max_iter=2, where=Where(executor="serial"))["passes"] == 2
    assert hits(tmp_path) == []


def test_s11_without_the_redaction_the_canary_is_found(through, tmp_path, monkeypatch):
    """The guard taken out."""
    monkeypatch.setattr(fitting, "redacted_words", lambda text: text)
    commands.fit(URL, tmp_path / "run", n_components=2, init="random", max_iter=1, where=Where(executor="serial"))
    assert hits(tmp_path) == ["run.json"]


# ---- other entries ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", f"https://user:{CANARY}@127.0.0.1/a?sig={CANARY}", "--run", "run", *FIT),
        ("fit", f"ftp://user:{CANARY}@host/a?sig={CANARY}", "--run", "run", *FIT),
        ("plan", f"https://user:{CANARY}@localhost/a", "-k", 2),
        ("inspect", f"http://user:{CANARY}@host/a?token={CANARY}"),
        ("score", "nowhere", f"http://user:{CANARY}@host/a?token={CANARY}"),
        ("predict", "nowhere", f"https://user:{CANARY}@127.0.0.1/a?token={CANARY}", "--out", "x"),
        ("doctor", "--scheduler", f"tcp://user:{CANARY}@10.0.0.1:8786"),
        ("fit", "STARS", "--run", "run", *FIT[:-2], "--scheduler", f"tcp://user:{CANARY}@10.0.0.1:8786"),
        ("fit", "STARS", "--run", "run", *FIT[:-2], "--scheduler", f"nonsense://user:{CANARY}@"),
        ("ingest", f"https://user:{CANARY}@host/a.csv?sig={CANARY}", "--out", "x.zarr"),
    ],
    ids=lambda arguments: f"{arguments[0]} {str(arguments[1])[:12]}",
)
@pytest.mark.parametrize("as_json", [False, True])
def test_s11_errors_of_the_command_line(arguments, as_json, stars, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [stars if word == "STARS" else word for word in arguments] + ["--json"] * as_json
    code, out, err = Shell(capsys)(*words)
    assert code != 0 or arguments[0] == "doctor"
    assert CANARY not in out + err
    assert hits(tmp_path) == []


def test_s11_configuration_and_environment(stars, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STORE_URL", URL)
    (tmp_path / "job.toml").write_text('store = "${STORE_URL}"\n[fit]\nn_components = 2\n')
    code, out, err = Shell(capsys)("fit", "--config", tmp_path / "job.toml", "--show-config")
    assert code == 0
    assert "***" in out
    assert CANARY not in out + err
    monkeypatch.setenv("STREAMGMM_FIT_SCHEDULER", f"tls://user:{CANARY}@host:1")
    code, out, err = Shell(capsys)("fit", "--config", tmp_path / "job.toml", "--show-config", "--json")
    assert CANARY not in out + err


class Leaking(AbstractSource):
    """A store whose library puts the address into its errors."""

    n_rows = 10
    dtype = np.dtype("float64")

    def portable_rows(self, first, last):
        return self

    def load(self, index):
        raise StorageError(f"GET https://user:{CANARY}@host/c/0?sig={CANARY}: 403; AWS_SECRET_ACCESS_KEY={CANARY}")


@pytest.mark.parametrize("error", [StorageError, RuntimeError], ids=["ours", "internal"])
def test_s11_errors_of_libraries(error, tmp_path, capsys, monkeypatch):
    source = Leaking(feature_names=("a",), units=("",))
    monkeypatch.setattr(fitting, "open_table", lambda *arguments: source)
    if error is RuntimeError:
        monkeypatch.setattr(Leaking, "load", lambda self, index: 1 / 0 if not index else None)
        monkeypatch.setattr(fitting, "checked_run_folder", _leaks)
    code, out, err = Shell(capsys)("fit", "STORE", "--run", tmp_path / "run", *FIT)
    assert code == (8 if error is StorageError else 1)
    assert "***" in err
    assert CANARY not in out + err
    assert hits(tmp_path) == []


def _leaks(run, store):
    raise RuntimeError(f"GET https://user:{CANARY}@host/c/0?sig={CANARY}")


def test_s11_what_travels_to_workers_holds_no_secret_of_the_environment(stars, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    source = open_source(stars)
    mixture = random_mixture("gaussian_full", 2, 3, np.random.default_rng(0))
    graph = (BlockStatistics((mixture,), source.block_rows, hard=False), merge_all, source.portable(0, 1))
    assert CANARY.encode() not in pickle.dumps(graph) + cloudpickle.dumps(graph)


def test_s11_a_bucket_travels_without_the_secrets_of_the_environment(monkeypatch):
    obstore = importlib.import_module("obstore.store")  # of the test extra: nothing is skipped
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.setenv(name, CANARY)
    assert CANARY.encode() not in pickle.dumps(obstore.from_url("s3://bucket/a.zarr"))


def test_s11_arguments_of_processes_that_are_started_hold_no_secret(stars, tmp_path):
    """Workers of `--local` are told nothing on their command line."""
    process = spawn("fit", stars, "--run", tmp_path / "run", *FIT[:-2], "--local", 1, env=environment(AWS_SECRET_ACCESS_KEY=CANARY))
    seen = set()
    while process.poll() is None:
        for pid in children(process.pid):
            with contextlib.suppress(OSError):
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
    process.communicate()
    assert process.returncode == 0
    assert seen
    assert not any(CANARY.encode() in line for line in seen)


def children(pid):
    """Processes below a process, as far as they are still there."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return [one for child in found for one in (child, *children(child))]


# ---- S16: rows -------------------------------------------------------------------------------------------------------------------


def test_s16_no_value_of_a_row_in_messages_of_bad_rows(tmp_path, capsys):
    """A bad row is told by its number and column, never by what else is in it."""
    columns = survey_rows(300)
    columns["pm_ra"][7], columns["mag"][7] = 9182.7364, np.nan
    store = write_store(tmp_path / "bad.zarr", columns)
    code, out, err = Shell(capsys)("fit", store, "--run", tmp_path / "run", *FIT)
    assert code == 4
    assert "row 7" in err
    assert "9182" not in out + err
    assert not (tmp_path / "run" / "events.jsonl").exists() or b"9182" not in (tmp_path / "run" / "events.jsonl").read_bytes()
