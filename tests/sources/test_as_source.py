"""What a table may be, by what it can do, and what is refused before any row is read."""

import subprocess
import sys

import dask.array
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import xarray as xr
import zarr

from streamgmm.errors import ConfigError, DataError, MissingDependencyError, SchemaError
from streamgmm.sources import as_source, open_source
from streamgmm.sources.dask_array import DaskArraySource
from streamgmm.sources.dask_partitions import DaskPartitionsSource
from streamgmm.sources.iterator import IteratorSource
from streamgmm.sources.numpy_array import NumpyArraySource
from streamgmm.sources.xarray_dataset import XarrayDatasetSource
from streamgmm.sources.zarr_array import ZarrArraySource
from streamgmm.sources.zarr_columns import ZarrColumnsSource

X = np.arange(20.0).reshape(10, 2)
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})


def unknown(array):
    """A dask array of unknown chunk lengths with the same rows."""
    return array[array[:, 0] > -1]


def a_zarr_array():
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=X.shape, dtype="f8")
    array[:] = X
    return array


def a_zarr_group():
    group = zarr.create_group(zarr.storage.MemoryStore())
    for name in ("a", "b"):
        group.create_array(name, shape=(10,), dtype="f8")[:] = FRAME[name].to_numpy()
    return group


TABLES = {
    "array": (X, NumpyArraySource),
    "list": (X.tolist(), NumpyArraySource),
    "tuple of lists": (tuple(X.tolist()), NumpyArraySource),
    "frame": (FRAME, NumpyArraySource),
    "arrow": (pa.table({"a": X[:, 0], "b": X[:, 1]}), NumpyArraySource),
    "objects": (X.astype(object), NumpyArraySource),
    "masked, nothing masked": (np.ma.masked_less(X, -1), NumpyArraySource),
    "dask": (dask.array.from_array(X, chunks=(3, 2)), DaskArraySource),
    "dask, unknown": (unknown(dask.array.from_array(X, chunks=(3, 2))), DaskPartitionsSource),
    "zarr": (a_zarr_array(), ZarrArraySource),
    "zarr group": (a_zarr_group(), ZarrColumnsSource),
    "xarray": (xr.DataArray(X, dims=("row", "feature")), NumpyArraySource),
    "xarray dask": (xr.DataArray(X, dims=("row", "feature")).chunk(row=4), DaskArraySource),
    "xarray dataset": (xr.Dataset({"a": ("row", X[:, 0]), "b": ("row", X[:, 1])}), XarrayDatasetSource),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_taken_by_what_it_can_do(name):
    table, kind = TABLES[name]
    source = as_source(table)
    assert type(source) is kind
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()


def test_an_iterator_of_arrays_is_taken():
    source = as_source(X[i : i + 3] for i in range(0, 10, 3))
    assert isinstance(source, IteratorSource)
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()


def test_a_path_is_opened(tmp_path):
    FRAME.to_parquet(tmp_path / "a.parquet")
    assert as_source(tmp_path / "a.parquet").n_rows == 10
    assert as_source(str(tmp_path / "a.parquet")).feature_names == ("a", "b")


def test_an_array_is_not_copied():
    assert np.shares_memory(as_source(X).read(0).x, X)


def test_a_memory_map_stays_on_disk(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = as_source(mapped, block_rows=4)
    assert np.shares_memory(source.load(1), mapped)
    assert source.read(1).x.tobytes() == X[4:8].tobytes()


def test_names_of_frames_are_kept_and_others_are_plain():
    assert as_source(FRAME).feature_names == ("a", "b")
    assert as_source(pa.table({"a": X[:, 0], "b": X[:, 1]})).feature_names == ("a", "b")
    assert as_source(pd.DataFrame(X)).feature_names == ("f0", "f1")
    assert as_source(X).feature_names == ("f0", "f1")
    assert as_source(X, feature_names=["u", "v"]).feature_names == ("u", "v")


@pytest.mark.parametrize(("names", "said"), [(["a"], "1 feature names for 2 columns"), (["a", "a"], "'a' is named twice")])
def test_names_must_fit(names, said):
    with pytest.raises(SchemaError, match=said):
        as_source(X, feature_names=names)


def test_a_source_passes_and_keeps_what_is_not_asked_for():
    source = as_source(X, block_rows=4, missing="skip")
    assert as_source(source) is source
    other = as_source(source, block_rows=5)
    assert (other.block_rows, other.missing) == (5, "skip")
    other = as_source(source, missing="raise")
    assert (other.block_rows, other.missing) == (4, "raise")


def test_another_block_size_holds_for_the_weights_too():
    source = as_source(as_source(X, sample_weight=np.arange(10.0), block_rows=4), block_rows=3)
    assert source.read(1).sample_weight.tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("block_rows", [0, -1, 2**24 + 1, 2.0, "4", True])
def test_a_block_size_must_be_a_count(block_rows):
    with pytest.raises(ConfigError, match="block_rows must be an int from 1 to 16777216"):
        as_source(X, block_rows=block_rows)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match=r"missing must be one of .*did you mean 'skip'"):
        as_source(X, missing="skipp")


class Described:
    """A table that only says its shape and dtype, as dask and zarr arrays do."""

    def __init__(self, shape, dtype="f8"):
        self.array = np.zeros(shape, dtype)

    def numpy(self):
        return self.array

    def dask(self):
        return dask.array.from_array(self.array, chunks=self.array.shape)

    def zarr(self):
        chunks = [max(n, 1) for n in self.array.shape]
        return zarr.create_array(zarr.storage.MemoryStore(), shape=self.array.shape, chunks=chunks, dtype=self.array.dtype)

    def xarray(self):
        return xr.DataArray(self.array)


FORMS = ["numpy", "dask", "zarr", "xarray"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((5,), r"Expected 2D array, got 1D array instead.*Reshape your data"),
        ((2, 3, 4), r"Found array with dim 3, shape \(2, 3, 4\); expected 2: axis 0 counts the rows"),
        ((0, 3), r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required\."),
        ((3, 0), r"Found array with 0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required\."),
        ((), r"Expected 2D array, got scalar array instead"),
    ],
)
def test_other_shapes_are_refused_in_known_words(form, shape, said):
    with pytest.raises(SchemaError, match=said):
        as_source(getattr(Described(shape), form)())


@pytest.mark.parametrize("form", FORMS)
def test_complex_tables_are_refused(form):
    with pytest.raises(SchemaError, match="Complex data not supported"):
        as_source(getattr(Described((5, 2), "c16"), form)())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["bool", "f2"])
