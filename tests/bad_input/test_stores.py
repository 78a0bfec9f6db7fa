"""What is refused of a store whose pieces are damaged, gone or changing, and what is said: a test for each row of the catalogue.

Rows D1 to D7, D17, D29 to D32 and D34 to D36 are in tests/sources; D11, D18 to D20 belong to the pass.
"""

# ruff: noqa: N802  the rows of the catalogue have capital letters

import json
import os
import shutil
import socket
import threading
import warnings

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from streamgmm import commands
from streamgmm.column_store import ColumnStoreWriter
from streamgmm.errors import (
    ChunkCorruptError,
    ChunkMissingError,
    DataChangedError,
    DataError,
    SchemaError,
    StorageError,
    exit_code,
)
from streamgmm.sources import _zarr_store, as_source, open_source
from streamgmm.sources.zarr_columns import ZarrColumnsSource
from tests.reliability.direct import gzip_bomb, zstd_frame
from tests.reliability.flaky import DEADLINE, flaky_source

N = 1000
ROWS = np.random.default_rng(2).normal(size=(N, 2))


@pytest.fixture
def store(tmp_path):
    """A store as `ingest` writes it."""
    return write_store(tmp_path / "stars.zarr", ROWS)


def write_store(path, rows, *, overwrite=False):
    with ColumnStoreWriter(path, {"a": "f8", "b": "f8"}, chunk_rows=64, overwrite=overwrite) as writer:
        writer.append({"a": rows[:, 0], "b": rows[:, 1]})
    return path


def foreign(path, **layout):
    """A store of another program: what zarr writes by default, without a manifest."""
    group = zarr.create_group(path, zarr_format=3)
    for j, name in enumerate("ab"):
        group.create_array(name, shape=(N,), dtype="f8", **{"chunks": (64,), **layout})[:] = ROWS[:, j]
    return path


def refused(kind, code, *said):
    """A context in which this error is raised, with these words."""
    return _Refused(kind, code, said)


class _Refused:
    def __init__(self, kind, code, said):
        self.kind, self.code, self.said = kind, code, said

    def __enter__(self):
        self.context = pytest.raises(self.kind)
        self.caught = self.context.__enter__()
        return self.caught

    def __exit__(self, *raised):
        done = self.context.__exit__(*raised)
        assert exit_code(self.caught.value) == self.code
        for text in self.said:
            assert text in str(self.caught.value), str(self.caught.value)
        return done


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def flipped(raw, at=None):
    at = len(raw) // 2 if at is None else at
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


def test_D08_chunk_missing(store):
    (store / "b/c/3").unlink()
    with refused(ChunkMissingError, 4, "column 'b': chunk c/3", "rows 192 to 255", "would be read as fill value nan"):
        open_source(store)


def test_D08_chunk_gone_after_the_opening(store, tmp_path):
    for path in (store, foreign(tmp_path / "foreign.zarr")):
        source = open_source(path, block_rows=64)
        (path / "b/c/3").unlink()
        source.read(2)
        with refused(ChunkMissingError, 4, "chunk c/3", "rows 192 to 255"):
            source.read(3)


def test_D08_chunks_that_another_program_left_out_are_fill_values(tmp_path):
    """Only the writer knows whether an absent chunk held nothing but the fill value: a warning, unless a manifest lists it."""
    path = foreign(tmp_path / "foreign.zarr")
    (path / "b/c/3").unlink()
    with pytest.warns(UserWarning, match=r"column 'b': chunk c/3 .*\(1 of 16 chunks .* rows 192 to 255 would be read as fill value 0\.0"):
        source = open_source(path, block_rows=64)
    assert not source.load(3)[:, 1].any()
    commands.manifest(path)
    assert not open_source(path, block_rows=64).load(3)[:, 1].any()
    (path / "b/c/4").unlink()
    with refused(ChunkMissingError, 4, "chunk c/4", "its manifest lists it"):
        open_source(path)


def test_D08_a_manifest_is_not_made_of_a_store_that_is_not_whole(store):
    (store / "b/c/3").unlink()
    with refused(ChunkMissingError, 4, "array b: chunk c/3"):
        commands.manifest(store, overwrite=True)


