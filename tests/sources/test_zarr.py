"""Zarr arrays and column stores: chunks fetched once, shards whole, damage and hostile metadata refused."""

import json
import pickle
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from streamgmm.column_store import ColumnStoreWriter
from streamgmm.errors import ChunkCorruptError, ChunkMissingError, ConfigError, DataError, SchemaError, SecurityError, StorageError
from streamgmm.sources import _zarr_store, as_source, open_source
from streamgmm.sources.numpy_array import NumpyArraySource
from streamgmm.sources.zarr_columns import ZarrColumnsSource

N = 1000
TABLE = np.random.default_rng(1).normal(size=(N, 3))


class CountingStore(WrapperStore):
    """Counts what is fetched of every chunk, and whether it was the whole."""

    def __init__(self, store):
        super().__init__(store)
        self.fetched = Counter()

    async def get(self, key, prototype, byte_range=None):
        if "c/" in key and not key.endswith((".zarray", ".zgroup", ".json")):
            self.fetched[key, byte_range and str(byte_range)] += 1
        return await super().get(key, prototype, byte_range)


def counted_array(**layout):
    store = MemoryStore()
    zarr.create_array(store, shape=TABLE.shape, dtype="f8", **layout)[:] = TABLE
    array = zarr.open_array(CountingStore(MemoryStore(store._store_dict, read_only=True)), mode="r")
    return array, array.store


def counted_columns(**layout):
    store = MemoryStore()
    group = zarr.create_group(store)
    for j, name in enumerate("abc"):
        group.create_array(name, shape=(N,), dtype="f8", **layout)[:] = TABLE[:, j]
    group = zarr.open_group(CountingStore(MemoryStore(store._store_dict, read_only=True)), mode="r")
    return group, group.store


def read_all(source):
    return np.concatenate([block.x for block in source.blocks()])


def check_fetched_once(store, keys, whole):
    """Every piece once; whole chunks and shards but for shards that reach beyond the end, whose inner chunks zarr fetches singly."""
    assert {key for key, _ in store.fetched} == set(keys)
    assert set(store.fetched.values()) == {1}
    assert {key for key, byte_range in store.fetched if byte_range is None} >= set(whole)
    assert not {key for key, byte_range in store.fetched if byte_range is not None} & set(whole)


