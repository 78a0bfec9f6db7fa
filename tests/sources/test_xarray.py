"""xarray objects: in memory, opened without loading, backed by Dask."""

import pickle

import numpy as np
import pytest
import xarray as xr

from streamgmm.errors import DataError, SchemaError
from streamgmm.sources import as_source
from streamgmm.sources.dask_array import DaskArraySource
from streamgmm.sources.numpy_array import NumpyArraySource
from streamgmm.sources.xarray_dataset import XarrayDatasetSource

X = np.random.default_rng(6).normal(size=(100, 2))
DATASET = xr.Dataset({"pmra": ("row", X[:, 0], {"units": "mas/yr"}), "bt": ("row", X[:, 1].astype("f4"))})
ROWS = np.column_stack([X[:, 0], X[:, 1].astype("f4").astype("f8")])


def read_all(source):
    return np.concatenate([block.x for block in source.blocks()])


@pytest.fixture
def stored(tmp_path):
    """The dataset in a store, chunks of 30 and 40 rows."""
    DATASET.to_zarr(tmp_path / "x.zarr", consolidated=False, encoding={"pmra": {"chunks": (30,)}, "bt": {"chunks": (40,)}})
    return tmp_path / "x.zarr"


def test_a_dataset_in_memory_sends_only_the_rows():
    source = as_source(DATASET, block_rows=10)
    assert isinstance(source, XarrayDatasetSource)
    assert source.feature_names == ("pmra", "bt")
    assert source.units == ("mas/yr", "")
    assert read_all(source).tobytes() == ROWS.tobytes()
    piece = pickle.loads(pickle.dumps(source.portable(2, 3)))
    assert isinstance(piece, NumpyArraySource)
    assert piece.array.shape == (10, 2)


def test_a_dataset_that_is_not_loaded_is_read_in_its_chunks(stored):
    dataset = xr.open_zarr(stored, consolidated=False, chunks=None)[["pmra", "bt"]]
    source = as_source(dataset, block_rows=10)
    assert isinstance(source, XarrayDatasetSource)
    assert source.rows_per_read == 40
    assert read_all(source).tobytes() == ROWS.tobytes()
    assert not dataset["pmra"].variable._in_memory
    piece = pickle.loads(pickle.dumps(source.portable(2, 4)))
    assert isinstance(piece, XarrayDatasetSource)
    assert piece.read(3).x.tobytes() == ROWS[30:40].tobytes()


def test_a_dataset_of_dask_arrays_becomes_one(stored):
    source = as_source(xr.open_zarr(stored, consolidated=False)[["pmra", "bt"]], block_rows=10)
    assert isinstance(source, DaskArraySource)
    assert source.feature_names == ("pmra", "bt")
    assert source.units == ("mas/yr", "")
    assert read_all(source).tobytes() == ROWS.tobytes()


def test_a_dataset_partly_of_dask_arrays(stored):
    dataset = xr.open_zarr(stored, consolidated=False)[["pmra", "bt"]]
    dataset["bt"] = dataset["bt"].compute()
    assert read_all(as_source(dataset)).tobytes() == ROWS.tobytes()


def test_a_store_that_is_not_loaded_with_two_axes(tmp_path):
    xr.Dataset({"x": (("row", "feature"), X)}, coords={"feature": np.array(["a", "b"], object)}).to_netcdf(
        tmp_path / "x.nc", engine="scipy"
    )
    with xr.open_dataset(tmp_path / "x.nc", engine="scipy", cache=False) as dataset:
        source = as_source(dataset["x"], block_rows=30)
        assert isinstance(source, XarrayDatasetSource)
        assert source.feature_names == ("a", "b")
        assert read_all(source).tobytes() == X.tobytes()


def test_names_and_units_of_a_table_with_two_axes():
    coords = {"feature": ["a", "b"], "units": ("feature", ["mas", "pc"])}
    source = as_source(xr.DataArray(X, dims=("row", "feature"), coords=coords))
    assert source.feature_names == ("a", "b")
    assert source.units == ("mas", "pc")
    source = as_source(xr.DataArray(X, dims=("row", "feature"), coords={"feature": [10, 20]}, attrs={"units": "mag"}).chunk(row=7))
    assert source.feature_names == ("f0", "f1")
    assert source.units == ("mag", "mag")
    assert np.shares_memory(as_source(xr.DataArray(X)).read(0).x, X)


def test_packed_values_are_decoded_by_xarray(tmp_path):
    DATASET.to_zarr(
        tmp_path / "p.zarr",
        consolidated=False,
        encoding={name: {"dtype": "i4", "scale_factor": 0.001, "add_offset": 5.0, "_FillValue": -9999} for name in DATASET},
    )
    source = as_source(xr.open_zarr(tmp_path / "p.zarr", consolidated=False)[["pmra", "bt"]])
    assert np.allclose(read_all(source), ROWS, atol=0.001)


def test_large_integers_are_refused_whatever_the_backing():
    dataset = xr.Dataset({"a": ("row", [1.0, 2.0]), "id": ("row", [1, 2**60])})
    for table in (dataset, dataset.chunk(row=1)):
        with pytest.raises(DataError, match=r"column 'id' holds integers beyond 2\*\*53"):
            as_source(table).read(0)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"a": ("row", [1.0]), "image": (("y", "x"), np.ones((2, 2)))}, r"variable 'image' has axes \('y', 'x'\)"),
        ({"a": ("lat", [1.0]), "b": ("lon", [1.0])}, r"different dimensions \['lat', 'lon'\]"),
        ({"a": ("row", ["x"])}, "column 'a'.*could not convert"),
        ({"a": ("row", [])}, r"0 sample\(s\)"),
        ({}, r"0 sample\(s\)|0 feature\(s\)"),
    ],
    ids=range(5),
)
def test_datasets_that_are_no_table_are_refused(variables, said):
    with pytest.raises(SchemaError, match=said):
        as_source(xr.Dataset(variables))
