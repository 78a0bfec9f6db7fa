"""A live mixture: rows held out, the reservoir, the alarm, streams and growing stores, the file."""

import json
import math
import os
import zipfile

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import streamgmm as sg
from benchmarks.drift import Case, told_of
from streamgmm import drift_alarm, drift_reference, live_state, pending_folder
from streamgmm.drift_alarm import FEWEST_HELD, LIMIT, Cusum, Summary, run_length, summary_of
from streamgmm.drift_reference import LEARNED, REFERENCE, DriftReference, together
from streamgmm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    ConfigError,
    DataChangedError,
    DataError,
    SchemaError,
    StorageError,
    StreamGMMError,
)
from streamgmm.reservoir import Reservoir, held_out
from tests.making import clustered_rows, em_steps, random_mixture, same_bits
from tests.reliability import drift, live_files

pytestmark = pytest.mark.usefixtures("one_algebra_thread")


def _fed(batches, **settings):
    live = sg.LiveMixture(3, **settings)
    return live, [live.feed(batch) for batch in batches]


def _same_state(a, b, path):
    """Whether two live mixtures hold the same bits, by their files."""
    a.save(path / "a.live")
    b.save(path / "b.live")
    return (path / "a.live").read_bytes() == (path / "b.live").read_bytes()


# ---- rows held out ---------------------------------------------------------------------------------------------------


@given(first=st.integers(0, 10**15), n=st.integers(1, 300), cut=st.integers(0, 300), seed=st.integers(0, 2**63 - 1))
def test_what_is_held_out_is_decided_by_the_number_of_the_row(first, n, cut, seed):
    whole = held_out(first, n, 0.3, seed)
    cut = min(cut, n)
    parts = [held_out(first, cut, 0.3, seed), held_out(first + cut, n - cut, 0.3, seed)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_the_share_held_out_is_that_asked_for(share):
    n = 200_000
    for seed in range(3):
        assert abs(held_out(0, n, share, seed).sum() - share * n) < 5 * math.sqrt(n * share)
    assert (held_out(0, n, share, 0) != held_out(0, n, share, 1)).any()


def test_every_row_is_kept_with_the_same_probability():
    """400 reservoirs of 20 out of 200: each row about 40 times (chi square of 199 degrees of freedom, 6 deviations)."""
    rows, counts = np.arange(200.0)[:, None], np.zeros(200)
    for seed in range(400):
        made = Reservoir.empty(20, 1, seed)
        for batch in np.split(rows, [7, 30, 31, 120]):
            made = made.with_rows(batch, np.ones(len(batch)))
        assert len(np.unique(made.x)) == len(made.x) == 20
        counts[made.x[:, 0].astype(int)] += 1
    assert ((counts - 40) ** 2 / 36).sum() < 199 + 6 * math.sqrt(2 * 199)


def test_rows_held_out_are_never_learned_from(rng):
    """Rows held out are moved far away: the mixture keeps its bits."""
    x = clustered_rows(6000, 3, 2, rng)
    spoiled = np.where(held_out(0, 6000, 0.05, 7)[:, None], x + 1e6, x)
    one, _ = _fed(np.split(x, 6), hold_out=0.05, seed=7, limit=1e9)
    other, _ = _fed(np.split(spoiled, 6), hold_out=0.05, seed=7, limit=1e9)
    assert same_bits(one.mixture, other.mixture)


def test_without_the_hold_out_they_are(rng, monkeypatch):
    """The guard of the test before this one is removed: the fault gets through."""
    x = clustered_rows(6000, 3, 2, rng)
    spoiled = np.where(held_out(0, 6000, 0.05, 7)[:, None], x + 1e6, x)
    monkeypatch.setattr(live_state, "held_out", lambda first, n, share, seed: np.zeros(n, bool))
    one, _ = _fed(np.split(x, 6), hold_out=0.05, seed=7)
    other, _ = _fed(np.split(spoiled, 6), hold_out=0.05, seed=7)
    assert not same_bits(one.mixture, other.mixture)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_it_comes_as_far_as_full_batch_em(rng):
    """Likelihood per row within 0.005 of that of EM on all rows."""
    x = clustered_rows(40_000, 3, 2, rng)
    live, readings = _fed(np.split(x, 40))
    best = em_steps(live.mixture, x, 50)[0]
    assert best.score_samples(x).mean() - live.mixture.score_samples(x).mean() < 0.005
    assert math.isnan(readings[0].log_likelihood)
    assert readings[-1].log_likelihood == pytest.approx(best.score_samples(x[-1000:]).mean(), abs=0.02)
    assert readings[-1].held_out == pytest.approx(best.score_samples(x).mean(), abs=0.3)
    assert not any(reading.alarm for reading in readings)


def test_a_window_forgets_a_sorted_stream(rng):
    """Rows far left, then rows far right: with a window the left ones are gone, without they are not."""
    x = np.concatenate([rng.normal(-20, 1, (20_000, 2)), rng.normal(20, 1, (20_000, 2))])
    with_window, _ = _fed(np.split(x, 40), window=2000.0)
    without, _ = _fed(np.split(x, 40))
    left = [m.weights.proportions[m.components.means[:, 0] < 0].sum() for m in (with_window.mixture, without.mixture)]
    means = [m.weights.proportions @ m.components.means[:, 0] for m in (with_window.mixture, without.mixture)]
    assert abs(means[0] - 20) < 0.1
    assert means[0] > means[1]
    assert left[0] < 1e-3


def test_small_feeds_wait_for_a_batch(rng, tmp_path):
    """Rows of one batch may come in any number of pieces."""
    x = clustered_rows(3000, 3, 2, rng)
    live, _ = _fed([x[:2000]], hold_out=1e-9, batch_rows=500)
    pieces, _ = _fed([x[:2000]], hold_out=1e-9, batch_rows=500)
    live.feed(x[2000:2500])
    before = pieces.mixture
    readings = [pieces.feed(x[i : i + 100]) for i in range(2000, 2500, 100)]
    assert readings[0].said == "100 rows wait for a batch of 500"
    assert math.isfinite(readings[0].log_likelihood)
    assert not same_bits(before, pieces.mixture)
    assert same_bits(live.mixture, pieces.mixture)
    assert _same_state(live, pieces, tmp_path)


def test_rows_without_weight_and_weight_two(rng):
    x = clustered_rows(2000, 3, 2, rng)
    start = random_mixture("gaussian_full", 3, 2, rng)
    one, other = (sg.LiveMixture(start, seen=1000.0, hold_out=1e-9) for _ in range(2))
    one.feed(x, sample_weight=np.repeat([2.0, 0.0], 1000))
    other.feed(np.concatenate([x[:1000], x[:1000]]))
    for name, value in one.mixture.to_arrays().items():
        np.testing.assert_allclose(value, other.mixture.to_arrays()[name], rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "tied_spherical"])
