"""The scikit-learn face: scikit-learn's numbers from the same start, rows of every kind, what is kept and what is not."""

import copy
import doctest
import gc
import json
import pickle
import subprocess
import sys
import threading
import warnings
import weakref

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.mixture
import xarray as xr
import zarr
from distributed import Client
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import streamgmm as sg
from streamgmm import GaussianMixture, estimator
from streamgmm.errors import ConfigError, DegenerateFitWarning, PrecisionWarning, RunMismatchError
from streamgmm.executors.serial import Serial
from streamgmm.executors.threads import Threads
from streamgmm.fit import FitResult
from streamgmm.model_file import model_hash
from streamgmm.state import Outcome
from tests.executors.conftest import local_cluster
from tests.making import clustered_rows

SKLEARN_TYPES = ("full", "tied", "diag", "spherical")
TYPES = (*SKLEARN_TYPES, "tied_spherical")
BLOCK_ROWS = 128
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def precisions_of(kind, k, d, rng):
    """Random precisions in the shape of a covariance type."""
    a = rng.normal(size=(k, d, d + 2))
    dense = np.einsum("kij,klj->kil", a, a) / (d + 2) + 0.3 * np.eye(d)
    diagonal = np.diagonal(dense, axis1=1, axis2=2)
    shapes = {"full": dense, "tied": dense[0], "diag": diagonal, "spherical": diagonal[:, 0], "tied_spherical": diagonal[0, 0]}
    return np.array(shapes[kind])


def start_of(x, kind, k, rng):
    """A complete start, as scikit-learn's parameters."""
    means = x[rng.choice(len(x), k, replace=False)]
    return {"weights_init": rng.dirichlet(np.full(k, 5.0)), "means_init": means, "precisions_init": precisions_of(kind, k, x.shape[1], rng)}


@pytest.fixture(scope="module")
def rows():
    return clustered_rows(600, 3, 2, np.random.default_rng(5))


@pytest.fixture(scope="module")
def fitted(rows):
    return GaussianMixture(3, random_state=0, block_rows=BLOCK_ROWS).fit(rows)


def same_bits(a, b):
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in PARAMETERS) and a.lower_bounds_ == b.lower_bounds_