@pytest.mark.parametrize("with_manifest", [False, True])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: b"", lambda raw: bytes(len(raw))], ids=["cut", "empty", "zeroed"])
def test_D09_chunk_truncated_empty_zeroed(store, damage, with_manifest):
    if not with_manifest:
        (store / "b/streamgmm-manifest.json").unlink()
    rewrite(store / "b/c/3", damage)
    source = open_source(store, block_rows=64)
    for _ in range(2):
        with refused(ChunkCorruptError, 4, "column 'b': chunk c/3, rows 192 to 255", "bytes"):
            source.read(3)


def test_D09_without_a_compressor_the_length_tells(tmp_path):
    path = foreign(tmp_path / "foreign.zarr", compressors=None)
    rewrite(path / "b/c/3", lambda raw: raw[:-9])
    with refused(ChunkCorruptError, 4, "503 bytes found, 512 expected"):
        open_source(path, block_rows=64).read(3)


@pytest.mark.parametrize("layout", [{}, {"chunks": (32,), "shards": (64,)}], ids=["chunks", "shards"])
@pytest.mark.parametrize("codec", [ZstdCodec(checksum=True), "gzip"])
def test_D10_bit_flip_with_a_checksum(tmp_path, codec, layout):
    path = foreign(tmp_path / "foreign.zarr", compressors=[zarr.codecs.GzipCodec() if codec == "gzip" else codec], **layout)
    rewrite(path / "b/c/3", flipped)
    with refused(ChunkCorruptError, 4, "chunk c/3", "rows 192 to 255"):
        open_source(path, block_rows=64).read(3)


def test_D11_bit_flip_without_a_checksum_is_told_by_a_manifest_only(tmp_path):
    path = foreign(tmp_path / "foreign.zarr", compressors=None)
    damaged = shutil.copytree(path, tmp_path / "damaged.zarr")
    rewrite(damaged / "b/c/3", flipped)
    assert open_source(damaged, block_rows=64).read(3).x.tobytes() != ROWS[192:256].tobytes()
    commands.manifest(path)
    rewrite(path / "b/c/3", flipped)
    with refused(ChunkCorruptError, 4, "chunk c/3", "512 bytes as expected, but of SHA-256"):
        open_source(path, block_rows=64).read(3)


def test_D11_chunks_that_changed_places(store):
    """Each is what was written, and in the wrong place: no checksum tells, the manifest does, without hashing."""
    one, other = (store / "b/c/3").read_bytes(), (store / "b/c/4").read_bytes()
    (store / "b/c/3").write_bytes(other)
    (store / "b/c/4").write_bytes(one)
    with refused(ChunkCorruptError, 4, "chunk c/3", "instead of"):
        open_source(store, block_rows=64).read(3)
    (store / "b/streamgmm-manifest.json").unlink()
    assert open_source(store, block_rows=64).read(3).n_rows == 64


def test_D12_no_checksum_and_no_manifest(tmp_path, store):
    path = foreign(tmp_path / "foreign.zarr")
    with pytest.warns(
        UserWarning, match=r"no codec checksum and no manifest in .* for column 'a', column 'b'.*streamgmm manifest"
    ) as caught:
        open_source(path)
    assert len(caught) == 1
    commands.manifest(path)
    assert not warned_by(path)
    assert not warned_by(store)
    assert not warned_by(foreign(tmp_path / "checked.zarr", compressors=[ZstdCodec(checksum=True)]))


