"""Lazy answers: the eager ones, in the chunks of the table, and nothing is read before they are asked for."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from dask.delayed import Delayed
from distributed import Client

import streamgmm as sg
from streamgmm import GaussianMixture, lazy
from streamgmm.errors import DataError, NonFiniteDataError, SchemaError
from streamgmm.prediction import Question
from tests.executors.conftest import local_cluster
from tests.making import clustered_rows

METHODS = {"predict": np.int64, "predict_proba": np.float64, "score_samples": np.float64}
N, K = 1_000, 3


@pytest.fixture(scope="module")
def rows():
    return clustered_rows(N, K, 2, np.random.default_rng(11))


@pytest.fixture(scope="module")
def fitted(rows):
    return GaussianMixture(K, random_state=0, block_rows=170).fit(rows)


@pytest.fixture(scope="module")
def eager(rows, fitted):
    return {method: getattr(fitted, method)(rows) for method in METHODS}


def refuse_to_compute(*_, **__):
    raise AssertionError("something was computed")


def ask(fitted, method, table):
    """The lazy answer; nothing may be computed for it."""
    with dask.config.set(scheduler=refuse_to_compute):
        return getattr(fitted, method)(table)


def check(fitted, eager, table, lengths):
    """All answers are dask arrays of these chunk lengths that hold the eager answers' bits."""
    for method, dtype in METHODS.items():
        answer = ask(fitted, method, table)
        assert isinstance(answer, da.Array)
        assert (answer.dtype, answer._meta.dtype, answer._meta.ndim) == (dtype, dtype, eager[method].ndim)
        assert np.array_equal(answer.chunks[0], lengths, equal_nan=True), method
        assert answer.chunks[1:] == ((K,),) * (eager[method].ndim - 1)
        values = answer.compute(scheduler="synchronous")
        assert values.dtype == dtype
        assert np.array_equal(values, eager[method]), method


def stored(path, rows, chunk_rows, shard_rows=None):
    array = zarr.create_array(
        path, shape=rows.shape, chunks=(chunk_rows, 2), shards=None if shard_rows is None else (shard_rows, 2), dtype="f8"
    )
    array[...] = rows
    return array


def unknown_lengths(rows, chunk_rows):
    array = da.from_array(rows, chunks=(chunk_rows, 2))
    return array[da.ones(len(rows), chunks=chunk_rows, dtype=bool)]


# ---- every kind of table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(1000,), (300, 300, 300, 100), (1, 999), (0, 400, 0, 600, 0)])
def test_a_dask_array_keeps_its_chunks_the_empty_ones_too(lengths, rows, fitted, eager):
    pieces = [rows[start : start + n] for start, n in zip(np.cumsum([0, *lengths]), lengths, strict=False)]
    parts = [da.from_delayed(dask.delayed(piece), piece.shape, piece.dtype) for piece in pieces]
    graph = da.concatenate([part for part in parts if len(part)])
    array = graph if len(pieces) == len(graph.chunks[0]) else _with_empty_chunks(parts)
    check(fitted, eager, array, lengths)


def _with_empty_chunks(parts):
    """da.concatenate leaves empty pieces out; filtering and slicing do not."""
    layers = {("cut", i, 0): part.__dask_keys__()[0][0] for i, part in enumerate(parts)}
    graph = dask.highlevelgraph.HighLevelGraph.from_collections("cut", layers, dependencies=parts)
    return da.Array(graph, "cut", (tuple(len(part) for part in parts), (2,)), dtype=np.float64)


@pytest.mark.parametrize("dtype", [">f8", "f4", "i8"])
def test_chunks_of_other_dtypes_are_converted(dtype, rows, fitted):
    narrow = (rows * 10).astype(dtype)
    values = ask(fitted, "score_samples", da.from_array(narrow, chunks=(300, 2))).compute()
    assert np.array_equal(values, fitted.score_samples(narrow))


def test_chunks_along_the_columns_are_merged_with_a_warning(rows, fitted, eager):
    with pytest.warns(UserWarning, match="chunked along its columns"):
        answer = fitted.predict(da.from_array(rows, chunks=(300, 1)))
    assert np.array_equal(answer.compute(), eager["predict"])


