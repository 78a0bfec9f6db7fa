"""Manifests: what is written is what is read; damage to a chunk or to the manifest is found."""

import json
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from streamgmm import commands
from streamgmm.column_store import ColumnStoreWriter, write_column
from streamgmm.errors import ChunkCorruptError, ConfigError, DataError, SchemaError, StorageError
from streamgmm.manifest import MANIFEST_NAME, FileEntry, Manifest, parse_manifest, scan_files, write_manifest
from streamgmm.sources import open_source

ROWS = np.random.default_rng(0).normal(size=300)


@pytest.fixture
def store(tmp_path):
    with ColumnStoreWriter(tmp_path / "s.zarr", {"a": "f8"}, chunk_rows=64) as writer:
        writer.append({"a": ROWS})
    return tmp_path / "s.zarr"


@given(st.dictionaries(st.text(), st.binary(max_size=9)))
def test_what_is_written_is_what_is_read(files):
    manifest = Manifest({key: FileEntry.of(raw) for key, raw in files.items()}, {"shape": [3]})
    read = parse_manifest(manifest.to_json(), "here")
    assert read == manifest
    assert all(read.fault(key, raw, sealed=False) == "" for key, raw in files.items())


@given(st.binary(min_size=1, max_size=30), st.data())
def test_any_other_bytes_are_a_fault(raw, data):
    manifest = Manifest({"c/0": FileEntry.of(raw)}, {})
    other = data.draw(st.binary(max_size=31).filter(lambda drawn: drawn != raw))
    assert manifest.fault("c/0", other, sealed=False)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_change_of_a_manifest_is_noticed(at, value):
    raw = bytearray(Manifest({"c/0": FileEntry.of(b"12345678")}, {"shape": [3]}).to_json())
    at %= len(raw) - 1  # the last is the line's end
    if raw[at] == value:
        return
    raw[at] = value
    with pytest.raises(SchemaError):
        parse_manifest(bytes(raw), "here")


def test_a_store_of_ours_has_one_beside_every_column(store):
    write_column(store, "label", [np.arange(300, dtype="i4")], "i4")
    for name in ("a", "label"):
        read = parse_manifest((store / name / MANIFEST_NAME).read_bytes(), name)
        assert read == scan_files(store / name)
        assert sorted(read.files) == [f"c/{i}" for i in range(5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # zarr warns of what it does not know among the members of a group
        assert sorted(name for name, _ in zarr.open_group(store, mode="r").members()) == ["a", "label"]


def test_a_column_that_is_replaced_brings_its_own(store):
    write_column(store, "label", [np.arange(300, dtype="i4")], "i4")
    write_column(store, "label", [np.arange(1, 301, dtype="i4")], "i4", overwrite=True)
    assert open_source(store, features=["label"]).load(0)[0, 0] == 1


def test_two_stores_of_the_same_rows_have_the_same_manifests(store, tmp_path):
    with ColumnStoreWriter(tmp_path / "t.zarr", {"a": "f8"}, chunk_rows=64) as writer:
        writer.append({"a": ROWS})
    assert (store / "a" / MANIFEST_NAME).read_bytes() == (tmp_path / "t.zarr" / "a" / MANIFEST_NAME).read_bytes()


def test_the_command_describes_a_foreign_store_and_never_twice(tmp_path):
    path = tmp_path / "x.zarr"
    zarr.create_array(path, shape=(100, 2), chunks=(30, 2), dtype="f8")[:] = 1
    result = commands.manifest(path)
    assert (result["arrays"], result["files"], result["absent"]) == (1, 4, 0)
    assert result["bytes"] == sum((path / f"c/{i}/0").stat().st_size for i in range(4))
    before = (path / MANIFEST_NAME).read_bytes()
    with pytest.raises(ConfigError, match=r"exists already; use --overwrite"):
        commands.manifest(path)
    with pytest.raises(ConfigError, match=r"exists already; use --overwrite"):
        write_manifest(path, scan_files(path))
    assert (path / MANIFEST_NAME).read_bytes() == before
    zarr.open_array(path)[0] = 2.0
    with pytest.raises(ChunkCorruptError, match="chunk c/0/0"):
        open_source(path).read(0)
    commands.manifest(path, overwrite=True)
    assert open_source(path).read(0).x[0, 0] == 2.0
    assert not [entry.name for entry in path.iterdir() if entry.name.startswith(".")], "nothing unfinished is left"


def test_the_command_needs_a_store(tmp_path):
    with pytest.raises(DataError, match="no store at"):
        commands.manifest(tmp_path / "x.zarr")
    with pytest.raises(DataError, match="holds no Zarr arrays"):
        commands.manifest(tmp_path)
    with pytest.raises(DataError, match="local stores only"):
        commands.manifest("s3://bucket/x.zarr")


def test_a_damaged_manifest_is_said_with_its_name(store):
    path = store / "a" / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"c/1"', b'"c/9"'))
    with pytest.raises(SchemaError, match=r"streamgmm-manifest\.json: the manifest is damaged"):
        open_source(store)


@pytest.mark.parametrize("document", [[], {"format": "streamgmm-manifest", "version": 2}, {"files": {}}])
def test_what_is_no_manifest_is_refused(document):
    with pytest.raises(SchemaError, match="not a manifest of version 1"):
        parse_manifest(json.dumps(document).encode(), "here")


def test_a_fifo_among_the_chunks_is_no_chunk(store):
    (store / "a" / "c" / "1").unlink()
    (store / "a" / "c" / "1").symlink_to("/dev/zero")
    with pytest.raises(StorageError, match="no regular file"):
        scan_files(store / "a")