# ---- scikit-learn's numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SKLEARN_TYPES)
@pytest.mark.parametrize(("n", "d", "k"), [(300, 1, 2), (500, 3, 4), (400, 9, 2)])
def test_same_start_gives_scikit_learns_fit(kind, n, d, k, rng):
    x = clustered_rows(n, k, d, rng)
    parameters = {"covariance_type": kind, "tol": 1e-5, "max_iter": 1000, **start_of(x, kind, k, rng)}
    theirs = sklearn.mixture.GaussianMixture(k, **parameters).fit(x)
    ours = GaussianMixture(k, **parameters, block_rows=BLOCK_ROWS).fit(x)
    assert (ours.n_iter_, ours.converged_, ours.n_features_in_) == (theirs.n_iter_, theirs.converged_, theirs.n_features_in_)
    for name in (*PARAMETERS, "lower_bound_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-10, err_msg=name)
    assert np.array_equal(ours.predict(x), theirs.predict(x))
    for method in ("predict_proba", "score_samples", "score", "bic", "aic"):
        np.testing.assert_allclose(getattr(ours, method)(x), getattr(theirs, method)(x), rtol=1e-9, atol=1e-10, err_msg=method)


@pytest.mark.parametrize("kind", SKLEARN_TYPES)
def test_types_and_shapes_are_scikit_learns(kind, rows):
    theirs = sklearn.mixture.GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows)
    ours = GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows)
    for method in ("predict", "predict_proba", "score_samples", "fit_predict"):
        a, b = getattr(theirs, method)(rows), getattr(ours, method)(rows)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    for a, b in zip(theirs.sample(7), ours.sample(7), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    for name in PARAMETERS:
        assert getattr(theirs, name).shape == getattr(ours, name).shape


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data", "kmeans_plus_plus", "random_rows"])
def test_every_start_finds_separated_clusters(init, rng):
    centres = np.array([[0.0, 0.0], [40.0, 0.0], [0.0, 40.0]])
    x = centres[rng.integers(0, 3, 600)] + rng.normal(size=(600, 2))
    gm = GaussianMixture(3, init_params=init, n_init=8, random_state=1).fit(x)
    found = gm.means_[np.lexsort(gm.means_.T)]
    np.testing.assert_allclose(found, centres[np.lexsort(centres.T)], atol=0.3)


def test_the_best_of_several_starts_is_kept(rows):
    several = GaussianMixture(3, init_params="random_rows", n_init=4, random_state=3).fit(rows)
    alone = [GaussianMixture(3, init_params="random_rows", n_init=1, random_state=3).fit(rows)]
    assert several.lower_bound_ >= max(gm.lower_bound_ for gm in alone)
    assert several.n_iter_ == len(several.lower_bounds_)


@pytest.mark.parametrize("given", ["weights_init", "means_init", "precisions_init"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_given_part_replaces_that_of_the_start(kind, given, rows, rng):
    start = start_of(rows, kind, 3, rng)
    plain = GaussianMixture(3, covariance_type=kind, random_state=0, max_iter=1)
    changed = clone(plain).set_params(**{given: start[given]})
    with pytest.warns(ConvergenceWarning, match="did not converge: passes_exhausted after 1 passes"):
        assert plain.fit(rows).lower_bound_ != changed.fit(rows).lower_bound_


def test_hard_assignment_with_one_variance_and_fixed_weights_is_k_means(rows, rng):
    centres = rows[rng.choice(len(rows), 3, replace=False)]
    theirs = KMeans(3, init=centres, n_init=1, tol=0, max_iter=500).fit(rows)
    parameters = {"covariance_type": "tied_spherical", "weight_model": "fixed", "assignment": "hard", "tol": 0.0, "max_iter": 60}
    with pytest.warns(ConvergenceWarning):  # tol=0 never converges, as in scikit-learn
        ours = GaussianMixture(3, means_init=centres, precisions_init=1.0, reg_covar=0.0, **parameters).fit(rows)
    np.testing.assert_allclose(ours.means_, theirs.cluster_centers_, rtol=1e-12)
    assert np.array_equal(ours.predict(rows), theirs.labels_)
    assert np.array_equal(ours.weights_, np.full(3, 1 / 3))


# ---- models from and to elsewhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_scikit_learn_predicts_the_same_with_our_model(kind, rows):
    ours = GaussianMixture(3, covariance_type=kind, random_state=np.random.default_rng(0)).fit(pd.DataFrame(rows, columns=["a", "b"]))
    theirs = ours.to_sklearn()
    named = pd.DataFrame(rows, columns=["a", "b"])
    assert np.array_equal(theirs.predict(named), ours.predict(named))
    np.testing.assert_allclose(theirs.score_samples(named), ours.score_samples(named), rtol=1e-10)
    np.testing.assert_allclose(theirs.bic(named), ours.bic(named) + (2 * np.log(len(rows)) if kind == "tied_spherical" else 0), rtol=1e-10)
    assert theirs.sample(5)[0].shape == (5, 2)
    theirs.means_[0] = 0.0  # its arrays are its own
    assert not (ours.means_[0] == 0).any()


@pytest.mark.parametrize("kind", TYPES)
def test_a_model_from_parameters_is_the_model(kind, rows):
    gm = GaussianMixture(3, covariance_type=kind, random_state=0).fit(rows)
    again = GaussianMixture.from_parameters(gm.weights_, gm.means_, gm.covariances_, covariance_type=kind)
    assert all(np.array_equal(getattr(gm, name), getattr(again, name)) for name in PARAMETERS)
    assert np.array_equal(gm.predict_proba(rows), again.predict_proba(rows))
    assert again.n_components == 3
    assert (again.n_iter_, again.lower_bounds_, again.outcome_) == (0, [], None)


def test_a_known_model_may_be_gone_on_from(fitted, rows):
    known = GaussianMixture.from_parameters(fitted.weights_, fitted.means_, fitted.covariances_)
    assert known.set_params(warm_start=True).fit(rows).n_iter_ == 2
    assert known.lower_bound_ >= fitted.lower_bound_


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.6], [[0, 0], [1, 1]], [np.eye(2)] * 2), "weights must sum to 1, got a sum of 1.1"),
        (([0.5, 0.5], [0, 1], [np.eye(2)] * 2), r"means must have shape \(n_components, n_features\), got \(2,\)"),
        (([0.5, 0.5], [[0, 0], [1, 1]], np.eye(2)), r"covariances must have shape \(2, 2, 2\) for covariance type 'full', got \(2, 2\)"),
        (([0.5, 0.5], [[0, 0], [1, 1]], [np.eye(2), -np.eye(2)]), "covariances of component 1 must be positive definite"),
        (([1.0], [["a"]], [[[1]]]), "means must be an array of numbers"),
    ],
)
def test_parameters_that_are_no_mixture_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        GaussianMixture.from_parameters(*arguments)


