"""Hostile files and addresses: how many were tried, what ran, what was written outside, who was called. Threat rows S1, S2, S4, S5."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from streamgmm import commands
from streamgmm.errors import DataError, SecurityError
from streamgmm.sources import open_source
from tests.reliability.hostile_files import ANY_FIT, Hostile, all_cases, store_case, write_v3
from tests.reliability.outcome import Outcome
from tests.running import survey_rows, write_store

SECONDS_A_FILE = 20
CANARY = "canary-5f2c"


class HungError(BaseException):
    """A file kept its reader waiting; no handler of ordinary errors may take it."""


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Ends what waits for ever."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tree_hash(folder: Path) -> str:
    """Of all names, kinds and bytes below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path}:{path.lstat().st_mode}:{len(content)}:".encode() + content)
    return digest.hexdigest()


def tried(case: Hostile, folder: Path) -> str:
    """What went wrong with a case; nothing if it was refused as it should be."""
    folder.mkdir()
    case.make(folder)
    try:
        with deadline(SECONDS_A_FILE), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.opens(folder)
    except case.refused:
        return ""
    except HungError:
        return "hung"
    except BaseException as error:  # noqa: BLE001  (anything else is a violation, and is reported)
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "was read"


def trials(n: int, seed: int) -> Outcome:
    """Every hostile file, and `n` more stores whose evil codec stands at a random depth among random others."""
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        outside, trace = root / "outside", root / "trace"
        outside.mkdir()
        write_v3(outside / "column", (8,), {}, b"x" * 64)
        (outside / "secret").write_bytes(b"x" * 16)
        commands.fit(write_store(root / "s.zarr", survey_rows(300)), root / "run", **ANY_FIT)
        before = tree_hash(outside), tree_hash(root / "run"), sorted(path.name for path in Path("/tmp").glob("outside-x"))
        cases = [*all_cases(trace, root / "run", outside), *random_codecs(n, seed)]
        with listener() as (_, calls):
            for number, case in enumerate(cases):
                fault = tried(case, root / f"case{number}")
                if trace.exists():
                    fault, _ = "ran code", trace.unlink()
                if fault:
                    faults[case.name] = fault
        after = tree_hash(outside), tree_hash(root / "run"), sorted(path.name for path in Path("/tmp").glob("outside-x"))
    ran = sum(fault == "ran code" for fault in faults.values())
    remarks = {"ran code": ran, "wrote outside": int(before != after), "connections": len(calls), "faults": faults}
    return Outcome("S1 S2 S4: hostile files", len(cases), len(faults) + (before != after) + len(calls), remarks)


def random_codecs(n: int, seed: int) -> list[Hostile]:
    """Stores whose list of codecs holds an evil one at a random place, in shards of random depth."""
    rng = random.Random(seed)
    return [store_case(f"random {seed}/{i}", {"codecs": random_list(rng, rng.randrange(5))}, b"\x80\x04.") for i in range(n)]


def random_list(rng: random.Random, depth: int) -> list[Any]:
    """Codecs of which one, `depth` shards down, is not allowed."""
    harmless: list[Any] = [{"name": name} for name in ("bytes", "crc32c", "zstd", "gzip", "blosc", "transpose")]
    chosen = rng.sample(harmless, rng.randrange(4))
    evil: Any = {"name": rng.choice(["pickle", "numcodecs.pickle", "evil", "numcodecs.vlen-array"])}
    if depth:
        inside = {"codecs": random_list(rng, depth - 1), "index_codecs": [{"name": "bytes"}]}
        if rng.random() < 0.5:
            inside["codecs"], inside["index_codecs"] = inside["index_codecs"], inside["codecs"]
        evil = {"name": "sharding_indexed", "configuration": inside}
    chosen.insert(rng.randrange(len(chosen) + 1), evil)
    return chosen


# ---- addresses -------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, list[Any]]]:
    """A socket on loopback, its port, and who has connected to it."""
    calls: list[Any] = []
    server = socket.create_server(("127.0.0.1", 0))

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, address = server.accept()
                calls.append(address)
                connection.close()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], calls
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


