"""What the Python interface refuses, and what it says: one test for every row of the catalogue of bad input to it.

Rows without a test here: A32 (a Dask graph that gives other values at a second read: needs the hashes of blocks, which come with
verified re-reading), A40 (a callback that raises: there are no callbacks yet).
"""

# ruff: noqa: N802  the rows of the catalogue have capital letters

import threading

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.exceptions import NotFittedError

from streamgmm import GaussianMixture
from streamgmm.errors import (
    ConfigError,
    DataChangedError,
    DataError,
    DegenerateFitWarning,
    NonFiniteDataError,
    NumericalError,
    PrecisionWarning,
    RunMismatchError,
    SchemaError,
    SingularComponentError,
    exit_code,
)
from streamgmm.memory import refuse_large_blocks
from streamgmm.sources import as_source

N = 60


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, 2))


def refused(kind, code, *said, x, fit=None, **parameters):
    """The fit is refused with this class and exit code, and the message holds all of this."""
    with pytest.raises(kind) as caught:
        GaussianMixture(**parameters).fit(x, **(fit or {}))
    assert type(caught.value) is kind
    assert exit_code(caught.value) == code
    for text in said:
        assert text in str(caught.value), str(caught.value)
    return caught.value


@pytest.mark.parametrize("value", [0, -1])
def test_A01_n_components_below_one(value, x):
    refused(ConfigError, 2, "n_components", str(value), "must be an int >= 1", x=x, n_components=value)


@pytest.mark.parametrize(
    ("value", "said"), [(2.0, "float"), ("3", "remove the quotes"), (True, "bool, which is not accepted"), (None, "None")]
)
def test_A02_n_components_of_another_type(value, said, x):
    refused(ConfigError, 2, "n_components", "must be an int >= 1", said, x=x, n_components=value)


def test_A02_numbers_of_numpy_are_numbers(x):
    GaussianMixture(np.int64(1), tol=np.float32(0.01), max_iter=np.int32(50)).fit(x)


def test_A03_more_components_than_rows(x):
    refused(DataError, 4, f"n_components={N + 1}", f"{N} sample(s)", x=x, n_components=N + 1)
    start = {"weights_init": np.full(N + 1, 1 / (N + 1)), "means_init": np.zeros((N + 1, 2)), "precisions_init": np.ones(N + 1)}
    refused(DataError, 4, f"n_components={N + 1}", f"{N} sample(s)", x=x, n_components=N + 1, covariance_type="spherical", **start)


@pytest.mark.parametrize("value", ["ful", "Full", None, 3])
def test_A04_unknown_covariance_type(value, x):
    error = refused(ConfigError, 2, "covariance_type", "full, tied, diag, spherical", repr(value), x=x, covariance_type=value)
    assert ("did you mean 'full'?" in str(error)) == isinstance(value, str)


WORDS = ["init_params", "schedule", "weight_model", "assignment", "arithmetic", "missing", "on_singular", "executor"]


@pytest.mark.parametrize("parameter", WORDS)
def test_A04_every_word_is_checked(parameter, x):
    refused(ConfigError, 2, parameter, "'sof'", x=x, **{parameter: "sof"})


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_A05_tol_negative_or_not_finite(value, x):
    refused(ConfigError, 2, "tol must be finite and >= 0", str(value), x=x, tol=value)


@pytest.mark.parametrize("parameter", ["max_iter", "n_init"])
def test_A06_no_iteration_or_start(parameter, x):
    refused(ConfigError, 2, f"{parameter} must be an int >= 1, got 0", x=x, **{parameter: 0})


@pytest.mark.parametrize("value", [-1e-6, np.nan])
def test_A07_reg_covar_negative(value, x):
    refused(ConfigError, 2, "reg_covar must be finite and >= 0", str(value), "1e-6", x=x, reg_covar=value)