def test_names_and_units_of_given_parameters(tmp_path):
    gm = GaussianMixture.from_parameters([1.0], [[0.0, 1.0]], [np.eye(2)], feature_names=["pm", "g"], units=["mas/yr", "mag"])
    assert gm.feature_names_in_.tolist() == ["pm", "g"]
    gm.save(tmp_path / "m.zarr")
    assert xr.open_zarr(tmp_path / "m.zarr", consolidated=False)["feature_units"].to_numpy().tolist() == ["mas/yr", "mag"]
    with pytest.raises(ConfigError, match="1 feature_names and 2 units for 2 columns"):
        GaussianMixture.from_parameters([1.0], [[0.0, 1.0]], [np.eye(2)], feature_names=["pm"])


@pytest.mark.parametrize("kind", TYPES)
def test_a_saved_model_is_the_same_when_loaded(kind, rows, tmp_path):
    gm = GaussianMixture(
        3, covariance_type=kind, random_state=7, tol=1e-4, block_rows=200, init_params="random_rows", missing="skip", max_iter=500
    ).fit(pd.DataFrame(rows, columns=["a", "b"]))
    gm.save(tmp_path / "m.zarr")
    again = sg.load(tmp_path / "m.zarr")
    assert same_bits(gm, again)
    assert again.get_params() == gm.get_params()
    for name in ("converged_", "n_iter_", "lower_bound_", "n_skipped_", "outcome_", "n_features_in_"):
        assert getattr(again, name) == getattr(gm, name), name
    assert again.feature_names_in_.tolist() == ["a", "b"]
    again.save(tmp_path / "again.zarr")
    assert model_hash(tmp_path / "again.zarr") == model_hash(tmp_path / "m.zarr")
    with pytest.raises(ConfigError, match="exists already"):
        gm.save(tmp_path / "m.zarr")
    gm.save(tmp_path / "m.zarr", overwrite=True)


def test_a_model_without_a_configuration_is_loaded_with_the_defaults(tmp_path):
    GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]]).save(tmp_path / "m.zarr")
    assert sg.load(tmp_path / "m.zarr").get_params() == GaussianMixture().get_params()


# ---- rows of every kind ------------------------------------------------------------------------------------------------


