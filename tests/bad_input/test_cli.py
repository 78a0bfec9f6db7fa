"""Rows C1 to C24 of the catalogue of bad input: the command line and configuration files."""

import io
import json
import os
import subprocess

import dask
import pytest

from streamgmm.commands.where import MOST_A_CORE, Where
from streamgmm.errors import ClusterError, ConfigError, SecurityError
from tests.running import PROGRAM, Shell, environment, spawn, survey_rows, write_store

FIT = ("-k", 2, "--executor", "serial", "--max-iter", 2, "--quiet")
KNOWN_KEYS = ("store", "run", "features")


@pytest.fixture
def shell(capsys):
    return Shell(capsys)


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """A small store; tests read it only."""
    return write_store(tmp_path_factory.mktemp("stars") / "stars.zarr", survey_rows(300))


@pytest.fixture
def config(tmp_path, shell):
    """Writes a configuration and runs `fit --show-config` with it: exit code and what is said on stderr."""

    def run(text, *flags):
        path = tmp_path / "job.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        code, out, err = shell("fit", "--config", path, "--show-config", *flags)
        return code, out, err

    return run


@pytest.fixture
def refused(config):
    """Says why a configuration is refused; it must be, with code 2 and nothing on stdout."""

    def run(text, *flags):
        code, out, err = config(text, *flags)
        assert (code, out) == (2, "")
        return err

    return run


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [((), "--help"), (("fti",), "did you mean 'fit'"), (("fit", "--max-itr", "3"), "--max-iter"), (("fit", "--covar"), "--covariance")],
)
def test_c1_no_arguments_unknown_command_or_flag(shell, arguments, nearest):
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: streamgmm")
    assert nearest in err


@pytest.mark.parametrize(
    ("line", "path", "said"),
    [
        ('[fit]\ntol = "1e-3"', "fit.tol", "remove the quotes"),
        ("[fit]\nn_components = 3.0", "fit.n_components", "a float"),
        ("[fit]\nn_components = true", "fit.n_components", "a truth value"),
        ('features = "pm_ra"', "features", "expected a list; found text"),
        ("[fit]\nseed = [1]", "fit.seed", "a list"),
        ("threads = 1.5", "threads", "a whole number"),
    ],
)
def test_c2_wrong_type(refused, line, path, said):
    err = refused(line)
    assert path in err
    assert said in err


def test_c2_an_integer_is_taken_for_a_float_and_all_faults_are_told_at_once(config, refused):
    assert config("[fit]\ntol = 1")[0] == 0
    err = refused('features = 3\n[fit]\ntol = "1e-3"\nmax_iter = "9"\nn_int = 2')
    for part in ("features", "fit.tol", "fit.max_iter", "did you mean 'n_init'"):
        assert part in err


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("12:30:00", "a local time"),
        ("2020-01-01", "a date"),
        ("2020-01-01T00:00:00Z", "a date and time"),
        ("nan", "finite"),
        ("-inf", "finite"),
    ],
)
@pytest.mark.parametrize("key", ["tol", "deadline"])
def test_c3_legal_toml_that_is_no_number(refused, key, value, said):
    err = refused(f"[fit]\n{key} = {value}")
    assert f"fit.{key}" in err
    assert said in err