def test_bool_and_float16_are_taken_with_a_warning(form, dtype):
    with pytest.warns(UserWarning, match=r"has dtype (bool|float16); it is converted to float64"):
        source = as_source(getattr(Described((5, 2), dtype), form)())
    assert source.read(0).x.tolist() == [[0.0, 0.0]] * 5


@pytest.mark.parametrize("form", ["numpy", "dask", "xarray"])
@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="longdouble is float64 on this platform")
def test_longdouble_is_refused(form):
    with pytest.raises(SchemaError, match="wider than float64"):
        as_source(getattr(Described((5, 2), np.longdouble), form)())


@pytest.mark.parametrize("form", ["numpy", "dask", "xarray"])
@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", "m8[s]"])
def test_text_and_dates_are_refused(form, dtype):
    with pytest.raises(SchemaError, match="could not convert"):
        as_source(getattr(Described((5, 2), dtype), form)())


@pytest.mark.parametrize("table", [[["a", "b"]], [["1", "2"]], np.array([["a", 1]], object), np.array([["a", "b"]])])
def test_text_is_refused_in_known_words(table):
    with pytest.raises(ValueError, match="could not convert"):
        as_source(table)


def test_objects_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match=r"argument must be a string or a real number"):
        as_source(np.array([[{"foo": 1}, 2]], object))


def test_numbers_in_objects_are_converted_and_none_is_missing():
    source = as_source(np.array([[1, 2.5], [None, 2**53]], object), missing="skip")
    block = source.read(0)
    assert block.x.tolist() == [[1.0, 2.5]]
    assert block.skipped == 1
    with pytest.raises(DataError, match=r"beyond 2\*\*53"):
        as_source(np.array([[2**53 + 1]], object))


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(SchemaError, match="could not convert X to an array"):
        as_source([[1, 2], [3]])


def test_large_integers_are_refused_when_their_block_is_read():
    with pytest.raises(DataError, match=r"column 'f1' holds integers beyond 2\*\*53"):
        as_source(np.array([[1, 2**60]])).read(0)


def test_a_structured_array_is_refused_with_its_fields():
    with pytest.raises(SchemaError, match="structured dtype with fields ra, dec: select columns"):
        as_source(np.zeros((5, 2), [("ra", "f8"), ("dec", "f8")]))


def test_masked_cells_are_refused_with_their_number():
    masked = np.ma.masked_greater(X, 16)
    with pytest.raises(DataError, match=r"3 masked cells. Pass X.filled\(numpy.nan\)"):
        as_source(masked)
    with pytest.raises(DataError, match="masked cells"):
        as_source(dask.array.from_array(masked, chunks=(5, 2))).read(0)


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.coo_matrix, scipy.sparse.csc_matrix])
def test_sparse_tables_are_refused(make):
    with pytest.raises(TypeError, match="sparse data is not supported"):
        as_source(make(X))


def test_sparse_chunks_are_refused():
    sparse = dask.array.from_array(X, chunks=(5, 2)).map_blocks(scipy.sparse.csr_matrix)
    with pytest.raises(TypeError, match="sparse data is not supported"):
        as_source(sparse)


