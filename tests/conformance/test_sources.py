"""The laws that every kind of source obeys, on the same table as each kind would hold it. A new kind needs a case here."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import pairwise

import dask
import dask.array
import dask.dataframe
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import DataError, NonFiniteDataError
from streamgmm.registry import implementation, names
from streamgmm.sources import as_source, open_source
from streamgmm.sources._damage_policy import DamagePolicy
from streamgmm.sources.base import AbstractSource, EndOfSource
from streamgmm.sources.guarded import guard

N, D = 97, 3
NAMES = ("a", "b", "c")


def table(n=N, dtype="f8"):
    """Rows (n d) that float32 holds exactly."""
    return np.random.default_rng(3).integers(-1000, 1000, size=(n, D)).astype(dtype) / 8


def lengths(n, chunk):
    """Chunk lengths of n rows with an empty chunk in the middle and one at the end."""
    edges = [*range(0, n, chunk), n]
    found = [b - a for a, b in pairwise(edges)]
    return (*found[:1], 0, *found[1:], 0)


def frames(x, chunk):
    edges = np.cumsum([0, *lengths(len(x), chunk)])
    return [pd.DataFrame(x[a:b], columns=list(NAMES)) for a, b in pairwise(edges)]


def numpy_array(x, chunk, folder):
    return as_source(np.asfortranarray(x), feature_names=NAMES)


def dask_array(x, chunk, folder):
    return as_source(dask.array.from_array(x, chunks=(lengths(len(x), chunk), D)), feature_names=NAMES)


def dask_partitions(x, chunk, folder):
    parts = [dask.delayed(frame) for frame in frames(x, chunk)]
    return as_source(dask.dataframe.from_delayed(parts, meta=frames(x, chunk)[0].iloc[:0]))


def zarr_array(x, chunk, folder):
    z = zarr.create_array(folder / "array.zarr", shape=x.shape, chunks=(chunk, 2), shards=(3 * chunk, 4), dtype=x.dtype, fill_value=-1)
    z[:] = x
    z.attrs["feature_names"] = list(NAMES)
    return open_source(folder / "array.zarr")


def zarr_columns(x, chunk, folder):
    group = zarr.create_group(folder / "columns.zarr", zarr_format=3)
    for j, name in enumerate(NAMES):
        # chunks differ from column to column, and one column is sharded
        sizes = {"chunks": (chunk,), "shards": (2 * chunk,)} if j == 1 else {"chunks": (chunk + j,)}
        column = group.create_array(name, shape=(len(x),), dtype=x.dtype, dimension_names=["row"], fill_value=-1, **sizes)
        column[:] = x[:, j]
    return open_source(folder / "columns.zarr")


def xarray_dataset(x, chunk, folder):
    dataset = xr.Dataset({name: ("row", x[:, j]) for j, name in enumerate(NAMES)})
    dataset.to_zarr(folder / "dataset.zarr", consolidated=False, encoding={name: {"chunks": (chunk,)} for name in NAMES})
    return as_source(xr.open_zarr(folder / "dataset.zarr", consolidated=False, chunks=None)[list(NAMES)])


def parquet(x, chunk, folder):
    for i, frame in enumerate(frames(x, 2 * chunk)):
        pq.write_table(pa.Table.from_pandas(frame), folder / f"part{i:05}.parquet", row_group_size=chunk)
    return open_source(folder, features=NAMES)


def iterator(x, chunk, folder):
    return as_source(iter(frames(x, chunk)))


def guarded(x, chunk, folder):
    return guard(zarr_columns(x, chunk, folder), DamagePolicy())


CASES = {
    make.__name__: make
    for make in (numpy_array, dask_array, dask_partitions, zarr_array, zarr_columns, xarray_dataset, parquet, iterator, guarded)
}
KINDS = sorted(CASES)
BY_ROW_NUMBER = sorted(set(CASES) - {"dask_partitions"})
REPEATABLE = sorted(set(CASES) - {"iterator"})
HASHED = sorted(set(BY_ROW_NUMBER) & set(REPEATABLE))


def test_every_file_of_the_folder_has_a_case():
    assert set(CASES) == set(names("sources")), "a kind of source needs a case in this file"


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_gives_the_class(kind, tmp_path):
    assert issubclass(implementation("sources", kind), AbstractSource)
    assert type(CASES[kind](table(), 10, tmp_path)) is implementation("sources", kind)


@pytest.mark.parametrize("kind", BY_ROW_NUMBER)
@given(
    n=st.integers(1, 60),
    chunk=st.integers(3, 70),
    block_rows=st.integers(1, 70),
    dtype=st.sampled_from(["f8", "f4"]),
)
def test_blocks_are_those_of_the_array_whatever_the_chunks(kind, tmp_path_factory, n, chunk, block_rows, dtype):
    x = table(n, dtype)
    source = CASES[kind](x, chunk, tmp_path_factory.mktemp(kind)).with_block_rows(block_rows)
    blocks = list(source.blocks())
    assert [len(block.x) for block in blocks] == [len(x[a : a + block_rows]) for a in range(0, n, block_rows)]
    assert [(block.index, block.start) for block in blocks] == [(i, i * block_rows) for i in range(len(blocks))]
    assert np.concatenate([block.x for block in blocks]).tobytes() == x.astype("f8").tobytes()


@pytest.mark.parametrize("chunk", [4, 10, 200])
def test_partitions_are_blocks_of_their_own(chunk, tmp_path):
    x = table()
    source = dask_partitions(x, chunk, tmp_path)
    blocks = list(source.blocks())
    assert [block.n_rows for block in blocks] == list(lengths(N, chunk))
    assert {block.start for block in blocks} == {0}
    assert np.concatenate([block.x for block in blocks]).tobytes() == x.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_have_one_layout_in_memory(kind, tmp_path):
    for block in CASES[kind](table(dtype="f4"), 10, tmp_path).with_block_rows(16).blocks():
        assert block.x.dtype == np.float64
        assert block.x.flags.c_contiguous
        assert block.x.flags.writeable
        assert block.x.flags.aligned


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_source_says_of_itself(kind, tmp_path):
    source = CASES[kind](table(dtype="f4"), 10, tmp_path)
    assert source.feature_names == NAMES
    assert source.units == ("", "", "")
    assert source.n_features == D
    assert source.dtype == np.float32
    assert source.missing == "raise"
    assert source.rows_per_read >= 1
    assert source.repeatable == (kind in REPEATABLE)
    assert source.n_rows == (N if kind in HASHED else None)
    assert source.nbytes == (N * D * 4 if kind in HASHED else None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_is_said_with_one_error(kind, tmp_path):
    source = CASES[kind](table(), 10, tmp_path).with_block_rows(16)
    n_blocks = len(list(source.blocks()))
    assert source.n_blocks in {n_blocks, None}
    for _ in range(2):
        with pytest.raises(EndOfSource):
            source.read(n_blocks)


@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_negative_number_is_no_block(kind, tmp_path):
    with pytest.raises(EndOfSource):
        CASES[kind](table(), 10, tmp_path).load(-1)


@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_second_pass_gives_the_same_bits(kind, tmp_path):
    source = CASES[kind](table(), 10, tmp_path).with_block_rows(16)
    first, second = ([block.x.tobytes() for block in source.blocks()] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", REPEATABLE)
def test_threads_read_the_same_blocks(kind, tmp_path):
    source = CASES[kind](table(), 7, tmp_path).with_block_rows(4)
    numbers = [*range(source.n_blocks)] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: source.read(index).x.tobytes(), numbers))
    fresh = CASES["numpy_array"](table(), 7, tmp_path).with_block_rows(4)
    alone = [block.x.tobytes() for block in (source if kind == "dask_partitions" else fresh).blocks()]
    assert found == alone * 3


def test_threads_share_an_iterator(tmp_path):
    source = iterator(table(), 7, tmp_path).with_block_rows(4)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: source.read(index).x, range(25)))
    assert np.concatenate(found).tobytes() == table().tobytes()


def travelled(piece):
    """The piece as another process would get it."""
    if not isinstance(piece, AbstractSource):
        piece = dask.compute(piece, scheduler="synchronous")[0]
    return pickle.loads(pickle.dumps(piece))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_portable_piece_answers_for_its_blocks(kind, weighted, tmp_path):
    x, w = table(), np.arange(float(N))
    source = CASES[kind](x, 10, tmp_path).with_block_rows(16)
    expected = list(CASES[kind](x, 10, make_folder(tmp_path)).with_block_rows(16).blocks())
    if weighted:
        source = as_source(source, sample_weight=weights_for(kind, w, tmp_path))
    edges = [0, 2, 3, len(expected)]
    for first, last in pairwise(edges):
        piece = travelled(source.portable(first, last))
        for index in range(first, last):
            block = piece.read(index)
            assert block.x.tobytes() == expected[index].x.tobytes()
            assert block.start == expected[index].start
            if weighted:
                assert len(block.sample_weight) == block.n_rows
                assert kind == "dask_partitions" or block.sample_weight.tobytes() == w[index * 16 : index * 16 + 16].tobytes()


def make_folder(folder):
    (folder / "again").mkdir()
    return folder / "again"


def weights_for(kind, w, folder):
    """Weights as the kind's users would have them."""
    if kind == "dask_partitions":
        parts = [dask.delayed(frame) for frame in frames(np.column_stack([w, w, w]), 10)]
        return dask.dataframe.from_delayed(parts, meta=pd.DataFrame({name: [0.0] for name in NAMES}))["a"]
    if kind == "iterator":
        return iter([w[:30], w[30:]])
    if kind == "dask_array":
        return dask.array.from_array(w, chunks=13)
    return w