THIS_MACHINE = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.0.0.1.", "localhost"),
    *("LOCALHOST", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "[::]"),
)
OTHERS = (
    *("127.255.255.254", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("[fc00::1]", "224.0.0.1", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("100.64.0.1", "198.18.0.1", "255.255.255.255"),
)
HOSTS = (*THIS_MACHINE, *OTHERS)
SCHEMES = (
    *(
        "http",
        "ftp",
        "ftps",
        "sftp",
        "ssh",
        "scp",
        "smb",
        "hdfs",
        "webhdfs",
        "github",
        "git",
        "gitlab",
        "jupyter",
        "dask",
        "memory",
        "data",
    ),
    *("reference", "filecache", "blockcache", "simplecache", "zip", "tar", "dir", "hf", "oci", "dropbox", "gdrive", "root", "ws", "gopher"),
    *("jar", "ldap", "dict", "telnet", "javascript", "view-source", "abfs", "adl", "s3a", "gcs", "local", "dvc", "lakefs"),
)


def addresses(port: int) -> list[str]:
    """Addresses that must be refused before anybody is asked, each with a secret where a URL can carry one."""
    user = f"user:{CANARY}@"
    query = f"?X-Amz-Signature={CANARY}&sig={CANARY}"
    local = f"127.0.0.1:{port}"
    return [
        *(f"https://{user}{host}:{port}/a.zarr{query}" for host in HOSTS),
        *(f"{scheme}://{user}{local}/a{query}" for scheme in SCHEMES),
        *(
            f"{one}::{two}{user}{local}/{query}"
            for one in ("simplecache", "filecache", "reference", "zip", "blockcache")
            for two in ("http://", "https://")
        ),
        *(
            f"{text}{query}"
            for text in (f"s3://{user}b/../x", "s3://b/%2e%2e/x", "gs://b/a/..%2f..%2fx", "az://c/a\\..\\x", "https://h/a\\b")
        ),
        f"https://{user}[1/a",
        f"HTTP://{user}{local}/a",
        f"https://public.example\\@{local}/a",
        f"file://{local}/etc/passwd",
        f"file://{user}host/etc/passwd",
        f"https://{user}ho\N{ACCOUNT OF}st/a{query}",
        f"https://{user}{local}#@public.example/a",
        f"https://public.example@{local}/",
        f"s3://b/a::http://{local}/",
        "a.zarr\0http://x",
    ]


def url_trials(n: int, seed: int) -> Outcome:
    """Every address, and `n` more with random user information, ports and paths before a random private host."""
    rng = random.Random(seed)
    faults: dict[str, str] = {}
    with listener() as (port, calls):
        made = [f"https://u{rng.random()}:{CANARY}@{rng.choice(HOSTS)}:{port}/{rng.random()}?t={CANARY}" for _ in range(n)]
        every = [*addresses(port), *made]
        for url in every:
            fault = refused(url)
            if fault:
                faults[url] = fault
    remarks = {"connections": len(calls), "faults": faults}
    return Outcome("S5: hostile addresses", len(every), len(faults) + len(calls), remarks)


def refused(url: str) -> str:
    """What went wrong with an address; nothing if it was refused as it should be, and its secret kept."""
    try:
        with deadline(SECONDS_A_FILE):
            open_source(url)
    except (SecurityError, DataError) as error:
        wrong = "" if isinstance(error, SecurityError) or "is not known" in str(error) else f"class {type(error).__name__}"
        return f"secret in {error}" if CANARY in said(error) else wrong
    except (HungError, Exception) as error:  # noqa: BLE001  (anything else is a violation, and is reported)
        return f"{type(error).__name__}: {error}"
    return "was opened"


def said(error: BaseException | None) -> str:
    """The words of an error and of those that caused it: a traceback shows them all."""
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(words)


if os.name != "posix":
    raise ImportError("these trials need signals and pipes")