def test_frames_of_many_dtypes_are_numbers():
    frame = pd.DataFrame(
        {
            "plain": [1.0, 2.0, 3.0],
            "integer": np.array([1, 2, 3], "i4"),
            "nullable": pd.array([1, None, 3], "Int64"),
            "arrow": pd.array([1.5, None, 2.0], "double[pyarrow]"),
            "arrow integer": pd.array([1, 2, 3], "int64[pyarrow]"),
        }
    )
    block = as_source(frame, missing="skip").read(0)
    assert block.x.tolist() == [[1.0, 1.0, 1.0, 1.5, 1.0], [3.0, 3.0, 3.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["x", "y"], "column 's' has dtype object"),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), "column 's'.*could not convert"),
        (pd.Categorical(["x", "y"]), "column 's' has dtype object"),
        ([1j, 2j], "Complex data not supported: column 's'"),
        ([2**60, 1], r"column 's' holds integers beyond 2\*\*53"),
        (pd.array([2**60, None], "Int64"), r"column 's' holds integers beyond 2\*\*53"),
    ],
    ids=range(6),
)
def test_a_column_of_a_frame_is_refused_by_name(column, said):
    with pytest.raises(DataError, match=said):
        as_source(pd.DataFrame({"a": [1.0, 2.0], "s": column}))


WEIGHTS = np.arange(10.0)


@pytest.mark.parametrize(
    "weight",
    [
        WEIGHTS,
        WEIGHTS.tolist(),
        WEIGHTS.astype("f4"),
        WEIGHTS.astype("i8"),
        pd.Series(WEIGHTS),
        dask.array.from_array(WEIGHTS, chunks=3),
        xr.DataArray(WEIGHTS, dims="row"),
        xr.DataArray(WEIGHTS, dims="row", name="w").chunk(row=3),
        as_source(WEIGHTS[:, None]),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("name", ["array", "dask", "zarr", "xarray dataset"])
def test_weights_of_any_kind_go_with_rows_of_any_kind(name, weight):
    source = as_source(TABLES[name][0], sample_weight=weight, block_rows=4)
    assert [w for block in source.blocks() for w in block.sample_weight] == WEIGHTS.tolist()


def test_weights_of_partitions_are_partitions():
    rows = dask.array.from_array(X, chunks=(3, 2))
    source = as_source(unknown(rows), sample_weight=unknown(rows)[:, 0] / 2)
    assert [w for block in source.blocks() for w in block.sample_weight] == WEIGHTS.tolist()


def test_weights_as_an_array_do_not_go_with_partitions():
    rows = unknown(dask.array.from_array(X, chunks=(3, 2)))
    for weight in (WEIGHTS, dask.array.from_array(WEIGHTS, chunks=3)):
        with pytest.raises(DataError, match=r"call compute_chunk_sizes\(\) first"):
            as_source(rows, sample_weight=weight)
    assert as_source(rows.compute_chunk_sizes(), sample_weight=WEIGHTS).n_rows == 10


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.ones(9), "sample_weight has 9 rows for 10 rows; one weight per row"),
        (np.ones((10, 2)), r"Sample weights must be 1D array or scalar: sample_weight has shape \(10, 2\)"),
        (2.0, "Sample weights must be 1D array or scalar"),
        (np.ones(10, complex), "Complex data not supported"),
        (["a"] * 10, "could not convert"),
        (iter([np.ones(10)]), "sample_weight has an iterator for 10 rows"),
        (as_source(X), "one value per row, got 2 columns"),
    ],
    ids=range(7),
)
def test_weights_that_do_not_fit_are_refused(weight, said):
    with pytest.raises(DataError, match=said):
        as_source(X, sample_weight=weight)


def test_a_bad_weight_is_said_with_its_row():
    weight = np.ones(10)
    weight[7] = -1
    with pytest.raises(DataError, match="the weight of row 7 is negative"):
        as_source(X, sample_weight=weight, block_rows=4).read(1)


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    FRAME.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "streamgmm.sources.parquet", raising=False)
    with pytest.raises(MissingDependencyError, match="needs pyarrow, which is not installed"):
        open_source(tmp_path / "a.parquet")


def test_a_bucket_needs_obstore(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingDependencyError, match=r"s3://bucket/a\.zarr needs the library obstore: pip install 'streamgmm\[cloud\]'"):
        open_source("s3://bucket/a.zarr")


def test_parquet_in_a_bucket_is_not_read():
    with pytest.raises(DataError, match="Parquet is read from local paths"):
        open_source("s3://bucket/a.parquet")


def test_importing_sources_imports_no_library_of_tables():
    code = (
        "import sys, numpy, streamgmm.sources as s; s.as_source(numpy.ones((3, 2))).read(0);"
        "found = {'dask', 'zarr', 'pandas', 'pyarrow', 'xarray', 'distributed', 'numba'} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
