"""Column stores: whole or not at all, the same bytes whatever the pieces, damage found."""

import hashlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.column_store import ColumnStoreWriter, write_column
from streamgmm.errors import ConfigError, DataError, SchemaError, StorageError
from streamgmm.pending_folder import PendingFolder


def tree_hash(folder):
    """SHA-256 of names and contents of all files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


def write(path, columns, **options):
    with ColumnStoreWriter(path, {name: values.dtype for name, values in columns.items()}, **options) as store:
        store.append(columns)
    return path


def write_and_fail(path, **options):
    with ColumnStoreWriter(path, {"x": "f8"}, **options) as store:
        store.append({"x": np.zeros(100)})
        raise KeyError


def opened(path):
    """The store as plain xarray gives it; the test settings make any warning an error."""
    return xr.open_zarr(path, consolidated=False, chunks=None).load()


@pytest.fixture
def columns(rng):
    x = rng.normal(size=1000)
    x[::7] = np.nan
    return {"x": x, "small": x.astype("f4"), "count": np.arange(1000, dtype="i4"), "flag": np.zeros(1000, "u1")}


# ---- what a store is ----------------------------------------------------------------------------------------------------------


def test_xarray_opens_a_store_with_units_and_nulls(tmp_path, columns):
    dataset = opened(write(tmp_path / "a.zarr", columns, units={"x": "mas/yr"}))
    assert dict(dataset.sizes) == {"row": 1000}
    assert dataset.attrs["columns"] == list(columns)
    for name, values in columns.items():
        assert dataset[name].dtype == values.dtype
        np.testing.assert_array_equal(dataset[name].values, values)
        assert dataset[name].attrs.get("units") == ("mas/yr" if name == "x" else None)
    assert {name: dataset[name].attrs["null_count"] for name in columns} == {"x": 143, "small": 143, "count": 0, "flag": 0}


def test_all_columns_have_one_chunking_and_every_chunk_is_there(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns, chunk_rows=256)
    for name in columns:
        array = zarr.open_array(str(path / name), mode="r")
        assert array.chunks == (256,)
        assert array.metadata.dimension_names == ("row",)
        assert sorted(file.name for file in (path / name / "c").iterdir()) == ["0", "1", "2", "3"]  # flag is all fill value


@pytest.mark.parametrize(("n_rows", "chunk"), [(0, 1), (1, 1), (272, 512), (512, 512), (513, 1024), (5000, 1024)])
def test_a_short_table_has_a_short_chunk(tmp_path, n_rows, chunk):
    path = write(tmp_path / "a.zarr", {"x": np.arange(float(n_rows))}, chunk_rows=1024)
    assert zarr.open_array(str(path / "x"), mode="r").chunks == (chunk,)
    np.testing.assert_array_equal(opened(path).x, np.arange(n_rows))


@given(cuts=st.lists(st.integers(0, 700), max_size=6), chunk_rows=st.sampled_from([64, 256, 1024]))
def test_the_pieces_do_not_matter(tmp_path_factory, cuts, chunk_rows):
    folder = tmp_path_factory.mktemp("pieces")
    columns = {"a": np.linspace(0, 1, 700), "b": np.arange(700, dtype="i8") % 13}
    whole = write(folder / "whole.zarr", columns, chunk_rows=chunk_rows)
    edges = [0, *sorted(cuts), 700]
    with ColumnStoreWriter(folder / "pieces.zarr", {"a": "f8", "b": "i8"}, chunk_rows=chunk_rows) as store:
        for first, last in itertools.pairwise(edges):
            store.append({name: values[first:last] for name, values in columns.items()})
    assert tree_hash(folder / "pieces.zarr") == tree_hash(whole)


def test_the_writer_keeps_no_reference_to_what_it_was_given(tmp_path):
    buffer = np.zeros(10)
    with ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8"}) as store:
        for value in (1.0, 2.0):
            buffer[:] = value
            store.append({"x": buffer})
    np.testing.assert_array_equal(opened(tmp_path / "a.zarr").x, np.repeat([1.0, 2.0], 10))


def test_big_endian_and_narrower_pieces_are_taken(tmp_path):
    with ColumnStoreWriter(tmp_path / "a.zarr", {"x": ">f8", "n": "i8"}) as store:
        store.append({"x": np.array([1, 2], ">f4"), "n": np.array([3, 4], ">i2")})
    dataset = opened(tmp_path / "a.zarr")
    assert dataset.x.values.tolist() == [1, 2]
    assert dataset.n.values.tolist() == [3, 4]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damage_to_a_chunk_is_found(tmp_path, rng, damage):
    path = write(tmp_path / "a.zarr", {"noise": rng.normal(size=4096), "ties": rng.integers(0, 3, 4096).astype("f4")})
    for name in ("noise", "ties"):
        chunk = path / name / "c" / "0"
        good = chunk.read_bytes()
        for _ in range(40):
            bad = bytearray(good)
            if damage == "flip":
                bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
            else:
                del bad[int(rng.integers(len(bad))) if damage == "truncate" else 0 :]
            chunk.write_bytes(bad)
            with pytest.raises((ValueError, RuntimeError)):
                zarr.open_array(str(path / name), mode="r")[:]


# ---- whole or not at all ------------------------------------------------------------------------------------------------------


def test_an_error_inside_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        write_and_fail(tmp_path / "a.zarr", chunk_rows=4)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_refused_with_the_way_out(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns)
    with pytest.raises(ConfigError, match="--overwrite"):
        ColumnStoreWriter(path, {"x": "f8"})
    assert list(tmp_path.iterdir()) == [path]


def test_overwriting_keeps_the_old_store_until_the_new_one_is_complete(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns)
    before = tree_hash(path)
    with pytest.raises(KeyError):
        write_and_fail(path, overwrite=True)
    assert tree_hash(path) == before
    write(path, {"y": np.zeros(3)}, overwrite=True)
    assert list(opened(path)) == ["y"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_no_column_store_is_never_overwritten(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("ten years")
    (tmp_path / "file").touch()
    zarr.create_array(str(tmp_path / "array.zarr"), shape=(3,), dtype="f8")
    for name in ("home", "file", "array.zarr"):
        with pytest.raises(ConfigError, match="not overwritten"):
            ColumnStoreWriter(tmp_path / name, {"x": "f8"}, overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "ten years"


def test_a_target_that_appears_meanwhile_is_not_touched(tmp_path):
    store = ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8"})
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    code = f"""
        import os, signal
        from streamgmm.column_store import ColumnStoreWriter
        store = ColumnStoreWriter({str(tmp_path / "a.zarr")!r}, {{"x": "f8"}}, chunk_rows=4)
        store.append({{"x": [1.0] * 100}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    write(tmp_path / "a.zarr", {"x": np.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_what_a_living_writer_has_is_left_alone(tmp_path):
    first = ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8"}, chunk_rows=4)
    first.append({"x": np.zeros(8)})
    write(tmp_path / "a.zarr", {"x": np.ones(3)})
    write(tmp_path / "a.zarr", {"x": np.ones(4)}, overwrite=True)
    first.append({"x": np.zeros(8)})
    with pytest.raises(ConfigError, match="exists already"):
        first.close()
    assert opened(tmp_path / "a.zarr").x.values.tolist() == [1, 1, 1, 1]


def test_a_store_moved_aside_stays_while_it_is_the_only_copy(tmp_path, monkeypatch):
    pending = PendingFolder(tmp_path / "a.zarr")
    old = pending.path.with_suffix(".old")
    pending.path.rename(old)
    monkeypatch.setattr("streamgmm.pending_folder._is_alive", lambda pid: False)
    PendingFolder(tmp_path / "a.zarr").discard()
    assert old.exists()
    write(tmp_path / "a.zarr", {"x": np.zeros(3)})
    PendingFolder(tmp_path / "a.zarr").discard()
    assert not old.exists()


# ---- storage that fails -------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_an_error_before_any_row(tmp_path):
    with pytest.raises(StorageError, match="ENOENT") as caught:
        ColumnStoreWriter(tmp_path / "no" / "a.zarr", {"x": "f8"})
    assert str(tmp_path / "no") in str(caught.value)
    assert caught.value.code == 8


def test_an_unwritable_folder_is_an_error_before_any_row(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    if os.getuid() == 0:  # root may write anywhere: only the answer can be made
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match=r"EACCES.*user id"):
        ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8"})
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_names_path_and_errno_and_leaves_nothing(tmp_path, rng):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the kernel refuses larger files: a true failed write
    try:
        with pytest.raises(StorageError, match="EFBIG") as caught, ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8"}) as store:
            store.append({"x": rng.normal(size=10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / "a.zarr") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_refused():
    with pytest.raises(ConfigError, match="local folder"):
        ColumnStoreWriter("s3://bucket/a.zarr", {"x": "f8"})


# ---- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "__index_level_0__", "zarr.json", "row", "a\n", "a" * 201])
def test_names_that_cannot_be_stored_are_refused(tmp_path, name):
    with pytest.raises(SchemaError, match="cannot be stored"):
        ColumnStoreWriter(tmp_path / "a.zarr", {"good": "f8", name: "f8"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["c", "Assay1 Amplitude", "δ_star", "a.b", "🌟", "-x", "a" * 200])
def test_odd_names_that_can_be_stored_are_stored(tmp_path, name):
    assert list(opened(write(tmp_path / "a.zarr", {name: np.zeros(3)}))) == [name]


@pytest.mark.parametrize("pair", [("Ra", "rA"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_only_case_or_form_tells_apart_are_refused(tmp_path, pair):
    with pytest.raises(SchemaError, match="differ only"):
        ColumnStoreWriter(tmp_path / "a.zarr", dict.fromkeys(pair, "f8"))


@pytest.mark.parametrize("dtype", ["bool", "c16", "U5", "O", "M8[s]", np.longdouble])
def test_dtypes_that_are_not_stored_are_refused(tmp_path, dtype):
    with pytest.raises(SchemaError, match="'x'"):
        ColumnStoreWriter(tmp_path / "a.zarr", {"x": dtype})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chunk_rows", [0, -1, 3, 1000, 2**27, 1.0, True])
def test_chunks_are_powers_of_two(tmp_path, chunk_rows):
    with pytest.raises(ConfigError, match="power of two"):
        ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8"}, chunk_rows=chunk_rows)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ({"x": np.zeros(3)}, "missing"),
        ({"x": np.zeros(3), "n": np.zeros(3, "i4"), "z": np.zeros(3)}, "'z'"),
        ({"x": np.zeros(3), "n": np.zeros(4, "i4")}, "one length"),
        ({"x": np.zeros((3, 1)), "n": np.zeros((3, 1), "i4")}, "1-D"),
        ({"x": np.zeros(3), "n": np.zeros(3, "i8")}, "'n' is stored as int32"),
        ({"x": np.array(["1"] * 3), "n": np.zeros(3, "i4")}, "'x' is stored as float64"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_none_is_taken(tmp_path, rows, text):
    with ColumnStoreWriter(tmp_path / "a.zarr", {"x": "f8", "n": "i4"}) as store:
        with pytest.raises(SchemaError, match=text):
            store.append(rows)
        assert store.n_rows == 0


# ---- one more column ----------------------------------------------------------------------------------------------------------


def test_a_column_is_added_with_the_chunks_of_the_store(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns, chunk_rows=256)
    labels = np.arange(1000, dtype="i4") % 5
    write_column(path, "labels", (labels[first : first + 300] for first in range(0, 1000, 300)), "i4", attributes={"model": "m.zarr"})
    dataset = opened(path)
    np.testing.assert_array_equal(dataset.labels, labels)
    assert dataset.labels.attrs == {"model": "m.zarr", "null_count": 0}
    assert dataset.attrs["columns"] == list(columns), "labels are not a feature"
    assert zarr.open_array(str(path / "labels"), mode="r").chunks == (256,)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("n_values", [0, 999, 1001])
def test_a_column_of_another_length_is_refused_and_leaves_nothing(tmp_path, columns, n_values):
    path = write(tmp_path / "a.zarr", columns)
    before = tree_hash(path)
    with pytest.raises(DataError, match=f"{n_values} values for the 1000 rows"):
        write_column(path, "labels", [np.zeros(n_values, "i4")], "i4")
    assert tree_hash(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_column_is_never_seen_in_the_store(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns, chunk_rows=256)

    def values():
        yield np.zeros(600, "i4")
        assert "labels" not in opened(path)
        assert set(opened(path)) == set(columns)
        raise KeyError

    with pytest.raises(KeyError):
        write_column(path, "labels", values(), "i4")
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_column_is_replaced_only_when_asked(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns)
    with pytest.raises(ConfigError, match=r"'x' already.*--overwrite"):
        write_column(path, "x", [np.zeros(1000)], "f8")
    write_column(path, "x", [np.ones(1000)], "f8", units="km/s", overwrite=True)
    assert opened(path).x.attrs["units"] == "km/s"
    assert opened(path).x.values.sum() == 1000
    assert list(tmp_path.iterdir()) == [path]


def test_a_column_is_added_to_stores_of_other_programs(tmp_path):
    path = tmp_path / "foreign.zarr"
    xr.Dataset({"x": ("row", np.arange(100.0))}).to_zarr(path, encoding={"x": {"chunks": (16,), "shards": (32,)}}, consolidated=False)
    write_column(path, "labels", [np.arange(100, dtype="i4")], "i4")
    assert opened(path).labels.values.tolist() == list(range(100))


def test_a_column_needs_a_store(tmp_path):
    with pytest.raises(DataError, match="not a column store"):
        write_column(tmp_path / "none.zarr", "x", [], "f8")
    zarr.create_array(str(tmp_path / "array.zarr"), shape=(3,), dtype="f8")
    with pytest.raises(DataError, match="not a column store"):
        write_column(tmp_path / "array.zarr", "x", [], "f8")
    uneven = zarr.create_group(str(tmp_path / "uneven.zarr"))
    uneven.create_array("a", shape=(3,), dtype="f8")
    uneven.create_array("b", shape=(4,), dtype="f8")
    with pytest.raises(SchemaError, match="one length"):
        write_column(tmp_path / "uneven.zarr", "x", [], "f8")


def test_the_attributes_say_who_wrote_it_and_no_date(tmp_path, columns):
    path = write(tmp_path / "a.zarr", columns)
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    assert attributes.pop("created_by").startswith("streamgmm")
    assert attributes == {"column_store_version": 1, "all_chunks_written": True, "columns": list(columns)}
