"""Rows D17 to D20 and D34 to D36 of the catalogue of bad input: how a table is laid out, and what numbers in it may mean."""

# ruff: noqa: N802  the rows of the catalogue have capital letters

import json
import warnings

import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
import xarray as xr
import zarr
from pyarrow import parquet

from streamgmm import GaussianMixture, cautions, commands, open_source
from streamgmm.commands.where import Where
from streamgmm.errors import DataError, SchemaError, exit_code
from streamgmm.initialisers._sample import Sample
from streamgmm.sources import _zarr_open, as_source
from tests.bad_input.test_stores import ROWS, edit, foreign, warned_by

N = len(ROWS)
FIT = {"n_components": 2, "init": "random", "tol": 0.0, "max_iter": 3, "block_rows": 256, "where": Where(executor="serial")}


def model_of(table, tmp_path):
    """The hash of the model of these rows: of their values alone, were it not for what the model says of where they came from."""
    gm = GaussianMixture(2, random_state=0, max_iter=3, tol=0.0, init_params="random", block_rows=256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gm.fit(table)
    assert gm.n_features_in_ == 2
    arrays = [gm.weights_, gm.means_, gm.covariances_, np.array(gm.lower_bounds_)]
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.parametrize("order", ["<f8", ">f8"])
@pytest.mark.parametrize("fill", [0.0, -9999.0])
def test_D17_byte_order_and_fill_value_change_no_bit(order, fill, tmp_path):
    """D17."""
    group = zarr.create_group(tmp_path / "x.zarr", zarr_format=2)
    for j, name in enumerate("ab"):
        group.create_array(name, shape=(N,), dtype=order, chunks=(64,), fill_value=fill)[:] = ROWS[:, j]
    assert model_of(open_source(tmp_path / "x.zarr"), tmp_path) == model_of(ROWS, tmp_path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_D17_the_order_of_axes_changes_no_bit(order, tmp_path):
    """D17."""
    array = zarr.create_array(tmp_path / "x.zarr", shape=ROWS.shape, chunks=(64, 2), dtype=">f8", zarr_format=2, order=order)
    array[:] = ROWS
    assert model_of(open_source(tmp_path / "x.zarr"), tmp_path) == model_of(ROWS, tmp_path)
    assert model_of(np.array(ROWS, order=order, dtype=">f8"), tmp_path) == model_of(ROWS, tmp_path)


def cautions_of(column):
    """What is said of the second of two columns."""
    x = np.column_stack([ROWS[: len(column), 0], column])
    source = as_source(xr.Dataset({"a": ("row", x[:, 0]), "b": ("row", x[:, 1])}))
    return [event for event in cautions.cautions(Sample(x, np.ones(len(x)), True), source, 2) if event.details["column"] == "b"]


@pytest.mark.parametrize("value", [-9999.0, 99.0, 999.9])
def test_D18_a_placeholder_is_told_with_its_share(value, tmp_path):
    """D18: in how many rows of which column; the fit goes on."""
    magnitudes = 15 + ROWS[:, 1]
    magnitudes[::50] = value
    (event,) = cautions_of(magnitudes)
    assert event.kind == "warning"
    assert event.details["share"] == pytest.approx(0.02)
    for part in ("column 'b'", f"{value:.9g}", "2.0%", "missing='skip'"):
        assert part in event.message
    with pytest.warns(UserWarning, match="far from all its other values"):
        GaussianMixture(1).fit(np.column_stack([ROWS[:, 0], magnitudes]))


def test_D18_what_is_no_placeholder_is_not_told():
    """D18: no warning for outliers, flags, classes, repeated values among others and plain columns."""
    rng = np.random.default_rng(0)
    outlier, repeated = 15 + ROWS[:, 1], 15 + ROWS[:, 1]
    outlier[:9] = 1e6
    repeated[::20] = 15.0
    flags, classes, counts = rng.integers(0, 2, N), rng.choice([1.0, 10.0, 1000.0], N), rng.poisson(0.2, N)
    for column in (outlier, repeated, flags, classes, counts, ROWS[:, 1], np.zeros(N)):
        assert cautions_of(np.asarray(column, float)) == []


def test_D18_D35_without_the_looks_nothing_is_said(monkeypatch):
    """D18, D35: the guards taken out."""
    for look in ("_placeholders", "_seam"):
        monkeypatch.setattr(cautions, look, lambda name, column: ())
    magnitudes = 15 + ROWS[:, 1]
    magnitudes[::50] = -9999
    assert cautions_of(magnitudes) == cautions_of((ROWS[:, 1] * 2) % 360) == []


def test_D18_nulls_of_integers_are_missing_values_and_not_their_fill_value(tmp_path):
    """D18: a fill value NaN in an integer catalogue: a float column in the store, whose rows are left out and counted."""
    counts = [None if i % 20 == 0 else i % 7 for i in range(N)]
    parquet.write_table(pa.table({"a": ROWS[:, 0], "n": pa.array(counts, pa.int32())}), tmp_path / "x.parquet")
    commands.ingest([tmp_path / "x.parquet"], tmp_path / "x.zarr")
    facts = commands.fit(tmp_path / "x.zarr", tmp_path / "run", **FIT, missing="skip")
    assert facts["skipped"] == N // 20


def with_gaps(rows):
    rows = rows.copy()
    rows[100:160, 1] = np.nan
    return rows


def test_D19_rows_left_out_are_counted_in_events_and_model(tmp_path):
    """D19: count in the event, in the facts and in the model's provenance."""
    path = foreign(tmp_path / "x.zarr")
    zarr.open_array(path / "b")[:] = with_gaps(ROWS)[:, 1]
    events = []
    facts = commands.fit(path, tmp_path / "run", **FIT, missing="skip", observe=events.append)
    assert (facts["rows"], facts["skipped"]) == (N - 60, 60)
    (event,) = (event for event in events if event.kind == "skipped")
    assert "60" in event.message
    assert json.loads((tmp_path / "run/model.zarr/zarr.json").read_text())["attributes"]["provenance"]["skipped"] == 60


def test_D20_a_block_of_which_no_row_is_left_is_empty():
    """D20: and the others are fitted as if it were not there."""
    rows = ROWS.copy()
    rows[256:512] = np.nan
    gm = GaussianMixture(1, missing="skip", block_rows=256).fit(rows)
    assert gm.n_skipped_ == 256
    np.testing.assert_allclose(gm.means_, GaussianMixture(1).fit(np.delete(rows, slice(256, 512), axis=0)).means_, rtol=1e-12)


def test_D20_no_row_left_names_the_policy():
    """D20."""
    with pytest.raises(DataError, match=r"no row takes part.*missing='skip'") as refusal:
        GaussianMixture(2, missing="skip").fit(np.full((60, 2), np.nan))
    assert exit_code(refusal.value) == 4


def consolidated(path, zarr_format):
    """A store of two columns whose metadata are consolidated."""
    group = zarr.create_group(path, zarr_format=zarr_format)
    for j, name in enumerate("ab"):
        group.create_array(name, shape=(N,), dtype="f8", chunks=(64,))[:] = ROWS[:, j]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))
    return path


