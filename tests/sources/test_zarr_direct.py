"""Rows decoded without zarr's machinery are the rows that zarr gives; other layouts are left to zarr, damage is said."""

import itertools

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec
from zarr.storage import MemoryStore

import streamgmm as sg
from streamgmm.errors import ChunkCorruptError
from streamgmm.sources import _zarr_direct
from streamgmm.sources._zarr_chunks import chunk_checks

CODECS = {
    "none": None,
    "crc": [Crc32cCodec()],
    "lz4": [BloscCodec(cname="lz4", shuffle="shuffle")],
    "lz4-crc": [BloscCodec(cname="lz4", shuffle="shuffle"), Crc32cCodec()],
    "blosc-zstd": [BloscCodec(cname="zstd", shuffle="bitshuffle")],
    "gzip": [GzipCodec()],
    "zstd": [ZstdCodec()],
    "zstd-crc": [ZstdCodec(), Crc32cCodec()],
}
SHAPES = [(1000,), (1000, 3), (96, 2), (1,)]


def write(path, codecs, rows, *, shards=None, chunk=32, **more):
    rest = rows.shape[1:]
    shards = None if shards is None else (shards, *rest)
    array = zarr.create_array(
        path, shape=rows.shape, dtype=rows.dtype, chunks=(chunk, *rest), shards=shards, compressors=codecs, zarr_format=3, **more
    )
    array[...] = rows
    return zarr.open_array(path, mode="r")


def direct_reader(array):
    return _zarr_direct.direct_reader(chunk_checks(array, "the array", complete=False))


def drawn(shape, dtype="f8"):
    return np.random.default_rng(0).normal(scale=1e3, size=shape).astype(dtype)


@pytest.mark.parametrize(("codecs", "shards"), list(itertools.product(CODECS, [None, 96])))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_range_of_rows_is_what_zarr_gives(tmp_path, codecs, shards, shape):
    array = write(tmp_path / "a.zarr", CODECS[codecs], drawn(shape), shards=shards)
    reader = direct_reader(array)
    for start, stop in [(0, shape[0]), (0, min(32, shape[0])), (31, 33), (64, 500), (992, 1000)]:
        if stop <= shape[0]:
            assert np.array_equal(reader.rows(start, stop), array[start:stop])


@pytest.mark.parametrize("dtype", ["f4", "i2", "u8", "i8"])
def test_any_dtype(tmp_path, dtype):
    array = write(tmp_path / "a.zarr", CODECS["lz4-crc"], drawn((100, 2), dtype))
    found = direct_reader(array).rows(0, 100)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array[:])


def test_layouts_that_are_not_known_are_left_to_zarr(tmp_path):
    rows = drawn((100, 2))
    twice = [GzipCodec(), ZstdCodec()]
    assert direct_reader(write(tmp_path / "twice.zarr", twice, rows)) is None
    assert direct_reader(write(tmp_path / "big.zarr", None, rows, serializer=BytesCodec(endian="big"))) is None
    in_memory = zarr.create_array(MemoryStore(), data=rows, zarr_format=3)
    assert direct_reader(in_memory) is None
    old = zarr.create_array(tmp_path / "old.zarr", data=rows, zarr_format=2)
    assert direct_reader(old) is None
    across = zarr.create_array(tmp_path / "across.zarr", data=rows, chunks=(50, 1), zarr_format=3)
    assert direct_reader(across) is None


@pytest.mark.parametrize(("codecs", "shards"), list(itertools.product(["lz4", "lz4-crc", "zstd-crc", "crc", "none"], [None, 96])))
def test_damage_is_never_read_as_rows(tmp_path, codecs, shards):
    array = write(tmp_path / "a.zarr", CODECS[codecs], drawn((96, 2)), shards=shards)
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-40])
    with pytest.raises(ChunkCorruptError, match=r"the array: chunk c/0/0, rows 0 to (95|31), cannot be decoded"):
        direct_reader(array).rows(0, 96)
    with pytest.raises(ChunkCorruptError):
        sg.open_source(tmp_path / "a.zarr").load(0)


@pytest.mark.parametrize("codecs", ["lz4-crc", "zstd-crc", "crc"])
def test_a_flipped_bit_is_seen_by_the_checksum(tmp_path, codecs):
    array = write(tmp_path / "a.zarr", CODECS[codecs], drawn((96, 2)))
    chunk = tmp_path / "a.zarr" / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[len(raw) // 2] ^= 4
    chunk.write_bytes(raw)
    with pytest.raises(ChunkCorruptError, match=r"CRC32C [0-9a-f]{8} of \d+ bytes, [0-9a-f]{8} stored"):
        direct_reader(array).rows(0, 96)


@pytest.mark.parametrize("shards", [None, 96])
def test_chunks_that_are_absent_are_fill_values_as_in_zarr(tmp_path, shards):
    rows = drawn((300, 2))
    rows[32:64] = 7.0
    rows[96:192] = 7.0
    write(tmp_path / "a.zarr", CODECS["lz4"], rows, shards=shards, fill_value=7.0)
    with pytest.warns(UserWarning, match="not in the store") if shards is None else pytest.warns(UserWarning, match="absent"):
        source = sg.open_source(tmp_path / "a.zarr", block_rows=50)
    assert np.array_equal(np.concatenate([block.x for block in source.blocks()]), rows)


def test_rows_of_one_read_are_not_changed_by_the_next(tmp_path):
    rows = drawn((96, 2))
    reader = direct_reader(write(tmp_path / "a.zarr", None, rows))
    first = reader.rows(0, 32)
    reader.rows(32, 64)
    assert np.array_equal(first, rows[:32])