def kinds_of(rows, folder):
    """The same table in many ways."""
    array = zarr.create_array(folder / "a.zarr", shape=rows.shape, chunks=(50, 2), shards=(150, 2), dtype="f8")
    array[...] = rows
    frame = pd.DataFrame(rows, columns=["f0", "f1"])
    frame.to_parquet(folder / "a.parquet", row_group_size=77)
    yield from {
        "list": rows.tolist(),
        "fortran": np.asfortranarray(rows),
        "big-endian": rows.astype(">f8"),
        "strided": np.repeat(rows, 2, axis=0)[::2],
        "frame": frame,
        "dask": da.from_array(rows, chunks=(90, 2)),
        "zarr": array,
        "path": str(folder / "a.zarr"),
        "source": sg.as_source(rows),
        "parquet": sg.open_source(folder / "a.parquet"),
        "xarray": xr.DataArray(rows, dims=("row", "feature")),
        "dataset": xr.Dataset({"f0": ("row", rows[:, 0]), "f1": ("row", rows[:, 1])}),
        "memory map": _memory_map(rows, folder / "a.npy"),
    }.items()


def _memory_map(rows, path):
    np.save(path, rows)
    return np.load(path, mmap_mode="r")


def test_the_same_rows_give_the_same_bits_whatever_they_come_in(rows, fitted, tmp_path):
    for kind, table in kinds_of(rows, tmp_path):
        again = clone(fitted).fit(table)
        assert same_bits(again, fitted), kind
        assert again.score(table) == fitted.score(rows), kind


def test_float32_rows_are_fitted_as_what_they_hold(rows):
    narrow = rows.astype(np.float32)
    gm = GaussianMixture(3, random_state=0)
    assert same_bits(clone(gm).fit(narrow), clone(gm).fit(narrow.astype(np.float64)))


def test_partitions_of_unknown_length_are_fitted(rows, fitted):
    array = da.from_array(rows, chunks=(90, 2))
    unknown = array[da.ones(len(rows), chunks=90, dtype=bool)]
    again = clone(fitted).fit(unknown)
    np.testing.assert_allclose(again.means_, fitted.means_, rtol=1e-9)
    assert again.bic(unknown) == pytest.approx(fitted.bic(rows), rel=1e-9)


def test_a_source_keeps_its_own_settings_where_the_estimators_are_the_defaults(rows):
    holed = rows.copy()
    holed[3, 1] = np.nan
    source = sg.as_source(holed, block_rows=50, missing="skip")
    assert GaussianMixture(random_state=0).fit(source).n_skipped_ == 1
    assert GaussianMixture(random_state=0).fit(source)._record.provenance["configuration"]["block_rows"] == 50
    assert GaussianMixture(random_state=0, block_rows=70).fit(source)._record.provenance["configuration"]["block_rows"] == 70