@pytest.mark.parametrize(
    ("text", "key", "places"),
    [
        ("store = 'a'\nrun = 'b'\nstore = 'c'\n", "'store'", "on line 3, first on line 1"),
        ("[fit]\ntol = 1\n\n[fit]\nseed = 2", "'[fit]'", "on line 4, first on line 1"),
        ("fit.tol = 1\nfit = 2", "'fit'", "on line 2, first on line 1"),
    ],
)
def test_c4_duplicate_key_or_table(refused, text, key, places):
    err = refused(text)
    assert key in err
    assert places in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fit]\ntoll = 1", "unknown key 'fit.toll'; did you mean 'tol'?"),
        ("fetures = ['a']", "unknown key 'fetures'; did you mean 'features'?"),
        ("tol = 1", "'tol' belongs into the table [fit]"),
        ("[fit]\nstore = 'a'", "'store' belongs into the top of the file"),
        ("[data]\nx = 1", "unknown key 'data'; known are store, run"),
    ],
)
def test_c5_unknown_key_or_wrong_table(refused, text, said):
    assert said in refused(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('store = "a', "double quotes"),
        ("[fit]\nseed = 010", "line 2"),
        ("[fit]\nseed = 010", "leading zeros"),
        ("insecure_cluster = yes", "true and false"),
        ("insecure_cluster = True", "true and false"),
        ("store: !!python/object:os.system", "looks like YAML"),
        ("---\nstore: a\n", "looks like YAML"),
        ('{"store": "a"}', "looks like JSON"),
        ('store = "C:\\data"', "single quotes"),
        ("store = \nrun = 'a'", "line 1, column"),
    ],
)
def test_c6_not_toml(refused, text, said):
    assert said in refused(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a = " + b"[" * 51 + b"]" * 51, "50 levels"),
        (b"[" * 1_000_000, "50 levels"),
        (b".".join([b"a"] * 51) + b" = 1", "50 parts"),
        (b".".join([b"a"] * 200_000) + b" = 1", "50 parts"),
        (b"a." * 60 + b'"b" = 1', "50 parts"),
        (b"#" * (2**20 + 1), "1048576 bytes"),
    ],
    ids=["nested 51", "nested a million", "dotted 51", "dotted 200,000", "dotted and quoted", "large"],
)
def test_c7_limits_before_parsing(refused, text, said):
    assert said in refused(text)


@pytest.mark.parametrize(
    "text", [b'"' + b'\\"' * 400_000, b"'''" + b"a'" * 400_000, b'a = """' + b'\\"""' * 200_000, b"a" * 1_000_000, b"a = 1 " * 170_000]
)
@pytest.mark.timeout(100)  # quadratic work would take minutes
def test_c7_hostile_text_takes_no_time(refused, text):
    refused(text)


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "[project]\nname = 'x'", "fit = 3", "[[fit]]\ntol = 1", "fit = ['a']"])
def test_c8_no_settings_or_no_table(refused, text):
    err = refused(text)
    if "project" in text:
        assert all(key in err for key in KNOWN_KEYS)
    else:
        assert "expected a table [fit] with n_components" in err


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"store = '\xff'", "byte 9 is not UTF-8"),
        (b"store = 'a'\0", "byte 11 is NUL"),
        ("store = 'a'".encode("utf-16"), "byte 0: this is UTF-16"),
    ],
)
def test_c9_not_utf_8(refused, raw, said):
    assert said in refused(raw)


def test_c9_a_mark_at_the_begin_is_taken(config):
    assert config(b"\xef\xbb\xbfstore = 'a'")[0] == 0