@pytest.mark.parametrize(
    ("value", "said"),
    [([0.5, 0.25, 0.25], "shape (2,)"), ([0.5, 0.25, 0.25], "got (3,)"), ([1.5, -0.5], "weight 1 is -0.5"), ([0.5, 0.4], "sum of 0.9")],
)
def test_A08_weights_init(value, said, x):
    refused(ConfigError, 2, "weights_init", said, x=x, n_components=2, weights_init=value)


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.zeros((3, 2)), "shape (2, 2) (n_components, n_features), got (3, 2)"), ([[0, 0], [np.nan, 1]], "entry (1, 0) is nan")],
)
def test_A09_means_init(value, said, x):
    refused(ConfigError, 2, "means_init", said, x=x, n_components=2, means_init=value)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("full", [np.eye(2), [[1, 0.5], [0, 1]]], "component 1 must be symmetric"),
        ("full", [np.eye(2), [[1, 2], [2, 1]]], "component 1 must be positive definite: its smallest eigenvalue is -1"),
        ("full", np.eye(2), "shape (2, 2, 2)"),
        ("tied", [[1, 2], [2, 1]], "smallest eigenvalue is -1"),
        ("diag", [[1, 1], [0, 1]], "component 1 must be positive definite: its smallest eigenvalue is 0"),
        ("spherical", [1, -1], "component 1 must be positive definite: its smallest eigenvalue is -1"),
        ("spherical", [1, np.nan], "component 1 must be finite"),
    ],
)
def test_A10_precisions_init(kind, value, said, x):
    refused(ConfigError, 2, "precisions_init", said, x=x, n_components=2, covariance_type=kind, precisions_init=value)


@pytest.mark.parametrize("value", ["0", 1.5, True, -1, 2**63])
def test_A11_random_state(value, x):
    refused(ConfigError, 2, "random_state", x=x, random_state=value)


@pytest.mark.parametrize("value", [np.random, np.random.RandomState(0), np.random.mtrand._rand])
def test_A11_random_state_that_cannot_be_resumed(value, x, tmp_path):
    said = ("RandomState", "int or a numpy.random.Generator to be resumable")
    refused(ConfigError, 2, *said, x=x, random_state=value, fit={"checkpoint": tmp_path / "run"})
    assert not (tmp_path / "run").exists()
    GaussianMixture(random_state=value).fit(x)


@pytest.mark.parametrize(
    "rows", [["a", "b"], [["a", "b"], ["c", "d"]], np.array([["a", 1], [2, 3]], dtype=object), pd.DataFrame({"a": ["u", "v"]})]
)
def test_A12_text(rows):
    refused(SchemaError, 4, "could not convert", x=rows)


def test_A13_complex(x):
    refused(SchemaError, 4, "Complex data not supported", x=x + 1j)


def test_A14_one_axis(x):
    refused(SchemaError, 4, "Expected 2D array", "Reshape your data", x=x[:, 0])


def test_A15_three_axes(x):
    refused(SchemaError, 4, "(1, 60, 2)", "axis 0 counts the rows", x=x[None])


def test_A16_no_rows_no_columns(x):
    refused(SchemaError, 4, "0 sample(s)", "minimum of 1 is required", x=x[:0])
    refused(SchemaError, 4, "0 feature(s)", "minimum of 1 is required", x=x[:, :0])


def test_A17_one_row_two_components(x):
    refused(DataError, 4, "n_components=2", "1 sample(s)", x=x[:1], n_components=2)


def test_A18_nan(x):
    x[[7, 9], 1] = np.nan
    refused(NonFiniteDataError, 4, "contains NaN", "2 values in 2 rows of block 0", "column 'f1', row 7", "missing='skip'", x=x)
    table = pd.DataFrame(x, columns=["pm", "parallax"])
    refused(NonFiniteDataError, 4, "1 values", "block 1", "column 'parallax', row 1", x=table[1:].assign(pm=0.0)[7:], block_rows=1)


def test_A19_infinity(x):
    x[7, 1] = -np.inf
    for missing in ("raise", "skip"):
        refused(NonFiniteDataError, 4, "contains infinity", "1 values in block 0", "column 'f1', row 7", x=x, missing=missing)


def test_A20_overflow(x):
    refused(NumericalError, 10, "column 'f1' ranges from", "e+200", "Rescale", x=x * [1, 1e200])


def test_A21_underflow(x):
    refused(NumericalError, 10, "column 'f1' ranges from", "e-310", "Rescale", x=x * [1, 1e-310])


def test_A22_integers_that_float64_rounds():
    refused(DataError, 4, "column 'f0'", "not exact in float64", x=np.array([[2**53 + 1, 1], [2, 3]]))


def test_A23_narrow_and_wide_dtypes(x):
    for narrow in (x > 0, x.astype(np.float16)):
        with pytest.warns(UserWarning, match=f"dtype {narrow.dtype}; it is converted to float64"):
            GaussianMixture(random_state=0).fit(narrow)
    if np.longdouble(0).itemsize > 8:  # on some machines it is float64
        refused(SchemaError, 4, "wider than float64", "Convert it", x=x.astype(np.longdouble))


