"""Parquet: rows numbered across files, row groups read once, nulls as NaN, damage said with the file's name."""

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamgmm.errors import DataError, SchemaError, SecurityError, StorageError
from streamgmm.sources import open_source, parquet
from streamgmm.sources.base import EndOfSource

X = np.random.default_rng(5).normal(size=(1000, 2))


@pytest.fixture
def folder(tmp_path):
    """Three files of 400, 0 and 600 rows in row groups of 70."""
    for name, (a, b) in {"a": (0, 400), "b": (400, 400), "c": (400, 1000)}.items():
        table = pa.table({"x": X[a:b, 0], "y": X[a:b, 1], "n": np.arange(a, b), "name": ["s"] * (b - a)})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=70)
    return tmp_path


@pytest.mark.parametrize("block_rows", [7, 70, 333, 5000])
def test_a_pass_reads_every_row_group_once(folder, block_rows, monkeypatch):
    read = Counter()

    def counted(path, numbers, names):
        read.update((path, number) for number in numbers)
        return original(path, numbers, names)

    original = parquet._read_groups
    monkeypatch.setattr(parquet, "_read_groups", counted)
    source = open_source(folder, features=["x", "y"], block_rows=block_rows)
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(source.read, range(source.n_blocks)))
    assert np.concatenate([block.x for block in blocks]).tobytes() == X.tobytes()
    assert set(read.values()) == {1}
    assert len(read) == 6 + 9


def test_every_numeric_column_is_taken_but_the_weight(folder):
    assert open_source(folder).feature_names == ("x", "y", "n")
    source = open_source(folder, weight="n")
    assert source.feature_names == ("x", "y")
    assert source.read(0).sample_weight.tolist() == list(range(1000))


def test_one_file_and_a_pattern(folder):
    assert open_source(folder / "c.parquet", features=["n"]).read(0).x[0, 0] == 400
    assert open_source(folder / "[bc].parquet", features=["n"]).n_rows == 600


def test_only_the_row_groups_that_are_needed_travel(folder):
    source = open_source(folder, features=["x"], block_rows=50)
    piece = pickle.loads(pickle.dumps(source.portable(9, 11)))  # rows 450 to 549: row groups of file c
    assert [group.number for group in piece.row_groups] == [0, 1, 2]
    assert piece.n_rows == 1000
    assert piece.read(9).x.tobytes() == X[450:500, :1].tobytes()
    assert piece.portable(10, 11).read(10).x.tobytes() == X[500:550, :1].tobytes()
    for index in (0, 19, 20):
        with pytest.raises(EndOfSource):
            piece.read(index)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1.5, None, 3.0]), [1.5, np.nan, 3.0]),
        (pa.array([1, None, 3], pa.int64()), [1.0, np.nan, 3.0]),
        (pa.array([1, None, 3], pa.uint8()), [1.0, np.nan, 3.0]),
        (pa.array([None, None, None], pa.float32()), [np.nan] * 3),
        (pa.array(["1.5", None, "-2.25"]).cast(pa.decimal128(9, 2)), [1.5, np.nan, -2.25]),
    ],
    ids=range(5),
)
def test_nulls_are_nan_and_numbers_are_themselves(tmp_path, column, values):
    pq.write_table(pa.table({"a": column}), tmp_path / "a.parquet")
    assert np.array_equal(open_source(tmp_path / "a.parquet").load(0)[:, 0], values, equal_nan=True)