def test_c10_no_plain_file(shell, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "closed.toml").write_text("store = 'a'")
    kinds = {"missing.toml": "No such file", ".": "a folder", "fifo": "not a plain file", "x" * 300: "File name too long"}
    for name, said in kinds.items():
        code, _, err = shell("fit", "--config", tmp_path / name)
        assert code == 2
        assert said in err
        assert name in err or name == "."

    def unreadable(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", unreadable)
    code, _, err = shell("fit", "--config", tmp_path / "closed.toml")
    assert code == 2
    assert "Permission denied" in err


def test_c11_placeholder_not_set(refused, config, monkeypatch):
    monkeypatch.delenv("STARS_AT", raising=False)
    monkeypatch.setenv("OTHER", "a-value-not-to-be-told")
    err = refused('store = "${OTHER}/${STARS_AT}/gaia.zarr"')
    assert "'STARS_AT' is not set" in err
    assert "a-value-not-to-be-told" not in err
    monkeypatch.setenv("STARS_AT", "/data")
    code, out, _ = config('store = "${STARS_AT}/gaia.zarr"')
    assert code == 0
    assert "/data/gaia.zarr" in out


def test_c12_secret_in_the_file(config, refused):
    text = 'store = "https://me:hunter2@example.org/gaia.zarr"'
    code, out, err = config(text)
    assert code == 0
    assert "store holds a secret" in err
    assert "environment" in err
    assert "hunter2" not in out + err
    strict = refused(text, "--strict")
    assert "hunter2" not in strict
    assert "hunter2" not in refused(f"strict = true\n{text}")


def test_a_stall_timeout_has_a_unit(config, refused):
    assert 'stall_timeout must be text with a unit, such as "90s"' in refused("stall_timeout = 300")
    code, out, _ = config('stall_timeout = "10min"')
    assert code == 0
    assert "600" in out


def test_c13_secret_file_readable_by_others(tmp_path):
    key = tmp_path / "client.key"
    key.write_text("secret")
    key.chmod(0o644)
    with dask.config.set({"distributed.comm.tls.client.key": str(key)}):
        with pytest.raises(SecurityError, match=r"mode 0644.*0600") as refusal:
            _ = Where(scheduler="tls://example.org:8786").address
        key.chmod(0o600)
        with pytest.raises(ClusterError, match=r"distributed\.comm\.tls\.ca-file nothing"):
            _ = Where(scheduler="tls://example.org:8786").address
    assert refusal.value.code == 11


def test_c14_output_exists(shell, stars, tmp_path):
    assert shell("fit", stars, "--run", tmp_path / "run", *FIT)[0] == 0
    (tmp_path / "rows.csv").write_text("pm_ra\n1\n2\n")
    (tmp_path / "out.zarr").mkdir()
    for arguments in (
        ("ingest", tmp_path / "rows.csv", "--out", tmp_path / "out.zarr"),
        ("sample", tmp_path / "run", "-n", 1, "--out", tmp_path / "rows.csv"),
        ("predict", tmp_path / "run", stars, "--out", tmp_path / "out.zarr"),
    ):
        code, _, err = shell(*arguments)
        assert code == 2
        assert "--overwrite" in err
    assert (tmp_path / "rows.csv").read_text() == "pm_ra\n1\n2\n"


def test_c15_output_cannot_be_written(shell, stars, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing is read before")

    monkeypatch.setattr("streamgmm.commands.fitting.open_table", refuse)
    (tmp_path / "file").write_text("")
    code, _, err = shell("fit", stars, "--run", tmp_path / "file" / "run", *FIT)
    assert code == 8
    assert str(tmp_path / "file" / "run") in err
    assert f"user id {os.getuid()}" in err
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    code, _, err = shell("fit", stars, "--run", tmp_path / "run", *FIT)
    assert code == 8
    assert "Permission denied" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("inside", [".", "run", "pm_ra/run", ".."])
def test_c16_output_inside_the_store(shell, tmp_path, inside):
    store = write_store(tmp_path / "place" / "stars.zarr", survey_rows(50)) if (tmp_path / "place").mkdir() is None else None
    code, _, err = shell("fit", store, "--run", store / inside, *FIT)
    assert code == 2
    assert str(store.resolve()) in err
    assert str((store / inside).resolve()) in err


def test_c17_resume_with_nothing_there(shell, stars, tmp_path):
    for arguments in (("resume", tmp_path), ("fit", stars, "--run", tmp_path / "run", *FIT, "--resume", "must")):
        code, _, err = shell(*arguments)
        assert code == 6
        assert str(tmp_path) in err
        assert "looked for run.json" in err
    assert not (tmp_path / "run" / "run.json").exists()


def test_c18_fresh_start_in_a_folder_with_a_run(shell, stars, tmp_path):
    arguments = ("fit", stars, "--run", tmp_path / "run", *FIT, "--resume", "never")
    assert shell(*arguments)[0] == 0
    code, _, err = shell(*arguments)
    assert code == 2
    assert "new folder" in err
    assert "resume" in err


def test_c19_stdout_closed_early(stars, tmp_path, shell):
    assert shell("fit", stars, "--run", tmp_path / "run", *FIT)[0] == 0
    with spawn("sample", tmp_path / "run", "-n", 2_000_000) as process:
        assert process.stdout.readline().startswith("pm_ra")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode in (0, 141)


@pytest.mark.parametrize(
    "changes", [{"NO_COLOR": "1"}, {"COLUMNS": "20"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_c20_no_terminal_no_colours_narrow_or_not_utf_8(tmp_path, changes):
    store = write_store(tmp_path / "s.zarr", {"größe\N{SNOWMAN}": survey_rows(50)["mag"]}, {"größe\N{SNOWMAN}": "µas"})
    done = subprocess.run([*PROGRAM, "inspect", str(store)], capture_output=True, check=False, env=environment(**changes))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    if "ascii" in changes.values():
        assert done.stdout.isascii()


@pytest.mark.parametrize("name", ["a run", "new\nline", "-dash", "\N{SNOWMAN}", "run'\"", "\udcff"])
def test_c21_odd_paths_work(shell, stars, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, _, err = shell("fit", "--run", name, *FIT, "--", stars)
    assert code == 0, err
    assert (tmp_path / name / "model.zarr").is_dir()
    assert shell.json("inspect", "--", name)["kind"] == "run"


def test_c21_a_path_that_is_too_long(shell, stars, tmp_path):
    name = "x" * 256
    for arguments in (
        ("fit", stars, "--run", tmp_path / name, *FIT),
        ("fit", tmp_path / name, "--run", tmp_path / "run", *FIT),
        ("inspect", tmp_path / name),
        ("quickstart", "--out", tmp_path / name),
    ):
        code, _, err = shell(*arguments)
        assert code == 2
        assert "File name too long" in err


def test_c22_flag_before_environment_before_file(shell, tmp_path, monkeypatch):
    (tmp_path / "job.toml").write_text("store = 'file.zarr'\n[fit]\ntol = 0.1\nseed = 1\nmax_iter = 7\n")
    monkeypatch.setenv("STREAMGMM_FIT_TOL", "0.2")
    monkeypatch.setenv("STREAMGMM_FIT_SEED", "2")
    arguments = ("fit", "--config", tmp_path / "job.toml", "--seed", 3, "--show-config")
    settings = shell.json(*arguments)["settings"]
    assert settings["fit.seed"] == {"value": 3, "origin": "command line"}
    assert settings["fit.tol"] == {"value": 0.2, "origin": "environment"}
    assert settings["fit.max_iter"] == {"value": 7, "origin": f"file {tmp_path / 'job.toml'}"}
    assert settings["fit.n_init"] == {"value": 1, "origin": "default"}
    assert settings["store"]["value"] == "file.zarr"
    code, out, _ = shell(*arguments)
    assert code == 0
    assert "command line" in out


@pytest.mark.parametrize("flag", ["--threads", "--local"])
@pytest.mark.parametrize("wanted", ["0", "-1", "many"])
def test_c23_workers_out_of_range(shell, stars, tmp_path, flag, wanted):
    code, _, err = shell("fit", stars, "--run", tmp_path / "run", "-k", 2, flag, wanted)
    assert code == 2
    assert "auto" in err


def test_c23_workers_are_capped_by_the_limits_of_the_container(monkeypatch):
    monkeypatch.setattr("streamgmm.commands.where.cpu_count", lambda: 1)
    assert Where(threads="auto").n_threads == 1
    with pytest.warns(UserWarning, match="1 core"):
        assert Where(threads=100_000).n_threads == MOST_A_CORE
    with pytest.warns(UserWarning, match="1 core"):
        assert Where(local=100_000).n_processes == MOST_A_CORE
    with pytest.raises(ConfigError, match="1 core"):
        _ = Where(threads=0).n_threads


@pytest.mark.parametrize("text", ["10", "-5s", "10 parsecs", "", "0s", "1h30", "nan s", "infh", "1e400d"])
def test_c24_time_without_a_unit(shell, refused, stars, tmp_path, text):
    code, _, err = shell("fit", stars, "--run", tmp_path / "run", *FIT, f"--deadline={text}")
    assert code == 2
    assert "s, min, h, d" in err
    assert "s, min, h, d" in refused(f"[fit]\ndeadline = {json.dumps(text)}")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10min", 600.0), ("2h", 7200.0), ("1h30min", 5400.0), ("1.5 d", 129_600.0)])
def test_c24_times_with_units(shell, tmp_path, text, seconds):
    found = shell.json("fit", "--deadline", text, "--show-config")["settings"]["fit.deadline"]
    assert found["value"] == seconds
    (tmp_path / "job.toml").write_text(f'[fit]\ndeadline = "{text}"')
    assert shell.json("fit", "--config", tmp_path / "job.toml", "--show-config")["settings"]["fit.deadline"]["value"] == seconds


def test_w2_a_cluster_without_encryption_elsewhere_is_code_11(shell, stars, tmp_path):
    found = shell.json("fit", stars, "--run", tmp_path / "run", "-k", 2, "--scheduler", "tcp://192.0.2.1:8786")
    assert (found["code"], found["error"]) == (11, "SecurityError")
    assert "anyone who reaches it can run code" in found["message"]
    assert "--insecure-cluster" in found["message"]


def test_messages_are_one_line_whatever_a_name_holds(shell, stars):
    _, _, err = shell("plan", stars, "-k", 2, "--features", "a\x1b[31m\nb")
    assert "\x1b" not in err
    assert err.count("\n") == 1


def test_stdout_stays_empty_on_errors(shell, stars):
    buffer = io.StringIO(shell("plan", stars, "-k", 0)[1])
    assert buffer.read() == ""