def test_A24_structured_or_masked(x):
    refused(SchemaError, 4, "fields a, b", "select columns", x=np.zeros(3, dtype=[("a", "f8"), ("b", "f8")]))
    masked = np.ma.masked_array(x, np.abs(x) > 1)
    refused(DataError, 4, f"{masked.mask.sum()} masked cells", x=masked)


def test_A25_sparse(x):
    with pytest.raises(TypeError, match="sparse data is not supported"):
        GaussianMixture().fit(scipy.sparse.csr_array(x))


def test_A26_columns_in_another_order(x):
    gm = GaussianMixture().fit(pd.DataFrame(x, columns=["a", "b"]))
    with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
        gm.predict(pd.DataFrame(x, columns=["b", "a"]))


def test_A27_another_number_of_columns(x):
    gm = GaussianMixture().fit(x)
    for method in (gm.predict, gm.predict_proba, gm.score_samples, gm.score, gm.bic):
        with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting 2 features"):
            method(x[:, :1])


def test_A28_not_fitted(x, tmp_path):
    gm = GaussianMixture()
    methods = (gm.predict, gm.predict_proba, gm.score_samples, gm.score, gm.aic, gm.bic)
    for call in (*(lambda method=method: method(x) for method in methods), gm.sample, gm.to_sklearn, lambda: gm.save(tmp_path / "m")):
        with pytest.raises(NotFittedError, match="not fitted yet") as caught:
            call()
        assert exit_code(caught.value) == 2


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3"])
def test_A28_sample_of_no_rows(bad, x):
    with pytest.raises(ConfigError, match="n_samples must be an int >= 1"):
        GaussianMixture().fit(x).sample(bad)


@pytest.mark.parametrize(
    ("bad", "said"),
    [(-1.0, "the weight of row 3 is negative"), (np.nan, "the weight of row 3 is NaN"), (np.inf, "the weight of row 3 is inf")],
)
def test_A29_weight_negative_or_not_finite(bad, said, x):
    weight = np.ones(N)
    weight[3:5] = bad
    refused(DataError, 4, said, "2 weights of 60", x=x, fit={"sample_weight": weight})


def test_A29_weights_of_another_length_or_all_zero(x):
    refused(DataError, 4, "59 rows for 60 rows", x=x, fit={"sample_weight": np.ones(N - 1)})
    refused(DataError, 4, "zero weight", x=x, fit={"sample_weight": np.zeros(N)})
    refused(DataError, 4, "(60, 2)", x=x, fit={"sample_weight": np.ones((N, 2))})
    with pytest.raises(DataError, match="no row takes part"):
        GaussianMixture().fit(x).score(x, sample_weight=np.zeros(N))


def test_A30_unknown_chunk_lengths(x):
    """Accepted: every chunk is a partition. Only weights that are an array cannot be told apart."""
    array = da.from_array(x, chunks=(20, 2))
    unknown = array[da.ones(N, chunks=20, dtype=bool)]
    assert GaussianMixture().fit(unknown).score(unknown) == pytest.approx(GaussianMixture().fit(x).score(x), rel=1e-12)
    refused(DataError, 4, "compute_chunk_sizes()", x=unknown, fit={"sample_weight": np.ones(N)})


def test_A31_chunks_along_the_columns(x):
    with pytest.warns(UserWarning, match=r"re-chunked from \(3 x 20, 2 x 1\) to \(1 x 60, 1 x 2\), which moves every row"):
        GaussianMixture().fit(da.from_array(x, chunks=(20, 1)))


@pytest.mark.parametrize("value", [0, 2**24 + 1, 1.5, True])
def test_A33_block_rows(value, x):
    refused(ConfigError, 2, "block_rows must be an int from 1 to 16777216", str(value), x=x, block_rows=value)


def test_A33_block_rows_over_the_memory():
    wide = as_source(da.zeros((10**9, 500), chunks=(10**5, 500)), block_rows=10**6)
    with pytest.raises(ConfigError, match=r"block_rows=1000000: 5 blocks of .* take 40040000000 bytes .* may use 8000000000 ") as caught:
        refuse_large_blocks(wide, 5, 8 * 10**9)
    allowed = int(str(caught.value).rsplit(" ", 1)[1])
    refuse_large_blocks(wide.with_block_rows(allowed), 5, 8 * 10**9)
    with pytest.raises(ConfigError):
        refuse_large_blocks(wide.with_block_rows(allowed + 1), 5, 8 * 10**9)


