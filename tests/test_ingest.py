"""Ingest: what comes out equals what went in, whatever the files, row groups and spellings; what does not fit is refused by name."""

import gzip
import hashlib
import os
import subprocess
import sys
import textwrap
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import xarray as xr

from streamgmm.errors import ConfigError, DataError, SchemaError, StorageError
from streamgmm.ingest import ingest


def tree_hash(folder):
    """SHA-256 of names and contents of all files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


def opened(path):
    return xr.open_zarr(path, consolidated=False, chunks=None).load()


def stored(tmp_path, files, **options):
    """Ingest and open: the report and the dataset."""
    report = ingest(files, tmp_path / "out.zarr", overwrite=True, **options)
    return report, opened(report.path)


def text_file(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def small_blocks(monkeypatch):
    """What is a million rows later in real files is a hundred rows later here."""
    monkeypatch.setattr("streamgmm.formats.csv.BLOCK_BYTES", 1000)
    monkeypatch.setattr("streamgmm.formats.csv.SAMPLE_BYTES", 1000)


def parquet_file(path, columns, **options):
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


@pytest.fixture
def stars(rng):
    """A table with the traps of catalogues."""
    n = 1000
    return pa.table({
        "source_id": pa.array(4_295_806_720 * 10**9 + np.arange(n)),
        "ra": pa.array(rng.uniform(0, 360, n)),
        "mag": pa.array(rng.normal(12, 1, n).astype("f4"), mask=np.arange(n) % 10 == 3),
        "solved": pa.array(rng.choice([3, 31, 95], n).astype("i2")),
        "transits": pa.array(rng.integers(0, 9, n).astype("i2"), mask=np.arange(n) % 100 == 0),
        "variable": pa.array(rng.random(n) < 0.5),
        "duplicated": pa.array(rng.random(n) < 0.5, mask=np.arange(n) == 999),
        "name": pa.array([f"star {i}" for i in range(n)]),
    })  # fmt: skip


# ---- Parquet ------------------------------------------------------------------------------------------------------------------


def test_parquet_keeps_dtypes_and_nulls_become_nan(tmp_path, stars):
    report, dataset = stored(tmp_path, parquet_file(tmp_path / "a.parquet", stars))
    dtypes = {name: str(dataset[name].dtype) for name in report.columns}
    assert dtypes == {
        "source_id": "int64",
        "ra": "float64",
        "mag": "float32",
        "solved": "int16",
        "transits": "float64",
        "variable": "uint8",
        "duplicated": "float64",
    }
    assert report.nulls == {**dict.fromkeys(report.columns, 0), "mag": 100, "transits": 10, "duplicated": 1}
    assert list(report.left_out) == ["name"]
    assert (report.rows, report.path) == (1000, tmp_path / "out.zarr")
    assert report.bytes == sum(file.stat().st_size for file in report.path.rglob("*") if file.is_file())
    for name in report.columns:
        expected = stars[name].to_numpy() if stars[name].null_count == 0 else stars[name].cast("float64").to_numpy()
        np.testing.assert_array_equal(dataset[name].values, expected.astype(dtypes[name]))


@pytest.mark.parametrize("options", [{"row_group_size": 1}, {"row_group_size": 333}, {"write_statistics": False}, {"compression": "zstd"}])
def test_how_parquet_is_laid_out_does_not_matter(tmp_path, stars, options):
    plain = ingest(parquet_file(tmp_path / "a.parquet", stars), tmp_path / "a.zarr")
    other = ingest(parquet_file(tmp_path / "b.parquet", stars, **options), tmp_path / "b.zarr")
    assert tree_hash(plain.path) == tree_hash(other.path)


def test_two_ingests_and_many_files_give_the_same_bytes(tmp_path, stars):
    one = ingest(parquet_file(tmp_path / "all.parquet", stars), tmp_path / "one.zarr", chunk_rows=256)
    again = ingest(tmp_path / "all.parquet", tmp_path / "again.zarr", chunk_rows=256)
    parts = [parquet_file(tmp_path / f"part{first:04}.pq", stars.slice(first, 300)) for first in range(0, 1000, 300)]
    several = ingest(parts, tmp_path / "several.zarr", chunk_rows=256)
    pattern = ingest(str(tmp_path / "part*.pq"), tmp_path / "pattern.zarr", chunk_rows=256)
    assert len({tree_hash(report.path) for report in (one, again, several, pattern)}) == 1


def test_a_folder_in_the_layout_of_hats_gives_its_rows_once(tmp_path, stars):
    folder = tmp_path / "hats" / "dataset" / "Norder=1" / "Dir=0"
    folder.mkdir(parents=True)
    for pixel in (3, 4):
        parquet_file(folder / f"Npix={pixel}.parquet", stars.slice(500 * (pixel - 3), 500))
    for name in ("_metadata", "_common_metadata", "data_thumbnail.parquet"):
        parquet_file(tmp_path / "hats" / "dataset" / name, stars.slice(0, 5))
    text_file(tmp_path / "hats" / "partition_info.csv", "Norder,Npix\n1,3\n1,4\n")
    report, dataset = stored(tmp_path, tmp_path / "hats")
    assert report.rows == 1000
    np.testing.assert_array_equal(dataset.ra, stars["ra"])


def test_other_numbers_of_parquet(tmp_path):
    table = {
        "half": pa.array(np.array([1.5, 2.5], "f2")),
        "price": pa.array([Decimal("1.25"), None]),
        "big": pa.array(np.array([2**64 - 1, 0], "u8")),
        "nothing": pa.array([None, None], "f8"),
    }
    report, dataset = stored(tmp_path, parquet_file(tmp_path / "a.parquet", table))
    assert [str(dataset[name].dtype) for name in report.columns] == ["float16", "float64", "uint64", "float64"]
    assert int(dataset.big[0]) == 2**64 - 1
    assert report.nulls == {"half": 0, "price": 1, "big": 0, "nothing": 2}


def test_columns_are_chosen_in_the_order_named(tmp_path, stars):
    report, dataset = stored(tmp_path, parquet_file(tmp_path / "a.parquet", stars), columns=["mag", "ra"])
    assert report.columns == ("mag", "ra")
    assert dataset.attrs["columns"] == ["mag", "ra"]
    assert report.left_out == {}


def test_units_come_from_the_file_and_yield_to_those_given(tmp_path):
    schema = pa.schema(
        [
            pa.field("pmra", "f8", metadata={"unit": "mas/yr"}),
            pa.field("mag", "f8", metadata={"units": "mag"}),
            pa.field("ruwe", "f8"),
        ]
    )
    path = parquet_file(tmp_path / "a.parquet", pa.table({"pmra": [1.0], "mag": [2.0], "ruwe": [3.0]}, schema=schema))
    _, dataset = stored(tmp_path, path, units={"mag": "mmag"})
    assert [dataset[name].attrs.get("units") for name in ("pmra", "mag", "ruwe")] == ["mas/yr", "mmag", None]


# ---- CSV ----------------------------------------------------------------------------------------------------------------------

CSV_TEXT = "name,n,x,flag\nA,1,0.5,true\nB,2,null,false\nC,3,1e3,\n"


def test_csv_numbers_are_float64_and_null_spellings_nan(tmp_path):
    report, dataset = stored(tmp_path, text_file(tmp_path / "a.csv", CSV_TEXT))
    assert report.columns == ("n", "x", "flag")
    assert {str(dataset[name].dtype) for name in report.columns} == {"float64"}
    np.testing.assert_array_equal(dataset.x, [0.5, np.nan, 1000])
    np.testing.assert_array_equal(dataset.flag, [1, 0, np.nan])
    assert report.nulls == {"n": 0, "x": 1, "flag": 1}
    assert "'A'" in report.left_out["name"]


def test_gzip_carriage_returns_byte_order_marks_and_comments_change_nothing(tmp_path):
    plain = ingest(text_file(tmp_path / "a.csv", CSV_TEXT), tmp_path / "a.zarr")
    variants = {
        "b.csv.gz": CSV_TEXT,
        "c.CSV": CSV_TEXT.replace("\n", "\r\n"),
        "d.csv": b"\xef\xbb\xbf" + CSV_TEXT.encode(),
        "e.csv.gz": "# %ECSV 1.0\n# ---\n# datatype:\n" + CSV_TEXT,
        "f.csv": CSV_TEXT + "\n",
        "g.csv": CSV_TEXT[:-1],
    }
    for name, text in variants.items():
        report = ingest(text_file(tmp_path / name, text), tmp_path / f"{name}.zarr")
        assert tree_hash(report.path) == tree_hash(plain.path), name


def test_gzip_files_of_several_members_are_read_to_the_end(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n3\n"))
    assert stored(tmp_path, tmp_path / "a.csv.gz")[1].a.values.tolist() == [1, 2, 3]


def test_a_column_of_integers_may_hold_fractions_and_nulls_later(tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    path = text_file(tmp_path / "a.csv", "i,j\n" + "1,1\n" * 5000 + "0.5,null\n")
    report, dataset = stored(tmp_path, path)
    assert report.rows == 5001
    assert dataset.i.values[-1] == 0.5
    assert report.nulls == {"i": 0, "j": 1}


def test_identifiers_beyond_exact_float64_stay_integers(tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    rows = "".join(f"{2**62 + i},{i}\n" for i in range(500))
    _, dataset = stored(tmp_path, text_file(tmp_path / "a.csv", "id,x\n" + rows))
    assert dataset.id.dtype == np.int64
    assert dataset.id.values.tolist() == [2**62 + i for i in range(500)]
    with pytest.raises(SchemaError, match=r"'id'.*nulls.*naming the columns"):
        stored(tmp_path, text_file(tmp_path / "b.csv", "id,x\n" + rows + "null,1\n"))
    with pytest.raises(SchemaError, match=r"'id'.*'1\.5'"):
        stored(tmp_path, text_file(tmp_path / "c.csv", "id,x\n" + rows + "1.5,1\n"))


def test_text_that_comes_late_is_refused_with_column_row_and_value(tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    path = text_file(tmp_path / "a.csv", "a,b,c\n" + "1,2,3\n" * 900 + "1,2,N/A\n")
    with pytest.raises(SchemaError, match=r"a\.csv: column 'c': Row #902.*'N/A'.*null_values"):
        stored(tmp_path, path)
    report, _ = stored(tmp_path, path, null_values=["N/A"])
    assert report.nulls["c"] == 1


def test_a_column_empty_at_first_is_a_number_later(tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    report, dataset = stored(tmp_path, text_file(tmp_path / "a.csv", "a,b\n" + "1,\n" * 900 + "1,2.5\n"))
    assert report.nulls["b"] == 900
    assert dataset.b.values[-1] == 2.5


def test_nan_and_infinity_spelled_out(tmp_path):
    _, dataset = stored(tmp_path, text_file(tmp_path / "a.csv", "a,b\nnan,inf\n1,-inf\n"))
    np.testing.assert_array_equal(dataset.a, [np.nan, 1])
    np.testing.assert_array_equal(dataset.b, [np.inf, -np.inf])


def test_a_column_without_a_name_is_left_out(tmp_path):
    report, _ = stored(tmp_path, text_file(tmp_path / "a.csv", ",x\n0,1.5\n1,2.5\n"))
    assert report.columns == ("x",)
    assert report.left_out == {"": "it has no name"}


def test_quoted_commas_and_line_ends_belong_to_their_field(tmp_path):
    _, dataset = stored(tmp_path, text_file(tmp_path / "a.csv", 'note,x\n"a, b\nc",1\n"d",2\n'))
    assert dataset.x.values.tolist() == [1, 2]


def test_parts_that_hold_no_rows_are_passed_over(tmp_path):
    files = [text_file(tmp_path / f"{i}.csv", text) for i, text in enumerate(["a,b\n1,2\n", "a,b\n", "b,c,a\n5,6,4\n"])]
    assert stored(tmp_path, files)[1].a.values.tolist() == [1, 4]


def test_csv_and_parquet_agree(tmp_path, stars):
    names = ["ra", "mag", "solved"]
    frame = stars.select(names).to_pandas()
    frame.to_csv(tmp_path / "a.csv", index=False)
    _, of_csv = stored(tmp_path, tmp_path / "a.csv")
    _, of_parquet = stored(tmp_path, parquet_file(tmp_path / "a.parquet", stars.select(names)))
    for name in names:
        np.testing.assert_array_equal(of_csv[name].values.astype(of_parquet[name].dtype), of_parquet[name].values)


# ---- what is refused ----------------------------------------------------------------------------------------------------------


def refused(tmp_path, files, error, text, **options):
    with pytest.raises(error, match=text):
        ingest(files, tmp_path / "out.zarr", **options)
    assert [path for path in tmp_path.iterdir() if "out.zarr" in path.name] == []


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DataError, "Empty CSV"),
        ("a,b\n", DataError, "no rows"),
        ("a,b", DataError, "Empty CSV"),
        ("a,b\n1,2\n3\n", DataError, r"Row #3: Expected 2 columns, got 1"),
        ("a,b\n1,2\n3,4,5\n", DataError, r"Row #3: Expected 2 columns, got 3"),
        ("a,b,a\n1,2,3\n", SchemaError, r"used twice: \['a'\]"),
        ("a;b\n1;2\n", SchemaError, r"no numeric columns among 'a;b'"),
        ("a,b\n1,2\n".encode("utf-16"), DataError, r"a\.csv"),
        (b"a,n\xe9\n1,2\n", DataError, r"a\.csv: .*utf-8"),
        ("x,X\n1,2\n", SchemaError, "differ only in case"),
    ],
)
def test_broken_csv_is_refused(tmp_path, text, error, message):
    refused(tmp_path, text_file(tmp_path / "a.csv", text), error, message)


@pytest.mark.parametrize("damage", ["cut", "flip", "plain"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    data = bytearray(gzip.compress(b"a,b\n" + b"1.5,2.5\n" * 100_000))
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "flip":
        data[-6] ^= 1
    else:
        data = bytearray(b"a,b\n1,2\n")
    (tmp_path / "a.csv.gz").write_bytes(data)
    refused(tmp_path, tmp_path / "a.csv.gz", DataError, r"a\.csv\.gz")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n" * 10])
def test_broken_parquet_is_refused(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    refused(tmp_path, tmp_path / "a.parquet", DataError, r"a\.parquet")


def test_parquet_cut_short_and_without_rows(tmp_path, stars):
    path = parquet_file(tmp_path / "a.parquet", stars)
    path.write_bytes(path.read_bytes()[:-100])
    refused(tmp_path, path, DataError, r"a\.parquet")
    refused(tmp_path, parquet_file(tmp_path / "b.parquet", stars.slice(0, 0)), DataError, "no rows")


def test_columns_that_cannot_be_had(tmp_path, stars):
    path = parquet_file(tmp_path / "a.parquet", stars)
    refused(tmp_path, path, SchemaError, r"no column 'magg'; did you mean 'mag'\?.*Columns: source_id", columns=["magg"])
    refused(tmp_path, path, SchemaError, r"'name' cannot be stored: its type is string", columns=["ra", "name"])
    refused(tmp_path, path, SchemaError, r"used twice: \['ra'\]", columns=["ra", "ra"])
    refused(tmp_path, path, SchemaError, r"unit for a column .* 'maag'; did you mean 'mag'", units={"maag": "mag"})
    refused(tmp_path, text_file(tmp_path / "a.csv", "s,x\nA,1\n"), SchemaError, r"'s' cannot be stored: .*'A'", columns=["s"])
    refused(tmp_path, parquet_file(tmp_path / "s.parquet", {"s": ["a"]}), SchemaError, r"no numeric columns among 's'")


def test_nulls_among_integers_that_no_float_holds(tmp_path):
    csv = text_file(tmp_path / "a.csv", f"id,x\n{2**53 + 1},1\n,2\n")
    refused(tmp_path, csv, SchemaError, r"'id' cannot be stored: it holds nulls and integers beyond", columns=["id"])
    assert list(ingest(csv, tmp_path / "rest.zarr").left_out) == ["id"]
    path = parquet_file(tmp_path / "a.parquet", {"id": pa.array([2**53 + 1, None])})
    refused(tmp_path, path, SchemaError, r"'id' \(int64\) does not convert to float64")


def test_files_with_other_columns_are_named(tmp_path):
    first = parquet_file(tmp_path / "a.parquet", {"x": [1.0], "y": [2.0]})
    refused(tmp_path, [first, parquet_file(tmp_path / "b.parquet", {"x": [1.0]})], SchemaError, r"b\.parquet: no column 'y'")
    narrow = parquet_file(tmp_path / "c.parquet", {"x": [1.0], "y": pa.array([2.0], "f4")})
    refused(tmp_path, [first, narrow], SchemaError, r"c\.parquet: column 'y' is float, in .*a\.parquet it is double")
    report, _ = stored(tmp_path, [first, narrow], columns=["x"])
    assert report.rows == 2
    report.path.rename(tmp_path / "kept")
    one, two = text_file(tmp_path / "a.csv", "x,y\n1,2\n"), text_file(tmp_path / "b.csv", "x,z\n1,2\n")
    refused(tmp_path, [one, two], SchemaError, r"b\.csv: no column 'y'")


def test_files_that_cannot_be_read(tmp_path):
    csv = text_file(tmp_path / "stars.csv", "x\n1\n")
    refused(tmp_path, tmp_path / "star.csv", DataError, r"no such file.*did you mean 'stars.csv'")
    refused(tmp_path, str(tmp_path / "*.parquet"), DataError, "no such file")
    refused(tmp_path, [], ConfigError, "no input files")
    refused(tmp_path, [csv, tmp_path / "." / "stars.csv"], ConfigError, "given twice")
    refused(tmp_path, text_file(tmp_path / "a.fits", ""), ConfigError, r"a\.fits: the name does not tell.*\.csv\.gz")
    refused(tmp_path, [csv, parquet_file(tmp_path / "a.parquet", {"x": [1.0]})], ConfigError, "two formats")
    (tmp_path / "empty").mkdir()
    refused(tmp_path, tmp_path / "empty", DataError, "no files of a known format")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path, tmp_path / "pipe.csv", DataError, "neither a file nor a folder")


def test_a_file_without_permission_is_a_storage_error(tmp_path, monkeypatch):
    csv = text_file(tmp_path / "a.csv", "x\n1\n")
    csv.chmod(0)
    if os.getuid() == 0:  # root may read anything: only the answer can be made

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied", str(csv))

        monkeypatch.setattr("pyarrow.input_stream", refuse)
    refused(tmp_path, csv, StorageError, r"cannot read .*a\.csv: .*Permission denied")


def test_output_and_input_must_not_overlap(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    csv = text_file(folder / "a.csv", "x\n1\n")
    for files, out in ((csv, csv), (folder, folder / "out.zarr"), (folder, folder)):
        with pytest.raises(ConfigError, match="overlap") as caught:
            ingest(files, out)
        assert str(out.resolve()) in str(caught.value)
    inside = ingest(csv, tmp_path / "store.zarr").path / "b.csv"
    text_file(inside, "x\n1\n")
    with pytest.raises(ConfigError, match="overlap"):
        ingest(inside, tmp_path / "store.zarr", overwrite=True)
    assert ingest(csv, folder / "beside.zarr").rows == 1


def test_an_output_that_cannot_be_written_is_refused_before_the_input_is_read(tmp_path, monkeypatch):
    csv = text_file(tmp_path / "a.csv", "x\n1\n")
    monkeypatch.setattr("pyarrow.input_stream", lambda *args, **kwargs: pytest.fail("the input was read"))
    with pytest.raises(StorageError, match="ENOENT"):
        ingest(csv, tmp_path / "none" / "out.zarr")
    (tmp_path / "out.zarr").mkdir()
    with pytest.raises(ConfigError, match="--overwrite"):
        ingest(csv, tmp_path / "out.zarr")


# ---- while it goes on ---------------------------------------------------------------------------------------------------------


def test_progress_is_told(tmp_path, stars):
    seen = []
    path = parquet_file(tmp_path / "a.parquet", stars, row_group_size=400)
    stored(tmp_path, [path], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1000, 1000)
    assert seen == sorted(seen)
    seen.clear()
    stored(tmp_path, text_file(tmp_path / "a.csv", CSV_TEXT), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, None)]


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(text_file(tmp_path / "a.csv", CSV_TEXT), tmp_path / "out.zarr", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.memory
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, rng, suffix):
    table = pa.table({name: rng.normal(size=50_000) for name in "abcd"})
    files = {n: tmp_path / f"{n}{suffix}" for n in (20, 80)}
    for n, path in files.items():
        whole = pa.concat_tables([table] * n)
        pa_csv.write_csv(whole.slice(0, n * 15_000), path) if suffix == ".csv" else pq.write_table(whole, path, row_group_size=200_000)
    code = """
        import resource, sys
        from streamgmm.ingest import ingest
        ingest(sys.argv[2], sys.argv[1])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """
    peaks = []
    for n, path in files.items():
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / f"{n}.zarr"), str(path)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
    sizes = [path.stat().st_size // 2**20 for path in files.values()]
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 2, f"peak MiB {peaks} for files of {sizes} MiB"


# ---- real files ---------------------------------------------------------------------------------------------------------------


def test_gaia_with_every_column(tmp_path, shared_data):
    report, dataset = stored(tmp_path, shared_data / "gaia-dr3-cone")
    assert (report.rows, len(report.columns)) == (2390, 150)
    assert set(report.left_out) == {"DESIGNATION", "phot_variable_flag", "libname_gspphot"}
    assert {name: report.nulls[name] for name in ("pmra", "bp_rp", "radial_velocity", "ra")} == {
        "pmra": 375,
        "bp_rp": 34,
        "radial_velocity": 2209,
        "ra": 0,
    }
    solved, counts = np.unique(dataset.astrometric_params_solved, return_counts=True)
    assert dict(zip(solved.tolist(), counts.tolist(), strict=True)) == {3: 375, 31: 1142, 95: 873}


def test_hipparcos(tmp_path, shared_data):
    report, _ = stored(tmp_path, shared_data / "hipparcos-parquet" / "stars.hipparcos.parquet", units={"bv": "mag"})
    assert report.rows == 118_218
    assert (report.nulls["magnitude"], report.nulls["parallax_mas"], report.nulls["bv"]) == (1, 263, 1281)


def test_three_pixels_of_gaia_as_csv(tmp_path, shared_data):
    report, dataset = stored(tmp_path, str(shared_data / "gaia-dr2-pixels" / "*.csv"))
    assert report.rows == 4028 + 3368 + 4256
    assert dataset.source_id.dtype == np.int64
    assert sum(report.nulls.values()) == 0


def test_weather_with_many_nulls(tmp_path, shared_data):
    report, _ = stored(tmp_path, shared_data / "nyc-weather" / "weather.csv")
    assert report.rows == 26_115
    assert {name: count for name, count in report.nulls.items() if count} == {
        "wind_gust": 20_778,
        "pressure": 2729,
        "wind_dir": 460,
        "wind_speed": 4,
        "temp": 1,
        "dewp": 1,
        "humid": 1,
    }