def test_it_goes_on_from_an_estimator_of_any_kind(kind, rng):
    x = clustered_rows(3000, 3, 2, rng)
    fitted = sg.GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-2).fit(x)
    live = sg.LiveMixture(fitted, batch_rows=100)
    assert same_bits(live.mixture, fitted.mixture_)
    live.feed(clustered_rows(200, 3, 2, rng))
    assert live._state.online.weight > 3000


def test_missing_values_are_counted(rng):
    x = clustered_rows(3000, 3, 2, rng)
    x[:5, 0] = np.nan
    live, _ = _fed([x], missing="skip")
    assert (live.rows, live._state.skipped) == (3000, 5)


# ---- the alarm -------------------------------------------------------------------------------------------------------


def test_the_summary_is_that_of_repeated_rows():
    values, weight = np.array([1.0, 2.0, 4.0, 9.0]), np.array([1.0, 1.0, 1.0, 0.0])
    found = summary_of(values, weight)
    assert found == Summary(pytest.approx(7 / 3), pytest.approx(np.std([1, 2, 4]) / math.sqrt(3)), 3)
    assert summary_of(values, np.zeros(4)).rows == 0
    unknown = summary_of(np.array([-np.inf, 1.0]), np.ones(2))
    assert math.isnan(unknown.error)
    assert Cusum(above=3.0).after(unknown._replace(rows=100), found) == Cusum(above=3.0)


def test_one_model_compares_both():
    """The sums grow by how much more than the allowance the two means differ, in either direction, and forget what lies behind."""
    held, batch = Summary(0.0, 0.01, 100), Summary(-1.0, 0.1, 100)
    assert Cusum().after(held, batch).above == pytest.approx(10 - 0.3 - 0.5)
    assert Cusum().after(batch._replace(error=0.01), held._replace(error=0.1)).below == pytest.approx(10 - 0.3 - 0.5)
    assert Cusum(above=3.0).after(held, held._replace(error=0.1)).above == pytest.approx(3 - 0.8)
    few = held._replace(rows=FEWEST_HELD - 1)
    assert Cusum(above=3.0).after(few, batch) == Cusum(above=3.0)