def told_of(path):
    """What opening a store says of its consolidated metadata."""
    return [str(warning.message) for warning in warned_by(path) if str(warning.message).startswith("the consolidated metadata of")]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_D34_consolidated_metadata_older_than_the_arrays(zarr_format, tmp_path):
    """D34: the arrays' own are used, and it is said."""
    path = consolidated(tmp_path / "x.zarr", zarr_format)
    assert told_of(path) == []
    zarr.open_array(path / "b", mode="r+").append(np.ones(10))
    zarr.open_array(path / "a", mode="r+").append(np.ones(10))
    (said,) = told_of(path)
    for part in ("older than its arrays", "a, b", "arrays' own metadata are used", str(path)):
        assert part in said
    with pytest.warns(UserWarning, match="the consolidated metadata of"):
        assert open_source(path).n_rows == N + 10


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("damage", [3, {"metadata": 3}, {"metadata": {"a": 1, "a/.zarray": []}}, "[" * 5000])
def test_D34_damaged_consolidated_metadata_are_not_used(zarr_format, damage, tmp_path):
    """D34."""
    path = consolidated(tmp_path / "x.zarr", zarr_format)
    if zarr_format == 2:
        (path / ".zmetadata").write_text(damage if isinstance(damage, str) else json.dumps(damage))
    else:
        edit(path / "zarr.json", lambda document: document.update(consolidated_metadata=damage))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert open_source(path).n_rows == N


def test_D34_without_the_comparison_nothing_is_said(tmp_path, monkeypatch):
    """D34: the guard taken out."""
    path = consolidated(tmp_path / "x.zarr", 3)
    for name in "ab":
        zarr.open_array(path / name, mode="r+").append(np.ones(10))
    monkeypatch.setattr(_zarr_open, "warn_outdated", lambda *_: None)
    assert told_of(path) == []


def test_D35_an_angle_on_both_sides_of_its_seam():
    """D35: column named; not for angles away from the seam, nor for numbers that are no angles."""
    ra = (ROWS[:, 1] * 2) % 360
    (event,) = cautions_of(ra)
    assert "column 'b' lies at both ends of [0, 360)" in event.message
    assert event.details["about"] == "seam"
    for column in (180 + ROWS[:, 1], ROWS[:, 1] * 2, np.abs(ROWS[:, 1]), 1000 * np.abs(ROWS[:, 1])):
        assert cautions_of(column) == []
    with pytest.warns(UserWarning, match="both ends"):
        GaussianMixture(1).fit(np.column_stack([ROWS[:, 0], ra]))


def test_D35_units_that_differ_between_files_are_refused(tmp_path):
    """D35: the same column in degrees here and in radians there is no column."""
    for name, unit in (("1", "deg"), ("2", "rad")):
        field = pa.field("a", pa.float64(), metadata={"unit": unit})
        parquet.write_table(pa.table([ROWS[:, 0]], schema=pa.schema([field])), tmp_path / f"{name}.parquet")
    files = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    for read in (lambda: commands.ingest(files, tmp_path / "x.zarr"), lambda: open_source(tmp_path)):
        with pytest.raises(SchemaError, match=r"2\.parquet: column 'a' is in rad, in .*1\.parquet it is in deg"):
            read()


def test_D36_empty_parts_and_other_chunks_change_no_bit(tmp_path):
    """D36."""
    expected = model_of(ROWS, tmp_path)
    chunks = [(0, 300, 0, 700), (1000, 0), (256, 256, 256, 232), (1, 999)]
    for rows in chunks:
        assert model_of(da.from_array(ROWS, chunks=(rows, 2)), tmp_path) == expected
    for size in (64, 250, 1000):
        assert model_of(open_source(foreign(tmp_path / f"{size}.zarr", chunks=(size,))), tmp_path) == expected