# ---- weights and missing values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_whole_weights_count_as_repeated_rows_and_zero_as_none(kind, rows, rng):
    weight = rng.integers(0, 4, len(rows))
    gm = GaussianMixture(3, covariance_type=kind, tol=1e-6, max_iter=500, **start_of(rows, kind, 3, rng))
    weighted, repeated = clone(gm).fit(rows, sample_weight=weight), clone(gm).fit(np.repeat(rows, weight, axis=0))
    for name in (*PARAMETERS, "lower_bounds_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8, atol=1e-10, err_msg=name)
    for method in ("score", "bic", "aic"):
        ours = getattr(weighted, method)(rows, sample_weight=weight)
        assert ours == pytest.approx(getattr(weighted, method)(np.repeat(rows, weight, axis=0)), rel=1e-10)


def test_weights_may_come_in_any_kind(rows, rng, tmp_path):
    weight = rng.uniform(0.1, 3.0, len(rows))
    stored = zarr.create_array(tmp_path / "w.zarr", shape=weight.shape, chunks=(70,), dtype="f8")
    stored[...] = weight
    gm = GaussianMixture(3, random_state=0, block_rows=BLOCK_ROWS)
    reference = clone(gm).fit(rows, sample_weight=weight)
    lazy = da.from_array(rows, chunks=(90, 2))
    for given in (weight.tolist(), pd.Series(weight), da.from_array(weight, chunks=33), stored, xr.DataArray(weight, dims="row")):
        assert same_bits(clone(gm).fit(lazy, sample_weight=given), reference), type(given)


def test_equal_weights_change_nothing_but_the_weight_of_all(rows, rng):
    gm = GaussianMixture(3, tol=1e-5, max_iter=500, **start_of(rows, "full", 3, rng))
    plain, heavy = clone(gm).fit(rows), clone(gm).fit(rows, sample_weight=np.full(len(rows), 2.0))
    np.testing.assert_allclose(heavy.lower_bounds_, plain.lower_bounds_, rtol=1e-12)
    np.testing.assert_allclose(heavy.means_, plain.means_, rtol=1e-9)


def test_rows_with_missing_values_are_left_out_and_counted(rows, rng):
    holed = rows.copy()
    holed[::7, 0] = np.nan
    kept = ~np.isnan(holed[:, 0])
    gm = GaussianMixture(3, missing="skip", block_rows=BLOCK_ROWS, **start_of(rows, "full", 3, rng))
    skipping, without = clone(gm).fit(holed), clone(gm).fit(holed[kept])
    assert skipping.n_skipped_ == (~kept).sum()
    np.testing.assert_allclose(skipping.means_, without.means_, rtol=1e-10)
    labels, probabilities, scores = skipping.predict(holed), skipping.predict_proba(holed), skipping.score_samples(holed)
    assert (labels[~kept] == -1).all()
    assert np.array_equal(labels[kept], skipping.predict(holed[kept]))
    assert np.array_equal(np.isnan(probabilities).all(axis=1), ~kept)
    assert np.array_equal(np.isnan(scores), ~kept)
    assert skipping.score(holed) == pytest.approx(scores[kept].mean(), rel=1e-12)
    assert skipping.bic(holed) == pytest.approx(skipping.bic(holed[kept]), rel=1e-12)


# ---- seeds, warm starts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: 3, lambda: np.int64(3), lambda: np.random.default_rng(3), lambda: np.random.RandomState(3)])
def test_equal_seeds_give_equal_fits_and_samples(make, rows):
    a, b = (GaussianMixture(3, init_params="random_rows", random_state=make()).fit(rows) for _ in range(2))
    assert same_bits(a, b)
    assert np.array_equal(a.sample(20)[0], b.sample(20)[0])


def test_a_generator_moves_on_and_an_int_does_not(rows):
    moving = GaussianMixture(random_state=np.random.default_rng(3)).fit(rows)
    fixed = GaussianMixture(random_state=3).fit(rows)
    assert not np.array_equal(moving.sample(5)[0], moving.sample(5)[0])
    assert np.array_equal(fixed.sample(5)[0], fixed.sample(5)[0])


def test_a_sample_has_the_moments_of_the_mixture(fitted):
    drawn, labels = fitted.sample(20_000)
    assert (np.diff(labels) >= 0).all()
    np.testing.assert_allclose(np.bincount(labels) / 20_000, fitted.weights_, atol=0.02)
    np.testing.assert_allclose(drawn[labels == 1].mean(axis=0), fitted.means_[1], atol=0.1)


def test_a_warm_start_goes_on_and_counts_anew(rows, rng):
    start = start_of(rows, "full", 3, rng)
    whole = GaussianMixture(3, tol=1e-9, max_iter=20, **start)
    halves = GaussianMixture(3, tol=1e-9, max_iter=10, warm_start=True, **start)
    for gm in (whole, halves):
        with pytest.warns(ConvergenceWarning):
            gm.fit(rows)
    first = halves.lower_bounds_
    with pytest.warns(ConvergenceWarning):
        halves.fit(rows)
    assert halves.n_iter_ == 10
    assert [*first, *halves.lower_bounds_] == whole.lower_bounds_
    assert np.array_equal(halves.means_, whole.means_)


def test_a_warm_start_on_new_rows_is_not_converged_at_once(rows, fitted):
    gm = copy.deepcopy(fitted).set_params(warm_start=True)
    moved = rows + 0.7
    gm.fit(moved)
    assert gm.n_iter_ > 2
    assert gm.lower_bounds_[0] < fitted.lower_bound_
    assert gm.score(moved) == pytest.approx(clone(fitted).fit(moved).score(moved), abs=0.05)


def test_a_warm_start_in_a_run_says_what_it_started_from(rows, fitted, tmp_path):
    def warm():
        return copy.deepcopy(fitted).set_params(warm_start=True, max_iter=2, tol=0.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = warm().fit(rows, checkpoint=tmp_path / "run")
        again = warm().fit(rows, checkpoint=tmp_path / "run")
        other = GaussianMixture(**{**fitted.get_params(), "random_state": 5, "max_iter": 1}).fit(rows)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["given"]
    assert np.array_equal(whole.means_, again.means_)
    with pytest.raises(RunMismatchError, match="warm_start another solution"):
        other.set_params(warm_start=True, random_state=0, max_iter=2, tol=0.0).fit(rows, checkpoint=tmp_path / "run")


def test_a_warm_start_from_another_shape_is_refused(rows, fitted):
    gm = copy.deepcopy(fitted).set_params(warm_start=True, n_components=4)
    with pytest.raises(ConfigError, match="warm_start=True, but the last solution has"):
        gm.fit(rows)


# ---- runs --------------------------------------------------------------------------------------------------------------


def test_a_run_that_was_cut_short_goes_on_to_the_same_bits(rows, tmp_path):
    parameters = {"tol": 1e-6, "random_state": np.random.default_rng(1), "block_rows": BLOCK_ROWS}
    whole = GaussianMixture(3, max_iter=500, **{**parameters, "random_state": np.random.default_rng(1)})
    whole.fit(rows, checkpoint=tmp_path / "whole")
    with pytest.warns(ConvergenceWarning):
        GaussianMixture(3, max_iter=4, **parameters).fit(rows, checkpoint=tmp_path / "cut")
    again = GaussianMixture(3, max_iter=500, tol=1e-6, block_rows=BLOCK_ROWS)  # the seed is the run's own
    again.fit(rows, checkpoint=tmp_path / "cut", resume="must")
    assert same_bits(whole, again)
    assert model_hash(tmp_path / "whole" / "model.zarr") == model_hash(tmp_path / "cut" / "model.zarr")
    again.save(tmp_path / "saved.zarr")
    assert model_hash(tmp_path / "saved.zarr") == model_hash(tmp_path / "cut" / "model.zarr")


def test_a_finished_run_is_only_read(rows, tmp_path):
    first = GaussianMixture(3, random_state=0).fit(rows, checkpoint=tmp_path / "run")
    before = sorted((tmp_path / "run" / "commits").iterdir())
    again = GaussianMixture(3, random_state=0)
    labels = again.fit_predict(rows, checkpoint=str(tmp_path / "run"))
    assert same_bits(first, again)
    assert np.array_equal(labels, first.predict(rows))
    assert sorted((tmp_path / "run" / "commits").iterdir()) == before
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert {"start", "pass", "commit", "finish"} <= set(kinds)


# ---- where it computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["serial", "threads", Serial(), Threads(3)], ids=["serial", "threads", "Serial()", "Threads(3)"])
def test_every_executor_gives_the_same_bits(executor, rows, fitted):
    gm = clone(fitted).set_params(executor=executor)
    for table in (rows, da.from_array(rows, chunks=(90, 2))):
        assert same_bits(gm.fit(table), fitted)
    assert np.array_equal(gm.predict(rows), fitted.predict(rows))


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(1, processes=False, host=None) as running:
        yield running


def test_lazy_rows_are_fitted_on_the_current_client_and_rows_in_memory_never(cluster, rows, fitted, monkeypatch):
    used = []
    monkeypatch.setattr(estimator, "Job", lambda *given, **named: used.append(given[2].name) or sg.job.Job(*given, **named))
    lazy = da.from_array(rows, chunks=(90, 2))
    with Client(cluster):
        assert same_bits(clone(fitted).fit(lazy), fitted)
        assert same_bits(clone(fitted).fit(rows), fitted)
    clone(fitted).fit(lazy)
    assert used == ["dask_distributed", "threads", "threads"]


def test_a_client_or_an_address_may_be_given(cluster, rows, fitted):
    lazy = da.from_array(rows, chunks=(90, 2))
    with Client(cluster, set_as_default=False) as client:
        gm = clone(fitted).set_params(executor=client)
        assert same_bits(gm.fit(lazy), fitted)
        assert clone(gm).executor is client
        travelled = pickle.loads(pickle.dumps(gm))
        assert travelled.executor == cluster.scheduler_address
        assert copy.deepcopy(gm).executor == cluster.scheduler_address
    assert same_bits(travelled.fit(lazy), fitted)
    assert travelled.score(lazy) == fitted.score(rows)
    assert np.array_equal(travelled.predict(rows), fitted.predict(rows))


def test_a_fit_inside_a_task_does_not_wait_for_its_own_cluster(cluster, rows, fitted):
    def task(gm, x):
        return gm.fit(da.from_array(x, chunks=(90, 2))).means_

    with Client(cluster) as client:
        assert np.array_equal(client.submit(task, clone(fitted), rows).result(timeout=60), fitted.means_)


@pytest.mark.parametrize("bad", ["thread", "cluster", 3, Threads])
def test_an_executor_that_is_none_is_refused(bad, rows):
    with pytest.raises(ConfigError, match="executor"):
        GaussianMixture(executor=bad).fit(rows)


def test_a_fit_in_memory_imports_no_cluster():
    code = "import numpy, sys, streamgmm; streamgmm.GaussianMixture().fit(numpy.eye(2)).predict(numpy.eye(2))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit('distributed' in sys.modules)"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_many_fits_leave_no_thread_and_no_model_behind(rows):
    GaussianMixture(2).fit(rows)
    threads, models = threading.active_count(), []
    for seed in range(20):
        gm = GaussianMixture(2, random_state=seed, block_rows=BLOCK_ROWS, executor=Threads(2)).fit(rows)
        gm.predict(rows)
        models.append(weakref.ref(gm.mixture_))
    del gm
    gc.collect()
    assert threading.active_count() == threads
    assert not [model for model in models if model() is not None]


# ---- what is said ------------------------------------------------------------------------------------------------------


def test_nothing_is_printed_unless_asked_for(rows, capsys):
    GaussianMixture(3, random_state=0).fit(rows).predict(rows)
    assert capsys.readouterr() == ("", "")


def test_verbose_prints_every_so_manieth_pass_to_standard_error(rows, capsys):
    gm = GaussianMixture(3, random_state=0, tol=1e-7, max_iter=500, verbose=1, verbose_interval=5).fit(rows)
    out, err = capsys.readouterr()
    assert not out
    passes = [int(line.split()[1].rstrip(":")) for line in err.splitlines() if line.startswith("pass ")]
    assert passes == list(range(5, gm.n_iter_ + 1, 5))
    assert Outcome.CONVERGED.value in err


def test_repairs_are_warned_of_once(rng):
    x = rng.normal(size=(200, 2))
    x[:, 1] = 3.0
    with pytest.warns(DegenerateFitWarning, match=r"component 0 \(floor in \d+ pass\(es\) from pass 1 on") as caught:
        GaussianMixture(2, reg_covar=0.0, random_state=0, max_iter=200).fit(x)
    assert [warning.category for warning in caught] == [DegenerateFitWarning]
    assert caught[0].filename == __file__


def test_warnings_point_at_the_callers_line(rows):
    gm = GaussianMixture(3, max_iter=1, random_state=0)
    for call in (lambda: gm.fit(rows), lambda: gm.fit_predict(rows), lambda: sg.fit(rows, gm, schedule="full_batch")):
        with pytest.warns(ConvergenceWarning) as caught:
            call()
        assert caught[0].filename == __file__


def test_too_few_digits_are_warned_of(rng):
    x = (rng.normal(size=(300, 2)) * 10 + [0, 1e8]).astype(np.float32)
    with pytest.warns(PrecisionWarning, match="column 'f1' is float32") as caught:
        GaussianMixture(random_state=0).fit(x)
    assert len(caught) == 1


# ---- what an estimator is ----------------------------------------------------------------------------------------------


def test_fit_leaves_the_estimator_as_it_is(rows, fitted):
    gm = clone(fitted)
    result = sg.fit(rows, gm, executor="serial", schedule="full_batch")
    assert isinstance(result, FitResult)
    assert result.outcome is Outcome.CONVERGED
    assert np.array_equal(result.mixture.components.means, fitted.means_)
    assert not hasattr(gm, "mixture_")
    assert gm.executor is None


def test_the_function_fits_by_few_reads_unless_told_otherwise(rows, fitted):
    result = sg.fit(rows, clone(fitted), executor="serial")
    assert "left" in result.state.best.memory
    assert result.state.best.log_likelihood >= fitted.lower_bound_ - 1e-9
    with pytest.warns(ConvergenceWarning):
        stepwise = sg.fit(rows, clone(fitted).set_params(schedule="stepwise", max_iter=2, tol=0.0), executor="serial")
    assert stepwise.state.passes == 2


def test_parameters_can_be_read_and_not_written(fitted):
    for name in PARAMETERS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(fitted, name)[...] = 0.0
        with pytest.raises(AttributeError):
            setattr(fitted, name, None)


def test_before_a_fit_there_are_no_fitted_attributes():
    gm = GaussianMixture()
    assert not [name for name in dir(gm) if name.endswith("_") and not name.startswith("_") and hasattr(gm, name)]


def test_a_pickle_is_the_same_model(rows, fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert same_bits(again, fitted)
    assert np.array_equal(again.predict(rows), fitted.predict(rows))


def test_a_fit_keeps_no_row(fitted, rows):
    assert len(pickle.dumps(fitted)) < rows.nbytes


def test_the_tag_for_nan_follows_missing():
    assert not GaussianMixture().__sklearn_tags__().input_tags.allow_nan
    assert GaussianMixture(missing="skip").__sklearn_tags__().input_tags.allow_nan


def test_weights_are_routed_through_pipelines(rows, rng):
    weight = rng.uniform(0.5, 2.0, len(rows))
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        gm = GaussianMixture(3, random_state=0).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, gm).fit(rows, sample_weight=weight)
    scaled = StandardScaler().fit_transform(rows)
    assert same_bits(pipeline[-1], GaussianMixture(3, random_state=0).fit(scaled, sample_weight=weight))


def test_a_grid_search_chooses_by_likelihood(rows):
    search = GridSearchCV(GaussianMixture(random_state=0, max_iter=500), {"n_components": np.arange(1, 4)}, cv=3).fit(rows)
    assert search.best_params_["n_components"] == 3


def test_names_of_columns_are_kept_and_forgotten(rows):
    gm = GaussianMixture().fit(pd.DataFrame(rows, columns=["a", "b"]))
    assert gm.feature_names_in_.tolist() == ["a", "b"]
    assert not hasattr(gm.fit(rows), "feature_names_in_")


def test_the_example_in_the_docstring_works():
    found = doctest.testmod(estimator)
    assert found.attempted
    assert not found.failed


def test_scan_is_a_parameter_of_fits_that_explore(rows, tmp_path):
    gm = GaussianMixture(2, schedule="auto", scan="part", random_state=0, max_iter=2, tol=1.0).fit(rows)
    gm.save(tmp_path / "m.zarr")
    assert sg.load(tmp_path / "m.zarr").scan == clone(gm).scan == "part"
    with pytest.raises(ConfigError, match="scan must be one of all, part"):
        GaussianMixture(scan="some").fit(rows)