def warned_by(path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_source(path)
    return caught


def test_D13_inner_chunk_missing_in_a_shard(tmp_path):
    rows = ROWS.copy()
    rows[32:64, 1] = 0.0
    path = foreign(tmp_path / "foreign.zarr", chunks=(32,), shards=(128,))
    with_hole = foreign(tmp_path / "hole.zarr", chunks=(32,), shards=(128,))
    zarr.open_array(with_hole / "b")[:] = rows[:, 1]  # zarr leaves the chunk of zeros out
    with pytest.warns(UserWarning, match=r"column 'b': chunk c/0 is not in the store as a whole: chunk 1 of the 4 inside this shard"):
        open_source(with_hole)
    source = open_source(path, block_rows=64)
    shutil.copy(with_hole / "b/c/0", path / "b/c/0")
    with refused(ChunkMissingError, 4, "chunk c/0", "chunk 1 of the 4 inside this shard is absent", "fill value 0.0"):
        source.read(0)
    edit(with_hole / "zarr.json", lambda document: document["attributes"].update(all_chunks_written=True))
    with refused(ChunkMissingError, 4, "chunk 1 of the 4 inside this shard"):
        open_source(with_hole)


BOMBS = {
    "zstd": ([ZstdCodec()], zstd_frame(bytes(100), claimed=10 * 2**30)),
    "blosc": (
        [BloscCodec()],
        b"\x02\x01\x21\x08" + (2**31 - 1).to_bytes(4, "little") + (2**20).to_bytes(4, "little") + (100).to_bytes(4, "little") + bytes(84),
    ),
    "gzip": ([zarr.codecs.GzipCodec()], gzip_bomb(2**26)),
}


@pytest.mark.parametrize("codec", BOMBS)
def test_D14_chunk_that_decodes_to_far_more(tmp_path, codec):
    compressors, bomb = BOMBS[codec]
    path = foreign(tmp_path / "foreign.zarr", compressors=compressors)
    (path / "b/c/3").write_bytes(bomb)
    with refused(ChunkCorruptError, 4, "chunk c/3", "512"):
        open_source(path, block_rows=64).read(3)


def test_D14_the_same_in_format_2(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=ROWS.shape, chunks=(64, 2), dtype="f8", zarr_format=2, compressors=None)
    array[:] = ROWS
    edit(tmp_path / "a.zarr/.zarray", lambda document: document.update(compressor={"id": "zstd", "level": 1}))
    (tmp_path / "a.zarr/3.0").write_bytes(BOMBS["zstd"][1])
    for i in range(3):
        (tmp_path / f"a.zarr/{i}.0").write_bytes(zstd_frame(ROWS[64 * i : 64 * i + 64].tobytes(), claimed=1024))
    source = open_source(tmp_path / "a.zarr", block_rows=64)
    assert source.load(1).tobytes() == ROWS[64:128].tobytes()
    with refused(ChunkCorruptError, 4, "chunk 3.0", f"{10 * 2**30} bytes decoded, expected 1024"):
        source.read(3)


def test_D14_a_file_too_long_to_be_a_chunk_is_not_read(store):
    (store / "b/streamgmm-manifest.json").unlink()
    with (store / "b/c/3").open("wb") as file:
        file.truncate(2**40)  # a sparse file
    with refused(ChunkCorruptError, 4, f"{2**40} bytes found"):
        open_source(store, block_rows=64).read(3)


@pytest.mark.parametrize("n", [2**62, 2**41])
def test_D15_absurd_shape(store, n):
    edit(store / "b/zarr.json", lambda document: document.update(shape=[n]))
    with refused(SchemaError, 4, str(n), str(8 * n), "not believed"):
        open_source(store, features=["b"])


def test_D15_a_large_shape_over_few_chunks(store, tmp_path):
    """A shape that could be, of which next to nothing is there: counted by what is listed, not by what would have to be."""
    path = foreign(tmp_path / "foreign.zarr")
    for store_path in (store, path):
        edit(store_path / "b/zarr.json", lambda document: document.update(shape=[2**40]))
    with pytest.warns(UserWarning, match=r"17179869168 of 17179869184 chunks are absent"):
        open_source(path, features=["b"])
    with refused(DataChangedError, 5, "column 'b'", "shape was [1000] and is [1099511627776]"):
        open_source(store, features=["b"])
    (store / "b/streamgmm-manifest.json").unlink()
    with refused(ChunkMissingError, 4, "17179869168 of 17179869184 chunks are absent"):
        open_source(store, features=["b"])


def test_D16_chunk_larger_than_memory(tmp_path, monkeypatch):
    path = foreign(tmp_path / "foreign.zarr")
    monkeypatch.setattr(_zarr_store, "LARGEST_CHUNK", 400)
    with refused(DataError, 4, "512 bytes decoded", "more than 400 are not read"):
        open_source(path)


def fit(store, folder):
    return commands.fit(store, folder, n_components=2, max_iter=3, tol=0.0, init="random", block_rows=64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows + 1, "sha256_of_ends"),
        (lambda rows: np.concatenate([rows, rows[:9]]), "n_rows was 1000, is 1009"),
        (lambda rows: rows[:-9], "n_rows was 1000, is 991"),
        (lambda rows: rows[::-1], "sha256_of_ends"),
    ],
    ids=["D21-other values", "D22-appended", "D23-removed", "D23-reordered"],
)
def test_D21_D22_D23_rows_that_changed_between_runs(store, tmp_path, change, said):
    fit(store, tmp_path / "run")
    write_store(store, change(ROWS), overwrite=True)
    with refused(DataChangedError, 5, said):
        fit(store, tmp_path / "run")