def test_false_alarms_come_as_rarely_as_siegmund_says():
    """At a limit of 3, where they can be counted: both within 15 % of the formula, over 3,000 runs of one sum."""
    rng, lengths = np.random.default_rng(1), []
    held = Summary(0.0, 0.0, 1000)
    for _ in range(3000):
        cusum, n = Cusum(limit=3.0), 0
        while not cusum.above > 3.0:
            cusum, n = cusum.after(held, Summary(-rng.standard_normal(), 1.0, 1000)), n + 1
        lengths.append(n)
    assert np.mean(lengths) == pytest.approx(run_length(3.0), rel=0.15)
    assert run_length(LIMIT) > 100_000


def test_without_the_allowance_one_unlucky_reservoir_alarms_for_ever(monkeypatch):
    """The guard: the mean of 50 held-out rows is one number, two of its errors off, for 30 batches of 5,000 rows."""
    held, batch = Summary(0.28, 0.14, 50), Summary(0.0, 0.014, 5000)

    def alarms():
        cusum = Cusum()
        for _ in range(30):
            cusum = cusum.after(held, batch)
        return cusum.alarm

    assert not alarms()
    monkeypatch.setattr(drift_alarm, "ALLOWANCE", 0.0)
    assert alarms()


@pytest.mark.parametrize("window", [None, 20_000.0])
def test_a_step_of_two_deviations_is_found_within_3000_rows(window):
    told = [told_of(Case(step=2.0, window=window, calm=60, after=20), seed) for seed in range(5)]
    assert all(0 < one.delay <= 3000 and one.early == 0 for one in told)


def test_a_slow_drift_is_found_although_the_mixture_follows_it():
    told = [told_of(Case(slope=2.0, window=20_000.0, after=200), seed) for seed in range(2)]
    assert all(0 < one.delay <= 160_000 and one.early == 0 for one in told)


def test_without_the_reference_a_slow_drift_is_found_late(monkeypatch):
    case = Case(slope=2.0, after=60)
    assert told_of(case, 1).delay > 0
    monkeypatch.setattr(DriftReference, "after", lambda self, *_: self)
    assert told_of(case, 1).delay == -1


def test_the_reference_is_the_mean_of_batches_that_its_mixture_never_learned_from(rng):
    mixture, reference = random_mixture("gaussian_full", 2, 2, rng), DriftReference()
    batches = [rng.normal(size=(50, 2)) for _ in range(LEARNED + REFERENCE + 3)]
    for number, x in enumerate(batches):
        reference = reference.after(mixture if number == LEARNED else random_mixture("gaussian_full", 2, 2, rng), x, np.ones(50))
    assert same_bits(reference.mixture, mixture)
    scores = mixture.score_samples(np.concatenate(batches[LEARNED + 1 : LEARNED + 1 + REFERENCE]))
    assert reference.summary.mean == pytest.approx(scores.mean())
    assert reference.summary.error == pytest.approx(scores.std() / math.sqrt(scores.size), rel=0.05)
    assert reference.summary.rows == scores.size
    later = [summary_of(mixture.score_samples(x), np.ones(50)) for x in batches[-2:]]
    assert reference.cusum == Cusum().after(reference.summary, later[0]).after(reference.summary, later[1])


def test_a_batch_of_no_density_is_no_part_of_a_reference():
    known = Summary(-1.0, 0.1, 10)
    assert together(known, Summary(-math.inf, math.nan, 3)) == known
    assert together(Summary(0.0, 0.0, 0), known) == known


def test_streams_that_stay_as_they_are_raise_no_alarm():
    """Ten streams here, a hundred in `python -m benchmarks.drift`."""
    found = drift.trials(10, seed=1000)
    assert found.violations == 0, found


def test_after_an_alarm_the_reservoir_holds_new_rows_only(rng):
    x = clustered_rows(20_000, 3, 2, rng)
    live, _ = _fed(np.split(x, 20), hold_out=0.05)
    assert live.feed(x[:1000] + 30).alarm
    assert live.alarms == 1
    assert len(live._state.reservoir.x) == 0
    live.feed(x[1000:2000] + 30)
    assert live._state.reservoir.x.min() > x.min() + 15
    readings = [live.feed(x[i : i + 1000] + 30) for i in range(2000, 10_000, 1000)]
    assert not any(reading.alarm for reading in readings)


# ---- streams and stores ----------------------------------------------------------------------------------------------