def test_A33_is_asked_before_anything_is_read():
    def unreadable(block_info):
        raise AssertionError("rows were read")

    table = da.map_blocks(unreadable, chunks=((10**5,) * 10**4, (10**4,)), dtype=float, meta=np.empty((0, 0)))
    refused(ConfigError, 2, "the largest block_rows allowed is", x=table, block_rows=2**24)


def test_A34_parameters_changed_before_a_resume(x, tmp_path):
    run = {"checkpoint": tmp_path / "run"}
    GaussianMixture(random_state=0).fit(x, **run)
    changes = ("reg_covar was 1e-06, is 0.001", "n_init was 1, is 2", "only max_iter, tol, deadline")
    refused(RunMismatchError, 5, *changes, x=x, fit=run, reg_covar=1e-3, n_init=2, random_state=0)
    refused(RunMismatchError, 5, "seed was 0, is 1", x=x, fit=run, random_state=1)
    refused(RunMismatchError, 5, "means_init", x=x, fit=run, means_init=[[0, 0]], random_state=0)
    refused(DataChangedError, 5, "sha256_of_ends", x=x + 1, fit=run, random_state=0)
    refused(ConfigError, 2, "holds a run already", x=x, fit={**run, "resume": "never"})
    refused(ConfigError, 2, "resume must be one of", "'yes'", x=x, fit={**run, "resume": "yes"})
    GaussianMixture(tol=1e-8, max_iter=200).fit(x, **run)


def test_A35_constant_columns(x):
    x[:, 1] = 3.0
    with pytest.warns(DegenerateFitWarning, match="component 0"):
        gm = GaussianMixture(reg_covar=0.0).fit(x)
    assert np.isfinite(gm.score_samples(x)).all()
    refused(SingularComponentError, 10, "component 0", "eigenvalue 0", "floor", x=x, reg_covar=0.0, on_singular="raise")


def test_A35_collinear_columns(x):
    x = np.column_stack([x, x.sum(axis=1)])
    with pytest.warns(DegenerateFitWarning, match="component 0"):
        GaussianMixture(reg_covar=0.0).fit(x)
    refused(SingularComponentError, 10, "component 0", "eigenvalue", "floor", x=x, reg_covar=0.0, on_singular="raise")


def test_A35_equal_rows():
    with pytest.warns(DegenerateFitWarning, match="component 0"):
        gm = GaussianMixture(reg_covar=0.0).fit(np.ones((N, 2)))
    np.testing.assert_allclose(gm.means_, [[1.0, 1.0]])


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_A36_more_components_than_distinct_rows(x):
    with pytest.warns(DegenerateFitWarning, match=r"n_components=5, but the table has only 3 distinct row\(s\)") as caught:
        gm = GaussianMixture(5, reg_covar=0.0, random_state=0).fit(np.repeat(x[:3], 20, axis=0))
    assert "component 4 (floor" in str(caught[-1].message)
    assert np.isfinite(gm.score_samples(x)).all()


def test_A37_far_outlier(x):
    gm = GaussianMixture(2, random_state=0).fit(x)
    assert -1e25 < gm.score_samples([[1e12, 1e12]])[0] < -1e22
    np.testing.assert_allclose(gm.predict_proba([[1e12, 1e12]]).sum(), 1.0)
    assert np.isfinite(GaussianMixture(2, random_state=0).fit(np.vstack([x, [1e12, 1e12]])).lower_bound_)


def test_A38_float32_with_a_spread_of_few_steps(x):
    narrow = (x * 10 + [0, 1e8]).astype(np.float32)
    with pytest.warns(PrecisionWarning, match=r"column 'f1' is float32 .* steps \(ulp\).* Store it as float64, or as its offset"):
        GaussianMixture(random_state=0).fit(narrow)


def test_A39_two_fits_at_once(x):
    entered, leave, raised = threading.Event(), threading.Event(), []

    class Slow:
        """Rows that wait."""

        def __array__(self, dtype=None, copy=None):
            entered.set()
            leave.wait(30)
            return x

    gm = GaussianMixture(random_state=0)
    first = threading.Thread(target=gm.fit, args=(Slow(),))
    first.start()
    entered.wait(30)
    try:
        gm.fit(x)
    except RuntimeError as error:
        raised.append(str(error))
    finally:
        leave.set()
        first.join()
    assert "fit already running" in raised[0]
    assert gm.fit(x).converged_  # the first one is over
