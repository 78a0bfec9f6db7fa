"""Threat rows S7 to S9, rows W2 and W3: what listens, to whom, and who is let in."""

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import dask
import pytest

from streamgmm import commands
from streamgmm.commands.where import Where
from streamgmm.errors import ClusterError, SecurityError
from streamgmm.executors import dask_distributed
from streamgmm.executors._address import check_address
from tests.running import environment, spawn, survey_rows, write_store

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "tls" / "make-certificates"
FIT = ("-k", 2, "--init", "random", "--tol", 0, "--max-iter", 100_000)


def listening(pids):
    """(host, port) of every TCP socket on which one of these processes listens."""
    inodes = {str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                host, port = words[1].split(":")
                found.append((_host(host), int(port, 16)))
    return found


def _host(text):
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    raw = b"".join(struct.pack("=I", word) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def family(pid):
    """A process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [one for child in task.read_text().split() for one in family(int(child))]
    return found


def wait_until(happened, process, tries=1200):
    for _ in range(tries):
        if happened():
            return
        assert process.poll() is None
        signal.sigtimedwait([], 0.05)
    raise AssertionError("it did not happen in a minute")


def test_listening_sees_every_interface():
    """The look itself: a socket on all interfaces is seen as one."""
    with socket.create_server(("0.0.0.0", 0)) as every, socket.create_server(("127.0.0.1", 0)) as own:
        found = listening([os.getpid()])
        assert ("0.0.0.0", every.getsockname()[1]) in found
        assert ("127.0.0.1", own.getsockname()[1]) in found


def test_s9_a_local_cluster_listens_on_loopback_only_and_shows_no_pages(tmp_path):
    store = write_store(tmp_path / "stars.zarr", survey_rows(2000))
    said = (
        tmp_path / "said.txt"
    )  # a pipe that nobody reads fills with what foreign requests make distributed say, and then all stands still
    with said.open("w") as stderr:
        process = spawn("fit", store, "--run", tmp_path / "run", *FIT, "--local", 2, "--quiet", stdout=stderr, stderr=stderr)
    try:
        wait_until((tmp_path / "run" / "commits" / "000001.zip").exists, process)
        found = listening(family(process.pid))
        assert len(found) >= 5  # scheduler, its health page, two workers and their nannies
        assert {host for host, _ in found} == {"127.0.0.1"}
        answers = [
            status(port, page) for _, port in found for page in ("/status", "/info/main/workers.html", "/json/counts.json", "/proxy/1/x")
        ]
        assert 200 not in answers
        assert 404 in answers
    finally:
        process.terminate()
        assert process.wait(timeout=150) == 75, said.read_text()[-3000:]


def status(port, page):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, ValueError):
        return None  # no web page at all
    except Exception as error:  # noqa: BLE001  (a port of another protocol answers with anything)
        return type(error).__name__


# ---- encryption ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The files of two clusters."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("own", "other"):
        subprocess.run(["bash", str(SCRIPT), str(folder / name), "2"], check=True, capture_output=True)
    return folder


def test_keys_are_for_their_owner_alone_and_never_overwritten(certificates):
    for path in certificates.rglob("*key.pem"):
        assert path.stat().st_mode & 0o077 == 0
    again = subprocess.run(["bash", str(SCRIPT), str(certificates / "own")], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert not any((certificates / "own" / role / "authority").exists() for role in ("scheduler", "worker", "client"))


@pytest.mark.parametrize("days", ["soon", "-1", "1; true"])
def test_days_are_a_number(tmp_path, days):
    done = subprocess.run(["bash", str(SCRIPT), str(tmp_path / "x"), days], capture_output=True, check=False)
    assert done.returncode == 2
    assert not (tmp_path / "x").exists()


def dask_program(role, *arguments):
    """One of dask's own programs under the configuration of a role."""
    env = environment(DASK_CONFIG=str(role))
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def encrypted(certificates):
    """A scheduler and a worker, started as the script says, on loopback."""
    own, file = certificates / "own", certificates / "scheduler.json"
    quiet = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--host", "127.0.0.1")
    scheduler = dask_program(own / "scheduler", "scheduler", *quiet, "--port", 0, "--scheduler-file", file)
    worker = None
    try:
        wait_until(file.exists, scheduler)
        address = json.loads(file.read_text())["address"]
        worker = dask_program(own / "worker", "worker", address, *quiet, "--nthreads", 1)
        yield address, scheduler, worker
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.terminate()
                process.wait(timeout=60)


def fit_there(folder, config, address):
    """A fit of this process, under the configuration that DASK_CONFIG would name."""
    store = write_store(folder / "stars.zarr", survey_rows(300))
    told = dask.config.merge(dask.config.config, dask.config.collect([str(config)] if config else [], env={}))
    with dask.config.set(distributed=told["distributed"]), dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
        where = Where(scheduler=address)
        return commands.fit(store, folder / "run", n_components=2, schedule="full_batch", init="random", max_iter=2, where=where)


def test_s7_with_the_clusters_own_certificate_a_fit_runs(encrypted, certificates, tmp_path):
    address, scheduler, worker = encrypted
    assert address.startswith("tls://")
    assert fit_there(tmp_path, certificates / "own" / "client", address)["passes"] == 2
    assert {host for host, _ in listening([*family(scheduler.pid), *family(worker.pid)])} == {"127.0.0.1"}


def test_s8_w3_a_certificate_of_another_authority_is_refused(encrypted, certificates, tmp_path, short):
    with pytest.raises(ClusterError, match=r"(?i)certificate") as refusal:
        fit_there(tmp_path, certificates / "other" / "client", encrypted[0])
    assert refusal.value.code == 9


def test_s7_w3_no_certificate_is_refused(encrypted, tmp_path):
    with pytest.raises(ClusterError, match=r"distributed\.comm\.tls\.ca-file nothing"):
        fit_there(tmp_path, None, encrypted[0])


def test_s7_a_plain_client_is_refused(encrypted, tmp_path, short):
    with pytest.raises(ClusterError, match="no Dask scheduler answered"):
        fit_there(tmp_path, None, encrypted[0].replace("tls://", "tcp://"))


@pytest.fixture
def short(monkeypatch):
    """A client gives up after seconds."""
    made = functools.partial(dask_distributed.DaskDistributed, timeout=5)
    monkeypatch.setattr(dask_distributed, "DaskDistributed", made)


def test_w3_missing_wrong_and_open_files_are_named(certificates, tmp_path):
    broken = shutil.copytree(certificates / "own" / "client", tmp_path / "client")
    paths = {"ca-file": broken / "ca.pem", "client.cert": broken / "certificate.pem", "client.key": broken / "key.pem"}
    with dask.config.set({f"distributed.comm.tls.{name}": str(path) for name, path in paths.items()}):
        check_address("tls://example.org:8786", insecure=False)
        (broken / "key.pem").chmod(0o644)
        with pytest.raises(SecurityError, match="0600"):
            check_address("tls://example.org:8786", insecure=False)
        shutil.copy(certificates / "own" / "worker" / "key.pem", broken / "key.pem")
        with pytest.raises(ClusterError, match=r"(?i)mismatch"):
            check_address("tls://example.org:8786", insecure=False)
        (broken / "ca.pem").write_text("no certificate")
        with pytest.raises(ClusterError, match=str(broken / "ca.pem")):
            check_address("tls://example.org:8786", insecure=False)
        for name, path in paths.items():
            path.unlink()
            with pytest.raises(ClusterError, match=rf"tls\.{name} {path}, which is not there"):
                check_address("tls://example.org:8786", insecure=False)
            shutil.copy(certificates / "own" / "client" / path.name, path)


def test_s8_the_certificates_are_of_their_authority_and_short_lived(certificates):
    context = ssl.create_default_context(cafile=certificates / "own" / "authority" / "ca.pem")
    (authority,) = context.get_ca_certs()
    days = (ssl.cert_time_to_seconds(authority["notAfter"]) - ssl.cert_time_to_seconds(authority["notBefore"])) / 86_400
    assert days == pytest.approx(2, abs=0.01)


def test_s7_the_scripts_say_nothing_else():
    """No plain scheduler, no page for everybody, in anything that is deployed."""
    for path in SCRIPT.parents[1].rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "tcp://" not in text
            assert "0.0.0.0" not in text
            assert text.count("dask scheduler") <= text.count("--no-dashboard")