def test_an_iterator_gives_a_reading_for_every_array(rng):
    x = clustered_rows(3000, 3, 2, rng)
    live, readings = _fed(np.split(x, 3))
    watched = sg.LiveMixture(3)
    assert [str(one) for one in watched.watch(iter(np.split(x, 3)))] == [str(one) for one in readings]
    assert same_bits(watched.mixture, live.mixture)


def _growing(tmp_path, x):
    return zarr.create_array(tmp_path / "g.zarr", shape=x.shape, dtype="f8", chunks=(500, x.shape[1]))


def test_a_growing_store_is_read_block_by_block(tmp_path, rng):
    x = clustered_rows(4000, 3, 2, rng)
    store, written = _growing(tmp_path, x), [0]

    def grow(_):
        start = written[0]
        store[start : start + 700] = x[start : start + 700]
        written[0] = min(start + 700, 4000)

    live = sg.LiveMixture(3)
    options = {"rows_now": lambda: written[0], "poll": 1.0, "block_rows": 500, "sleep": grow}
    readings = list(live.watch(lambda: x, **options, stop_requested=lambda: live.rows == 4000))
    assert [one.rows for one in readings] == [500] * 8
    expected, _ = _fed(np.split(x, 8))
    assert same_bits(live.mixture, expected.mixture)


def test_a_store_opened_anew_shows_what_was_appended(tmp_path, rng):
    x = clustered_rows(2300, 3, 2, rng)
    live = sg.LiveMixture(3, start_rows=400)
    store = _growing(tmp_path, x[:1000])
    store[:] = x[:1000]
    assert len(list(live.watch(tmp_path / "g.zarr", block_rows=500))) == 2
    assert list(live.watch(tmp_path / "g.zarr", block_rows=500)) == []
    store.resize((2300, 2))
    store[1000:] = x[1000:]
    assert len(list(live.watch(tmp_path / "g.zarr", block_rows=500))) == 2
    assert live.rows == 2000  # the last 300 rows are no whole block yet
    expected, _ = _fed(np.split(x[:2000], 4), start_rows=400)
    assert same_bits(live.mixture, expected.mixture)


def test_a_store_that_shrinks_or_is_cut_otherwise_is_refused(rng):
    x = clustered_rows(2000, 3, 2, rng)
    live = sg.LiveMixture(3)
    list(live.watch(lambda: x, block_rows=500))
    with pytest.raises(DataChangedError, match="holds 1000 rows, of which 2000 have been read"):
        list(live.watch(lambda: x[:1000], block_rows=500))
    with pytest.raises(ConfigError, match="no whole blocks of 300"):
        list(live.watch(lambda: np.concatenate([x, x]), block_rows=300))


def test_an_error_in_the_middle_leaves_everything_as_it_was(tmp_path, rng):
    x = clustered_rows(2000, 3, 2, rng)
    live, _ = _fed([x])
    live.save(tmp_path / "before.live")

    def broken():
        yield x[:1500]
        raise OSError("the network is gone")

    for table, error in ((broken(), DataError), (np.full((5, 2), np.nan), DataError), (x[:, :1], SchemaError), (x[:0], DataError)):
        with pytest.raises(error):
            live.feed(table)
    live.save(tmp_path / "after.live")
    assert (tmp_path / "before.live").read_bytes() == (tmp_path / "after.live").read_bytes()


@pytest.mark.parametrize(
    ("start", "settings", "said"),
    [
        (0, {}, "n_components must be an int >= 1"),
        (2, {"window": 0.0}, "window must be a finite number > 0"),
        (2, {"hold_out": 0.9}, "hold_out must be a finite number > 0 and <= 0.5"),
        (2, {"reservoir_rows": 3}, "reservoir_rows must be an int >= 50"),
        (2, {"limit": math.nan}, "limit must be"),
        (2, {"covariance_type": "dense"}, "covariance_type must be one of"),
        (2, {"reg_covar": -1.0}, "reg_covar must be"),
        (2, {"windows": 5}, "windows"),
        ("two", {}, "start must be a Mixture"),
    ],
)
def test_wrong_settings_are_refused_by_name(start, settings, said):
    with pytest.raises(ConfigError, match=said):
        sg.LiveMixture(start, **settings)