@pytest.mark.parametrize("block_rows", [7, 64, 100, 999, 5000])
@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": (100, 3)},
        {"chunks": (64, 2)},
        {"chunks": (1000, 1)},
        {"chunks": (10, 3), "shards": (200, 3)},
        {"chunks": (10, 2), "shards": (130, 4)},
    ],
)
def test_a_pass_over_an_array_fetches_every_chunk_or_shard_once_and_whole(layout, block_rows):
    array, store = counted_array(**layout)
    assert read_all(as_source(array, block_rows=block_rows)).tobytes() == TABLE.tobytes()
    rows, columns = layout.get("shards", layout["chunks"])
    grid = [(i, j) for i in range(-(-N // rows)) for j in range(-(-3 // columns))]
    inside = {(i, j) for i, j in grid if ((i + 1) * rows <= N and (j + 1) * columns <= 3) or "shards" not in layout}
    check_fetched_once(store, [f"c/{i}/{j}" for i, j in grid], [f"c/{i}/{j}" for i, j in inside])


@pytest.mark.parametrize("block_rows", [7, 100, 5000])
@pytest.mark.parametrize("layout", [{"chunks": (64,)}, {"chunks": (10,), "shards": (130,)}])
def test_a_pass_over_columns_fetches_every_chunk_or_shard_once_and_whole(layout, block_rows):
    group, store = counted_columns(**layout)
    source = as_source(group, block_rows=block_rows)
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(source.read, range(source.n_blocks)))
    assert np.concatenate([block.x for block in blocks]).tobytes() == TABLE.tobytes()
    rows = layout.get("shards", layout["chunks"])[0]
    keys = [f"{name}/c/{i}" for name in "abc" for i in range(-(-N // rows))]
    check_fetched_once(store, keys, [key for key in keys if "shards" not in layout or not key.endswith(f"/{N // rows}")])


def test_shards_too_large_are_read_by_their_chunks(monkeypatch):
    monkeypatch.setattr(_zarr_store, "LARGEST_UNIT", 1000)
    array, store = counted_array(chunks=(20, 3), shards=(500, 3))
    source = as_source(array, block_rows=20)
    assert source.rows_per_read == 20
    assert read_all(source).tobytes() == TABLE.tobytes()
    assert None not in {byte_range for _, byte_range in store.fetched}


def test_chunks_too_large_to_decode_are_refused(monkeypatch):
    monkeypatch.setattr(_zarr_store, "LARGEST_CHUNK", 1000)
    with pytest.raises(DataError, match=r"chunks of 500 rows take 12000 bytes decoded; more than 1000 are not read"):
        as_source(counted_array(chunks=(500, 3))[0])


@pytest.fixture
def store(tmp_path):
    """A column store as the package writes it, and its path."""
    path = tmp_path / "stars.zarr"
    with ColumnStoreWriter(path, {"pmra": "f4", "bt": "f8", "n": "i4"}, units={"pmra": "mas/yr"}, chunk_rows=64) as writer:
        writer.append({"pmra": TABLE[:, 0].astype("f4"), "bt": TABLE[:, 1], "n": np.arange(N, dtype="i4")})
    return path


def test_a_column_store_opens_with_its_order_and_units(store):
    source = open_source(store)
    assert source.feature_names == ("pmra", "bt", "n")
    assert source.units == ("mas/yr", "", "")
    assert source.n_rows == N
    assert source.dtype == np.float64
    assert read_all(source)[:, 0].tolist() == TABLE[:, 0].astype("f4").tolist()


def test_columns_are_chosen_by_name_in_the_order_asked_for(store):
    source = open_source(store, features=["n", "pmra"], block_rows=100, missing="skip")
    assert source.feature_names == ("n", "pmra")
    assert (source.block_rows, source.missing) == (100, "skip")
    assert source.read(1).x[0, 0] == 100


def test_a_column_of_weights_is_no_feature(store):
    source = open_source(store, weight="n")
    assert source.feature_names == ("pmra", "bt")
    assert source.read(0).sample_weight.tolist() == list(range(N))
    piece = pickle.loads(pickle.dumps(source.with_block_rows(100).portable(3, 5)))
    assert piece.read(4).sample_weight[0] == 400


def test_a_store_of_plain_xarray_opens(tmp_path):
    dataset = xr.Dataset({"b": ("row", TABLE[:, 0], {"units": "mag"}), "a": ("row", TABLE[:, 1].astype("f4"))})
    dataset.to_zarr(tmp_path / "x.zarr", consolidated=False)
    source = open_source(tmp_path / "x.zarr")
    assert source.feature_names == ("a", "b")
    assert source.units == ("", "mag")
    assert read_all(source)[:, 1].tolist() == TABLE[:, 0].tolist()


def test_our_store_is_a_dataset_for_xarray_with_the_same_rows(store):
    dataset = xr.open_zarr(store, consolidated=False)[["pmra", "bt", "n"]]
    ours = open_source(store)
    assert as_source(dataset).fingerprint == ours.fingerprint


@pytest.mark.parametrize("attributes", [{"scale_factor": 0.1}, {"add_offset": 5.0}, {"_FillValue": -9999}, {"missing_value": 99.0}])
def test_encoded_columns_are_left_to_xarray(tmp_path, attributes):
    group = zarr.create_group(tmp_path / "x.zarr")
    group.create_array("a", shape=(5,), dtype="i4", attributes=attributes)[:] = 1
    with pytest.raises(SchemaError, match=rf"column 'a' is encoded by its attributes {next(iter(attributes))}; open the store with xarray"):
        open_source(tmp_path / "x.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_2d_array_opens_in_both_formats(tmp_path, zarr_format):
    attributes = {"feature_names": ["x", "y", "z"], "units": ["pc", "pc", ""]}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=TABLE.shape, chunks=(100, 2), dtype=">f8", zarr_format=zarr_format, attributes=attributes
    )
    array[:] = TABLE
    source = open_source(tmp_path / "a.zarr", block_rows=64)
    assert source.feature_names == ("x", "y", "z")
    assert source.units == ("pc", "pc", "")
    assert read_all(source).tobytes() == TABLE.tobytes()
    some = open_source(tmp_path / "a.zarr", features=["z", "x"], weight="y")
    assert some.feature_names == ("z", "x")
    assert some.units == ("", "pc")
    with pytest.raises(DataError, match="sample_weight must be finite and >= 0"):
        some.read(0)
    assert read_all(open_source(tmp_path / "a.zarr", features=["z", "x"])).tobytes() == TABLE[:, [2, 0]].tobytes()


def test_an_array_without_names_gets_plain_ones(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(3, 2), dtype="f8", attributes={"units": "mas"})[:] = 1
    source = open_source(tmp_path / "a.zarr")
    assert source.feature_names == ("f0", "f1")
    assert source.units == ("mas", "mas")
    assert open_source(tmp_path / "a.zarr", features=["f1"]).feature_names == ("f1",)


@pytest.mark.parametrize(
    ("names", "said"), [(["a"], "1 feature names for 2 columns"), (["a", "a"], "named twice"), ("ab", "expected a list")]
)
def test_names_that_do_not_fit_the_array_are_refused(tmp_path, names, said):
    zarr.create_array(tmp_path / "a.zarr", shape=(3, 2), dtype="f8", attributes={"feature_names": names})
    with pytest.raises(SchemaError, match=said):
        open_source(tmp_path / "a.zarr")


def test_a_store_that_is_not_there_is_said_with_its_neighbours(store):
    with pytest.raises(DataError, match=r"no store at .*star\.zarr; next to it: stars\.zarr; did you mean 'stars\.zarr'"):
        open_source(store.parent / "star.zarr")
    with pytest.raises(DataError, match="is not there or empty"):
        open_source(store.parent / "a" / "b.zarr")


def test_a_folder_of_something_else_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds neither a Zarr store nor Parquet files; in it are notes\.txt"):
        open_source(tmp_path)


def test_a_group_without_columns_lists_what_is_inside(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    with pytest.raises(DataError, match="inside are no arrays"):
        open_source(tmp_path / "g.zarr")
    group.create_array("image", shape=(4, 5), dtype="f8")
    group.create_group("more")
    with pytest.raises(DataError, match=r"inside are image \(4, 5\), more \(a group\)"):
        open_source(tmp_path / "g.zarr")


def test_an_unknown_or_repeated_column_is_said(store):
    with pytest.raises(SchemaError, match=r"no column 'pm_ra'; its columns are bt, n, pmra; did you mean 'pmra'"):
        open_source(store, features=["pm_ra"])
    with pytest.raises(SchemaError, match="'bt' is named twice"):
        open_source(store, features=["bt", "n", "bt"])
    with pytest.raises(SchemaError, match="no column 'w'"):
        open_source(store, weight="w")


def test_columns_of_different_length_are_refused(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    for name, n in (("a", 5), ("b", 6)):
        group.create_array(name, shape=(n,), dtype="f8")[:] = 1
    with pytest.raises(SchemaError, match="different length are not one table: 'a' 5, 'b' 6 rows"):
        open_source(tmp_path / "g.zarr")


def test_columns_along_different_dimensions_are_refused(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    for name in ("lat", "lon"):
        group.create_array(name, shape=(5,), dtype="f8", dimension_names=[name])[:] = 1
    with pytest.raises(SchemaError, match="different dimensions"):
        open_source(tmp_path / "g.zarr")


def test_an_empty_table_is_refused(tmp_path):
    zarr.create_group(tmp_path / "g.zarr").create_array("a", shape=(0,), dtype="f8")
    with pytest.raises(SchemaError, match=r"0 sample\(s\) \(shape=\(0, 1\)\) while a minimum of 1 is required"):
        open_source(tmp_path / "g.zarr")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b"", "not JSON at character 0 of 0"),
        (b'{"shape": [10', "not JSON at character 13 of 13"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"node_type": "array", "zarr_format": 2}', "not Zarr format 3"),
        (b'{"node_type": "array", "zarr_format": 3, "shape": [-1]}', r"shape is \[-1\]"),
        (b'{"node_type": "array", "zarr_format": 3, "shape": ["x"]}', "shape is"),
        (b'{"node_type": "array", "zarr_format": 3, "shape": [5], "codecs": 7}', "codecs is not a list"),
        (b'{"node_type": "array", "zarr_format": 3, "shape": [5], "data_type": "float64"}', "not understood"),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=range(10),
)
def test_damaged_metadata_is_said_with_its_file(store, damage, said):
    (store / "bt" / "zarr.json").write_bytes(damage)
    with pytest.raises(SchemaError, match=said) as caught:
        open_source(store)
    assert "bt" in str(caught.value)


def test_two_formats_at_once_are_refused(store):
    (store / "bt" / ".zarray").write_text("{}")
    with pytest.raises(SchemaError, match=r"two formats at once \(\.zarray, zarr\.json\)"):
        open_source(store)


@pytest.mark.parametrize("shape", [[2**62], [2**41]])
def test_an_absurd_shape_is_not_believed(store, shape):
    edit(store / "bt" / "zarr.json", lambda document: document.update(shape=shape))
    with pytest.raises(SchemaError, match="not believed"):
        open_source(store, features=["bt"])


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


EVIL = {"name": "evil", "configuration": {}}
GOOD = [{"name": "bytes", "configuration": {"endian": "little"}}]


def sharded(inner, index):
    return [{"name": "sharding_indexed", "configuration": {"chunk_shape": [8], "codecs": inner, "index_codecs": index}}]


@pytest.mark.parametrize(
    "codecs",
    [
        [EVIL, *GOOD],
        [*GOOD, EVIL],
        [*GOOD, "evil"],
        [*GOOD, {"name": "numcodecs.pickle"}],
        [*GOOD, {"name": "vlen-utf8"}],
        [*GOOD, {}],
        [*GOOD, 7],
        sharded([*GOOD, EVIL], GOOD),
        sharded(GOOD, [*GOOD, EVIL]),
        sharded(sharded([*GOOD, EVIL], GOOD), GOOD),
    ],
)
def test_a_codec_beyond_the_list_is_refused_before_it_is_looked_up(store, codecs, monkeypatch):
    monkeypatch.setattr(zarr, "open_array", refuse_to_open)
    edit(store / "bt" / "zarr.json", lambda document: document.update(codecs=codecs))
    with pytest.raises(SecurityError, match=r"not on the list of codecs that cannot run code: .*zstd"):
        open_source(store, features=["bt"])


def refuse_to_open(*args, **kwargs):
    raise AssertionError("the array was opened before its codecs were checked")


@pytest.mark.parametrize(
    "change",
    [
        {"filters": [{"id": "pickle"}]},
        {"filters": [{"id": "delta", "dtype": "<f8"}, {"id": "pickle"}]},
        {"filters": [{"id": "json2"}]},
        {"compressor": {"id": "pickle", "protocol": 5}},
        {"compressor": {"id": "msgpack2"}},
    ],
)
def test_a_filter_of_format_2_beyond_the_list_is_refused(tmp_path, change, monkeypatch):
    zarr.create_array(tmp_path / "a.zarr", shape=(5, 2), dtype="f8", zarr_format=2)[:] = 1
    edit(tmp_path / "a.zarr" / ".zarray", lambda document: document.update(change))
    monkeypatch.setattr(zarr, "open_array", refuse_to_open)
    with pytest.raises(SecurityError, match=r"pickle|json2|msgpack2"):
        open_source(tmp_path / "a.zarr")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_codecs_of_an_array_that_the_caller_opened_are_checked_too():
    from numcodecs import Pickle  # noqa: PLC0415  only here

    array = zarr.create_array(MemoryStore(), shape=(5, 2), dtype="f8", zarr_format=2, filters=[Pickle()])
    with pytest.raises(SecurityError, match="codec 'pickle'"):
        as_source(array)


def test_columns_that_are_not_asked_for_do_not_matter(store):
    edit(store / "n" / "zarr.json", lambda document: document.update(codecs=[EVIL], shape=[7]))
    assert open_source(store, features=["bt"]).n_rows == N


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "..", "a\\b"])
def test_column_names_that_lead_out_of_the_store_are_refused(store, name):
    for options in ({"features": [name]}, {"weight": name}):
        with pytest.raises(SecurityError, match="could lead out"):
            open_source(store, **options)


def test_a_column_that_is_a_link_out_of_the_store_is_refused(store, tmp_path):
    shutil.move(store / "bt", tmp_path / "elsewhere")
    (store / "bt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecurityError, match="a link that leads out of the store"):
        open_source(store, features=["bt"])


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    for name in ("B", "b", "caf\u00e9", "cafe\u0301"):
        group.create_array(name, shape=(5,), dtype="f8")[:] = 1
    for features in (None, ["B", "b"], ["caf\u00e9", "cafe\u0301"]):
        with pytest.raises(SchemaError, match="differ only in case or Unicode form"):
            open_source(tmp_path / "g.zarr", features=features)
    assert open_source(tmp_path / "g.zarr", features=["b", "caf\u00e9"]).n_features == 2


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_text_columns_are_passed_over_or_refused_by_name(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("a", shape=(5,), dtype="f8")[:] = 1
    group.create_array("name", shape=(5,), dtype=str)[:] = "x"
    group.create_array("when", shape=(5,), dtype="M8[s]")
    assert open_source(tmp_path / "g.zarr").feature_names == ("a",)
    for name in ("name", "when"):
        with pytest.raises(SchemaError, match=f"column '{name}' has data type .*float64 are accepted"):
            open_source(tmp_path / "g.zarr", features=[name])


def test_a_complex_column_is_refused_by_name(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("a", shape=(5,), dtype="c16")[:] = 1
    with pytest.raises(SchemaError, match="Complex data not supported: column 'a'"):
        open_source(tmp_path / "g.zarr", features=["a"])


def test_a_group_or_a_table_is_no_column(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("a", shape=(5, 2), dtype="f8")
    group.create_group("more")
    with pytest.raises(SchemaError, match=r"column 'a' has shape \(5, 2\)"):
        open_source(tmp_path / "g.zarr", features=["a"])
    with pytest.raises(SchemaError, match="'more' is a group"):
        open_source(tmp_path / "g.zarr", features=["more"])


def test_an_absent_chunk_of_a_store_of_ours_is_an_error(store):
    (store / "bt" / "c" / "3").unlink()
    with pytest.raises(
        ChunkMissingError, match=r"column 'bt': chunk c/3 is not in the store; rows 192 to 255 would be read as fill value nan.*damaged"
    ):
        open_source(store)
    assert open_source(store, features=["pmra", "n"]).n_rows == N


def test_an_absent_chunk_of_another_store_is_a_warning(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(100, 2), chunks=(10, 2), dtype="f8")
    array[:50] = 1
    with pytest.warns(
        UserWarning, match=r"chunk c/5/0 is not in the store \(5 of 10 chunks are absent\); rows 50 to 59 would be read as fill value 0\.0"
    ):
        open_source(tmp_path / "a.zarr")


@pytest.mark.parametrize("damage", ["cut", "empty", "zeroed", "flipped"])
def test_a_damaged_chunk_is_said_with_its_rows(store, damage):
    chunk = store / "bt" / "c" / "3"
    raw = bytearray(chunk.read_bytes())
    raw[len(raw) // 2] ^= 4
    chunk.write_bytes({"cut": raw[:-9], "empty": b"", "zeroed": bytes(len(raw)), "flipped": bytes(raw)}[damage])
    source = open_source(store, block_rows=64)
    assert source.read(2).n_rows == 64
    for _ in range(2):
        with pytest.raises(
            ChunkCorruptError, match=r"column 'bt': chunk c/3, rows 192 to 255, cannot be decoded or is not what was written"
        ):
            source.read(3)


def test_a_folder_in_the_place_of_a_chunk_is_no_chunk(store):
    (store / "bt" / "c" / "3").unlink()
    (store / "bt" / "c" / "3").mkdir()
    with pytest.raises(DataError, match="column 'bt': chunk c/3 is not in the store"):
        open_source(store)


def test_a_refused_read_is_a_storage_error(monkeypatch):
    array, store = counted_array(chunks=(100, 3))
    source = as_source(array)

    get = store.get

    async def refused(key, *args, **kwargs):
        if "c/" in key:
            raise PermissionError(13, "Permission denied")
        return await get(key, *args, **kwargs)

    monkeypatch.setattr(store, "get", refused)
    with pytest.raises(StorageError, match=r"rows 0 to 999 cannot be read: .*Permission denied"):
        source.read(0)


def test_stores_with_a_path_travel_and_stores_in_memory_send_their_rows(store):
    on_disk = open_source(store, block_rows=10)
    assert isinstance(on_disk.portable(0, 2), ZarrColumnsSource)
    assert len(pickle.dumps(on_disk.portable(0, 2))) < 10_000
    group, _ = counted_columns(chunks=(64,))
    piece = as_source(group, block_rows=10).portable(3, 5)
    assert isinstance(piece, NumpyArraySource)
    assert piece.array.shape == (20, 3)
    assert piece.read(4).x.tobytes() == TABLE[40:50].tobytes()


def test_a_relative_path_is_made_absolute_before_it_travels(store, monkeypatch):
    monkeypatch.chdir(store.parent)
    source = open_source("stars.zarr")
    assert isinstance(source.arrays[0].store, LocalStore)
    assert source.arrays[0].store.root.is_absolute()


def test_large_integers_are_refused_beside_columns_of_floats(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("a", shape=(5,), dtype="f8")[:] = 1
    group.create_array("source_id", shape=(5,), dtype="i8")[:] = 2**60
    with pytest.raises(DataError, match=r"column 'source_id' holds integers beyond 2\*\*53"):
        open_source(tmp_path / "g.zarr").read(0)


def test_weights_in_a_1d_zarr_array(store):
    w = zarr.create_array(MemoryStore(), shape=(N,), chunks=(77,), dtype="f4")
    w[:] = np.arange(N)
    source = as_source(open_source(store), sample_weight=w, block_rows=100)
    assert source.read(2).sample_weight.tolist() == list(range(200, 300))


def test_features_must_be_a_list_of_names(store):
    with pytest.raises(ConfigError, match="got the text 'pmra'"):
        open_source(store, features="pmra")
    with pytest.raises(ConfigError, match="at least one column"):
        open_source(store, features=[])


def test_a_store_that_cannot_be_listed_opens_by_its_list_of_columns(store, monkeypatch):
    async def refused(self, prefix):
        raise OSError(95, "listing is not supported")
        yield

    monkeypatch.setattr(LocalStore, "list_dir", refused)
    assert open_source(store).feature_names == ("pmra", "bt", "n")
    assert open_source(store, features=["n"]).n_rows == N
    with pytest.raises(SchemaError, match="no column 'pm'"):
        open_source(store, features=["pm", "n"])
    edit(store / "zarr.json", lambda document: document["attributes"].pop("columns"))
    with pytest.raises(StorageError, match="listing is not supported"):
        open_source(store)


def test_a_listed_column_cannot_lead_out_of_the_store(store):
    edit(store / "zarr.json", lambda document: document["attributes"].update(columns=["bt", "../other"]))
    with pytest.raises(SecurityError, match="could lead out"):
        open_source(store)
