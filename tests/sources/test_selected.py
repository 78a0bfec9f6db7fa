"""A choice of blocks: their rows, weights and numbers are the other source's, here and on another machine."""

import pickle

import dask
import dask.array
import numpy as np
import pytest
import zarr

from streamgmm.errors import ChunkCorruptError, DataError
from streamgmm.sources import as_source, open_source
from streamgmm.sources._damage_policy import DamagePolicy
from streamgmm.sources._selected import select
from streamgmm.sources.base import AbstractSource, EndOfSource
from streamgmm.sources.guarded import guard
from tests.making import OnceRows

BLOCKS = (4, 0, 5)
X, W = np.arange(108.0).reshape(54, 2), np.arange(54.0)


def in_memory(folder):
    return as_source(X, sample_weight=W, block_rows=10)


def in_store(folder):
    path = folder / "rows.zarr"
    zarr.create_array(path, shape=X.shape, dtype=X.dtype, chunks=(7, 2))[...] = X
    return as_source(open_source(path, block_rows=10), sample_weight=W)


def guarded(folder):
    return guard(in_store(folder), DamagePolicy())


def in_dask(folder):
    return as_source(dask.array.from_array(X, chunks=(13, 2)), sample_weight=dask.array.from_array(W, chunks=13), block_rows=10)


CASES = {make.__name__: make for make in (in_memory, in_store, guarded, in_dask)}


def travelled(piece):
    if not isinstance(piece, AbstractSource):
        piece = dask.compute(piece, scheduler="synchronous")[0]
    return pickle.loads(pickle.dumps(piece))


def check(block, number):
    rows = slice(10 * number, 10 * number + 10)
    assert (block.index, block.start) == (number, 10 * number)
    assert block.x.tobytes() == X[rows].tobytes()
    assert block.sample_weight.tobytes() == W[rows].tobytes()


@pytest.mark.parametrize("kind", CASES)
def test_blocks_keep_rows_weights_and_numbers(kind, tmp_path):
    whole = CASES[kind](tmp_path)
    source = select(whole, BLOCKS)
    assert (source.n_blocks, source.n_rows, source.whole) == (3, None, whole)
    assert (source.repeatable, source.in_memory, source.computed, source.dtype) == (True, whole.in_memory, whole.computed, np.float64)
    for block, number in zip(source.blocks(), BLOCKS, strict=True):
        check(block, number)
    for beyond in (3, -1):
        with pytest.raises(EndOfSource):
            source.read(beyond)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("span", [(0, 2), (2, 3)])
def test_a_piece_travels(kind, span, tmp_path):
    piece = travelled(select(CASES[kind](tmp_path), BLOCKS).portable(*span))
    for index in range(*span):
        check(piece.read(index), BLOCKS[index])
    with pytest.raises(EndOfSource):
        piece.read(2 if span[0] == 0 else 0)


def test_a_lost_block_keeps_its_number(tmp_path, monkeypatch):
    """E: damage under `skip`."""
    whole = guard(in_store(tmp_path), DamagePolicy("skip"))

    def load(self, index):
        raise ChunkCorruptError(f"block {index} is broken")

    monkeypatch.setattr(type(whole), "_load_once", load)
    block = select(whole, BLOCKS).read(0)
    assert (block.index, block.skipped, block.n_rows) == (4, 10, 0)
    assert "block 4 is broken" in block.damage


def test_of_an_iterator_a_block_is_there_or_the_rows_have_ended():
    stream = OnceRows(feature_names=("a", "b"), units=("", ""), block_rows=50, x=X, repeatable_rows=False)
    assert [block.n_rows for block in select(stream, [0]).blocks()] == [50]
    assert [block.index for block in select(stream, [1]).blocks()] == [1]
    assert not list(select(stream, [2]).blocks())


def test_missing_values_are_named_with_the_block_of_the_table():
    bad = X.copy()
    bad[45, 1] = np.nan
    with pytest.raises(DataError, match=r"block 4\b.*row 45"):
        list(select(as_source(bad, block_rows=10), BLOCKS).blocks())