@pytest.mark.parametrize("kind", HASHED)
def test_the_fingerprint_does_not_know_the_chunks(kind, tmp_path):
    plain = as_source(table(), feature_names=NAMES, block_rows=16).fingerprint
    for chunk in (5, 200):
        folder = tmp_path / str(chunk)
        folder.mkdir()
        assert CASES[kind](table(dtype="f4"), chunk, folder).with_block_rows(16).fingerprint == plain
    assert len(plain["sha256_of_ends"]) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_is_strict_json(kind, tmp_path):
    fingerprint = CASES[kind](table(), 10, tmp_path).fingerprint
    assert json.loads(json.dumps(fingerprint, allow_nan=False)) == fingerprint
    assert bool(fingerprint["sha256_of_ends"]) == (kind in HASHED)


@pytest.mark.parametrize("kind", HASHED)
def test_the_fingerprint_knows_the_rows_and_the_weights(kind, tmp_path):
    x, w = table(), np.ones(N)
    other = x.copy()
    other[0, 0] += 1
    (tmp_path / "other").mkdir()
    source = CASES[kind](x, 10, tmp_path)
    weighted = as_source(source, sample_weight=w)
    assert source.fingerprint != CASES[kind](other, 10, tmp_path / "other").fingerprint
    assert len({json.dumps(s.fingerprint) for s in (source, weighted, as_source(source, sample_weight=2 * w))}) == 3