def test_bool_and_float16_are_taken_with_a_warning(tmp_path):
    pq.write_table(pa.table({"b": [True, None], "h": pa.array([1.0, None], pa.float16())}), tmp_path / "a.parquet")
    with pytest.warns(UserWarning, match=r"has dtype (bool|float16)"):
        source = open_source(tmp_path / "a.parquet")
    assert source.load(0)[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("values", [[2**60, 1], [2**60, None], [2**60 + 1, None]])
def test_integers_that_float64_would_round_are_refused(tmp_path, values):
    pq.write_table(pa.table({"source_id": pa.array(values, pa.int64())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"source_id.*(2..53|not exact)"):
        open_source(tmp_path / "a.parquet").read(0)


def test_units_are_in_the_metadata_of_a_field(tmp_path):
    schema = pa.schema([pa.field("a", pa.float64(), metadata={"unit": "mas/yr"}), pa.field("b", pa.float64(), metadata={"units": "mag"})])
    pq.write_table(pa.table({"a": [1.0], "b": [2.0]}, schema=schema), tmp_path / "a.parquet")
    assert open_source(tmp_path / "a.parquet").units == ("mas/yr", "mag")


def test_columns_that_are_not_there_or_no_numbers_are_said(folder):
    with pytest.raises(SchemaError, match=r"no column 'xx'; its columns are x, y, n, name; did you mean 'x'"):
        open_source(folder, features=["xx"])
    with pytest.raises(SchemaError, match=r"column 'name' has type (large_)?string"):
        open_source(folder, features=["name"])
    with pytest.raises(SchemaError, match="'x' is named twice"):
        open_source(folder, features=["x", "x"])
    with pytest.raises(SchemaError, match="no column 'w'"):
        open_source(folder, weight="w")
    with pytest.raises(SecurityError, match="could lead out"):
        open_source(folder, features=["../x"])


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    pq.write_table(pa.table({"B": [1.0], "b": [2.0]}), tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match="differ only in case"):
        open_source(tmp_path / "a.parquet")


def test_a_file_without_the_column_is_named(folder):
    pq.write_table(pa.table({"x": [1.0]}), folder / "d.parquet")
    with pytest.raises(SchemaError, match=r"d\.parquet has no column 'y', which the first file has"):
        open_source(folder, features=["x", "y"])


def test_dtypes_may_differ_from_file_to_file(folder):
    pq.write_table(pa.table({"x": np.array([7], "i2")}), folder / "d.parquet")
    source = open_source(folder, features=["x"])
    assert source.dtype == np.float64
    assert source.read(0).x[-1, 0] == 7


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1 not a file at all PAR1", b""])
def test_a_damaged_file_is_said(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(SchemaError, match=r"a\.parquet is not a whole Parquet file"):
        open_source(tmp_path / "a.parquet")


def test_a_file_cut_short_is_said(folder):
    raw = (folder / "c.parquet").read_bytes()
    (folder / "c.parquet").write_bytes(raw[:-100])
    with pytest.raises(SchemaError, match=r"c\.parquet is not a whole Parquet file"):
        open_source(folder)


def test_a_file_that_is_gone_or_changed_is_said(folder):
    source = open_source(folder, features=["x"])
    (folder / "a.parquet").unlink()
    with pytest.raises(StorageError, match=r"a\.parquet cannot be read"):
        source.read(0)
    pq.write_table(pa.table({"x": X[:300, 0]}), folder / "a.parquet")
    with pytest.raises(DataError, match=r"lengths are wrong|changed meanwhile|not a whole"):
        source.read(0)


def test_a_table_without_rows_or_numbers_is_refused(tmp_path):
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=r"0 sample\(s\)"):
        open_source(tmp_path)
    pq.write_table(pa.table({"s": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match="no numeric column to read; its columns are s"):
        open_source(tmp_path)


def test_a_real_catalogue(shared_data):
    path = shared_data / "hipparcos-parquet" / "stars.hipparcos.parquet"
    source = open_source(path, features=["magnitude", "bv"], missing="skip", block_rows=10_000)
    table = pq.read_table(path, columns=["magnitude", "bv"]).to_pandas().to_numpy("f8")
    blocks = list(source.blocks())
    assert np.concatenate([block.x for block in blocks]).tobytes() == table[~np.isnan(table).any(axis=1)].tobytes()
    assert sum(block.n_rows + block.skipped for block in blocks) == source.n_rows == len(table)