def test_D24_store_that_is_being_written(tmp_path):
    path = foreign(tmp_path / "foreign.zarr")
    source = open_source(path, block_rows=64)
    source.refuse_changes()
    zarr.open_array(path / "b").append(np.ones(10))
    assert sum(block.n_rows for block in source.blocks()) == N, "the rows are those of the opening"
    with refused(DataChangedError, 5, "column 'b' was changed while it was read", "shape was (1000,) and is (1010,)"):
        source.refuse_changes()


def test_D24_is_noticed_at_the_end_of_a_pass(tmp_path, monkeypatch):
    path = foreign(tmp_path / "foreign.zarr")
    load = ZarrColumnsSource.load

    def load_while_another_appends(self, index):
        if index == 5:
            zarr.open_array(path / "b").append(np.ones(10))
        return load(self, index)

    monkeypatch.setattr(ZarrColumnsSource, "load", load_while_another_appends)
    with refused(DataChangedError, 5, "column 'b'", "shape was"):
        fit(path, tmp_path / "run")


def test_D25_permission_denied_on_one_chunk(store, monkeypatch):
    real = os.open

    def denied(path, *args, **kwargs):
        if str(path).endswith("b/c/3"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    source = open_source(store, block_rows=64)
    monkeypatch.setattr(os, "open", denied)
    with refused(StorageError, 8, "column 'b': chunk c/3", "Permission denied (EACCES)", "not missing"):
        source.read(3)


def test_D26_absent_where_the_listing_has_it():
    source, store, _ = flaky_source(0, kinds=("absent",), on_damage="raise", retries=4)
    store.share = 1.0
    with refused(ChunkMissingError, 4, "gave up after 5 attempts"):
        source.read(0)
    source, store, _ = flaky_source(1, kinds=("absent",), on_damage="raise", retries=50)
    store.share = 0.5
    assert sum(block.n_rows for block in source.blocks()) == 512


def test_D27_credentials_refused():
    source, store, clock = flaky_source(0, kinds=("refused",))
    store.share = 1.0
    with refused(StorageError, 8, "credentials refused", "401") as caught:
        source.read(0)
    assert "sekret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert clock.time == 0


@pytest.mark.parametrize("kind", ["busy", "limited", "reset", "timeout", "read error"])
def test_D28_what_passes_by_itself_is_tried_until_the_deadline(kind):
    source, store, clock = flaky_source(0, kinds=(kind,), on_damage="raise")
    store.share = 1.0
    with refused(StorageError, 8, "attempts in 60 s") as caught:
        source.read(0)
    assert clock.time == pytest.approx(DEADLINE)
    assert f"gave up after {len(source.retries) + 1} attempts" in str(caught.value)
    assert 10 < len(source.retries) < 40
    assert caught.value.__cause__ is not None


def test_D28_stall():
    source, store, _ = flaky_source(0, kinds=("stall",), stall=0.05, deadline=0.0, on_damage="raise")
    store.share = 1.0
    with refused(StorageError, 8, "has not answered within 0.05 s"):
        source.read(0)
    store.share = 0.0
    assert source.read(0).n_rows == 64


@pytest.mark.parametrize("layout", ["ours", "left to zarr"])
@pytest.mark.parametrize("kind", ["FIFO", "socket", "loop", "device", "folder"])
def test_D33_no_regular_file_as_a_chunk(tmp_path, kind, layout):
    path = foreign(tmp_path / "x.zarr", **({} if layout == "ours" else {"serializer": zarr.codecs.BytesCodec(endian="big")}))
    source = open_source(path, block_rows=64)
    chunk = path / "b/c/3"
    chunk.unlink()
    make_odd(chunk, kind)
    outcome = []

    def read():
        try:
            source.read(3)
        except (StorageError, ChunkMissingError) as error:
            outcome.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(30)
    assert outcome, "a hang, or rows"
    assert isinstance(outcome[0], StorageError)
    assert {"loop": "loop"}.get(kind, kind) in str(outcome[0])
    assert "chunk c/3" in str(outcome[0])


def make_odd(path, kind):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()  # noqa: PTH109
        os.chdir(path.parent)  # the address of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


def test_A_array_of_the_caller_is_checked_too(store):
    """A zarr array that the caller opened has no opening of ours; its manifest is found all the same."""
    rewrite(store / "b/c/3", lambda raw: raw[:-1])
    with refused(ChunkCorruptError, 4, "chunk c/3"):
        as_source(zarr.open_group(store, mode="r"), block_rows=64).read(3)