def test_there_is_no_mixture_before_the_start(rng):
    live = sg.LiveMixture(3)
    with pytest.raises(DataError, match="no mixture yet: 0 rows"):
        _ = live.mixture
    with pytest.raises(DataError, match="nothing to save"):
        live.save("nowhere")
    assert live.feed(rng.normal(size=(10, 2))).said.endswith("rows wait for a start of 1,000")
    with pytest.raises(DataError, match="expecting 2 features"):
        sg.LiveMixture(random_mixture("gaussian_full", 3, 2, rng)).feed(rng.normal(size=(10, 3)))


# ---- the file --------------------------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 11))
def test_killed_and_gone_on_with_gives_the_same_bits(seed, cut, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("live"), np.random.default_rng(seed)
    batches = np.array_split(clustered_rows(5000, 3, 2, rng), np.sort(rng.choice(5000, 11, replace=False)))
    whole, _ = _fed([b for b in batches if len(b)], hold_out=0.2, reservoir_rows=60, batch_rows=300)
    first, _ = _fed([b for b in batches[:cut] if len(b)], hold_out=0.2, reservoir_rows=60, batch_rows=300)
    if not first.rows:
        return
    first.save(folder / "cut.live")
    second = sg.LiveMixture.load(folder / "cut.live")
    for batch in batches[cut:]:
        if len(batch):
            second.feed(batch)
    assert _same_state(whole, second, folder)
    assert same_bits(whole.mixture, second.mixture)


def test_a_reference_goes_through_the_file(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(drift_reference, "LEARNED", 2)
    monkeypatch.setattr(drift_reference, "REFERENCE", 2)
    x = np.split(clustered_rows(12_000, 3, 2, rng), 12)
    live, _ = _fed(x[:8])
    live.save(tmp_path / "live.zip")
    again = sg.LiveMixture.load(tmp_path / "live.zip")
    assert live._state.reference.cusum == again._state.reference.cusum
    assert same_bits(live._state.reference.mixture, again._state.reference.mixture)
    assert [str(live.feed(rows)) for rows in x[8:]] == [str(again.feed(rows)) for rows in x[8:]]
    assert live._state.reference.summary == again._state.reference.summary


def test_a_changed_byte_is_found():
    found = live_files.trials(60, seed=0)
    assert found.violations == 0, found


def test_a_resealed_file_of_nonsense_is_refused(tmp_path, rng):
    live, _ = _fed([clustered_rows(2000, 3, 2, rng)])
    live.save(tmp_path / "a.live")
    for change, error in live_files.LIES:
        (tmp_path / "b.live").write_bytes(live_files.resealed(tmp_path / "a.live", change))
        with pytest.raises(error):
            sg.LiveMixture.load(tmp_path / "b.live")
    (tmp_path / "b.live").write_bytes(live_files.resealed(tmp_path / "a.live", lambda record: None))
    assert sg.LiveMixture.load(tmp_path / "b.live").rows == 2000


def test_what_a_killed_process_left_is_gone_after_the_next_save(tmp_path, rng):
    live, _ = _fed([clustered_rows(2000, 3, 2, rng)])
    live.save(tmp_path / "a.live")
    name = pending_folder._prefix(tmp_path / "a.live")
    dead, living = (tmp_path / f"{name}{pid}-00000000.partial" for pid in (2**22 + 1, os.getpid()))  # no system numbers so far
    for path in (dead, living):
        path.write_bytes(b"half")
    live.save(tmp_path / "a.live")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, "a.live"])


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no live mixture at"):
        sg.LiveMixture.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointCorruptError, match="seal is broken"):
        sg.LiveMixture.load(tmp_path / "text")


def test_a_failed_save_leaves_the_file_before(tmp_path, rng, monkeypatch):
    live, _ = _fed([clustered_rows(2000, 3, 2, rng)])
    live.save(tmp_path / "a.live")
    before = (tmp_path / "a.live").read_bytes()
    live.feed(clustered_rows(1000, 3, 2, rng))
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="ENOSPC"):
        live.save(tmp_path / "a.live")
    assert [path.name for path in tmp_path.iterdir()] == ["a.live"]
    assert (tmp_path / "a.live").read_bytes() == before


def test_the_file_is_plain(tmp_path, rng):
    live, _ = _fed([clustered_rows(2000, 3, 2, rng)])
    live.save(tmp_path / "a.live")
    with zipfile.ZipFile(tmp_path / "a.live") as archive:
        record = json.loads(archive.read("record.json"))
        assert all(name.endswith((".json", "0", "/c")) for name in archive.namelist())
    assert (record["format"], record["rows"]) == ("streamgmm-live", 2000)
    assert issubclass(CheckpointVersionError, StreamGMMError)