def test_unknown_chunk_lengths_stay_unknown(rows, fitted, eager):
    check(fitted, eager, unknown_lengths(rows, 300), [np.nan] * 4)


def test_partitions_of_a_frame_some_of_them_empty(rows, fitted, eager):
    frame = pd.DataFrame(rows, columns=["f0", "f1"])
    table = dd.from_pandas(frame, npartitions=4)
    check(fitted, eager, table, [np.nan] * 4)
    kept = table[table.f0 > frame.f0.max()]  # nothing is left
    assert ask(fitted, "predict_proba", kept).compute().shape == (0, K)


def test_mixed_dtypes_and_nulls_of_a_frame(rows):
    frame = pd.DataFrame({"a": rows[:, 0].astype(np.float32), "b": pd.array((rows[:, 1] * 10).astype(int), dtype="Int64")})
    frame.loc[frame.index[::9], "b"] = pd.NA
    gm = GaussianMixture(2, missing="skip", random_state=0).fit(frame)
    answer = ask(gm, "predict", dd.from_pandas(frame, npartitions=3)).compute()
    assert (answer[::9] == -1).all()
    assert np.array_equal(answer, gm.predict(frame))


def test_anything_with_to_delayed_will_do(rows, fitted, eager):
    class Catalogue:
        """Partitions and nothing else, as catalogues of other packages give them."""

        def to_delayed(self):
            return [dask.delayed(rows[start : start + 250]) for start in range(0, N, 250)]

    answer = fitted.predict(Catalogue())  # it does not say its columns: its first partition is computed
    assert np.array_equal(answer.compute(), eager["predict"])


@pytest.mark.parametrize(("chunk", "shard", "lengths"), [(1000, None, [1000]), (60, None, [180] * 5 + [100]), (50, 200, [200] * 5)])
def test_a_store_is_answered_in_whole_reads(chunk, shard, lengths, rows, fitted, eager, tmp_path):
    array = stored(tmp_path / "a.zarr", rows, chunk, shard)
    for table in (array, str(tmp_path / "a.zarr"), sg.open_source(tmp_path / "a.zarr", block_rows=170)):
        check(fitted, eager, table, lengths)


def test_reads_too_large_for_memory_are_cut_in_blocks(rows, fitted, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "LARGEST_CHUNK", 700)
    check(fitted, eager, stored(tmp_path / "a.zarr", rows, 500), [170] * 5 + [150])


def test_a_source_in_memory_is_answered_lazily(rows, fitted, eager):
    check(fitted, eager, sg.as_source(rows), [170] * 5 + [150])


def test_a_weighted_source_needs_no_weights_for_answers(rows, fitted, eager):
    check(fitted, eager, sg.as_source(rows, sample_weight=np.ones(N)), [170] * 5 + [150])


@pytest.mark.parametrize("backed", ["numpy", "dask", "dataset", "file"])
def test_xarray_keeps_dimension_and_coordinates_of_the_rows(backed, rows, fitted, eager, tmp_path):
    coordinates = {"star": np.arange(N) + 7, "distance": ("star", np.linspace(0, 1, N)), "epoch": 2016.0}
    table = xr.DataArray(rows, coordinates, ("star", "feature"))
    if backed == "dask":
        table = table.chunk({"star": 300})
    elif backed == "dataset":
        table = xr.Dataset({"f0": ("star", rows[:, 0]), "f1": ("star", rows[:, 1])}, coordinates)
    elif backed == "file":
        table.drop_vars("epoch").to_dataset(name="x").to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
        table = xr.open_zarr(tmp_path / "x.zarr", chunks=None, consolidated=False)["x"]
    for method, values in eager.items():
        answer = ask(fitted, method, table)
        assert isinstance(answer, xr.DataArray)
        assert answer.dims == ("star", "component")[: values.ndim]
        assert set(answer.coords) == {"star", "distance"}
        assert (answer.chunks is None) == (backed == "numpy")
        assert np.array_equal(answer.to_numpy(), values)
        assert answer.sel(star=9).shape == values[2].shape