@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_pickled_source_leaves_its_rows_behind(kind, tmp_path):
    source = CASES[kind](table(), 10, tmp_path)
    list(source.blocks())
    assert source.fingerprint
    names_of_fields = {field.name for field in fields(source)}
    assert set(vars(source)) > names_of_fields
    assert set(vars(pickle.loads(pickle.dumps(source)))) == names_of_fields


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_are_refused_or_left_out(kind, tmp_path):
    x = table()
    x[40, 1] = np.nan
    (tmp_path / "other").mkdir()
    with pytest.raises(NonFiniteDataError, match=r"contains NaN.*column 'b'"):
        list(CASES[kind](x, 10, tmp_path).with_block_rows(16).blocks())
    blocks = list(CASES[kind](x, 10, tmp_path / "other").with_block_rows(16).with_missing("skip").blocks())
    assert sum(block.skipped for block in blocks) == 1
    assert np.concatenate([block.x for block in blocks]).tobytes() == np.delete(x, 40, axis=0).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_infinity_is_refused(kind, tmp_path):
    x = table()
    x[40, 1] = -np.inf
    with pytest.raises(NonFiniteDataError, match=r"contains infinity: 1 values.*column 'b'"):
        list(CASES[kind](x, 10, tmp_path).with_missing("skip").blocks())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_length_are_refused(kind, tmp_path):
    source = CASES[kind](table(), 10, tmp_path)
    w = np.ones(N - 1)
    with pytest.raises(DataError, match=r"one weight per row|compute_chunk_sizes"):
        list(as_source(source, sample_weight=iter([w]) if kind == "iterator" else w).blocks())