def test_an_iterator_cannot_be_read_later(rows, fitted):
    with pytest.raises(DataError, match="an iterator of arrays cannot be read later"):
        fitted.predict(iter([rows]))


# ---- what may be wrong with rows ---------------------------------------------------------------------------------------


def test_missing_values_are_refused_when_they_are_read(rows, fitted, tmp_path):
    holed = rows.copy()
    holed[650, 1] = np.nan
    array = da.from_array(holed, chunks=(300, 2))
    for table in (array, stored(tmp_path / "a.zarr", holed, 300)):
        answer = ask(fitted, "predict", table)
        with pytest.raises(NonFiniteDataError, match=r"1 values in 1 rows of block \d, the first in column 'f1', row 650"):
            answer.compute()
    with pytest.raises(NonFiniteDataError, match="in 1 rows of block 2, the first in column 'f1', row 50"):
        ask(fitted, "predict", unknown_lengths(holed, 300)).compute()


def test_rows_left_out_keep_their_place(rows, tmp_path):
    holed = rows.copy()
    holed[::7, 0] = np.nan
    gm = GaussianMixture(K, missing="skip", random_state=0, block_rows=170).fit(holed)
    frame = dd.from_pandas(pd.DataFrame(holed, columns=["f0", "f1"]), npartitions=3)
    for table in (da.from_array(holed, chunks=(300, 2)), unknown_lengths(holed, 300), frame, stored(tmp_path / "a.zarr", holed, 60)):
        for method in METHODS:
            answer, now = ask(gm, method, table).compute(), getattr(gm, method)(holed)
            assert np.array_equal(answer, now, equal_nan=method != "predict")
        assert (ask(gm, "predict", table).compute()[::7] == -1).all()


def test_columns_are_checked_before_anything_is_read(rows):
    gm = GaussianMixture().fit(pd.DataFrame(rows, columns=["a", "b"]))
    swapped = dd.from_pandas(pd.DataFrame(rows, columns=["b", "a"]), npartitions=2)
    with pytest.raises(SchemaError, match="same order as they were in fit"):
        ask(gm, "predict", swapped)
    with pytest.raises(SchemaError, match="X has 3 features, but GaussianMixture is expecting 2 features"):
        ask(GaussianMixture().fit(rows), "predict", da.zeros((10, 3)))


# ---- graphs ------------------------------------------------------------------------------------------------------------


def test_the_model_is_in_the_graph_once(rows, fitted):
    for table in (da.from_array(rows, chunks=(10, 2)), unknown_lengths(rows, 10)):
        graph = dict(fitted.predict(table).__dask_graph__())
        held = [value for value in graph.values() if "Question(" in repr(value)]
        assert len(held) == 1


def test_many_chunks_make_a_graph_quickly_enough(fitted):
    """One layer, not one for each chunk: a layer a chunk takes milliseconds each."""
    answer = fitted.predict(da.zeros((20_000, 2), chunks=(10, 2)))
    assert answer.npartitions == 2_000
    assert len(answer.__dask_graph__().layers) < 10
    partitions = [dask.delayed(np.zeros)((10, 2)) for _ in range(3)]
    source = sg.as_source(type("Table", (), {"to_delayed": lambda self: partitions})())
    assert isinstance(source.portable_rows(0, 1), Delayed)
    assert len(fitted.predict(source).__dask_graph__().layers) <= 1 + 1 + 2 * 3


def test_answers_are_computed_on_a_cluster(rows, fitted, eager, tmp_path):
    frame = dd.from_pandas(pd.DataFrame(rows, columns=["f0", "f1"]), npartitions=3)
    array = stored(tmp_path / "a.zarr", rows, 60)
    with local_cluster(1) as cluster, Client(cluster):
        for table in (da.from_array(rows, chunks=(300, 2)), frame, array):
            for method, values in eager.items():
                assert np.array_equal(getattr(fitted, method)(table).compute(), values)


def test_a_question_answers_raw_rows(rows, fitted, eager):
    question = Question(fitted.mixture_, "labels", ("f0", "f1"))
    assert np.array_equal(question.of_rows(rows.astype(">f8")), eager["predict"])
    assert question.of_rows(rows[:0]).shape == (0,)
