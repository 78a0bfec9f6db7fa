"""Raw rows become blocks: what is converted, what is left out, what is refused and in which words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamgmm.block import LARGEST, as_block
from streamgmm.errors import DataError, NonFiniteDataError, NumericalError, SchemaError

NAMES = ("a", "b")
ROWS = np.arange(12.0).reshape(6, 2)


def block(rows, *, index=2, start=100, names=NAMES, **options):
    return as_block(np.asarray(rows), index=index, start=start, feature_names=names, **options)


def test_rows_that_are_a_block_already_are_not_copied():
    assert np.shares_memory(block(ROWS).x, ROWS)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS.astype("f4"),
        ROWS.astype("f2"),
        ROWS.astype(">f8"),
        ROWS.astype(">i2"),
        ROWS.astype("i8"),
        ROWS.astype("u8"),
        ROWS.astype("u1"),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=0)[::2],
        ROWS[::-1][::-1],
    ],
)
def test_any_real_dtype_and_memory_order_gives_the_same_bits(rows):
    x = block(rows).x
    assert x.tobytes() == ROWS.tobytes()
    assert x.dtype == np.dtype("=f8")
    assert x.flags.c_contiguous


def test_bool_is_zero_and_one():
    assert block([[True, False]]).x.tolist() == [[1.0, 0.0]]


def test_read_only_and_unaligned_rows_are_copied():
    locked = ROWS.copy()
    locked.flags.writeable = False
    unaligned = np.frombuffer(b"x" + ROWS.tobytes(), dtype="f8", offset=1).reshape(6, 2)
    for rows in (locked, unaligned):
        x = block(rows).x
        assert x.flags.writeable
        assert x.flags.aligned
        assert x.tobytes() == ROWS.tobytes()


def test_a_block_says_where_it_is():
    made = block(ROWS)
    assert (made.index, made.start, made.n_rows, made.skipped) == (2, 100, 6, 0)
    assert made.kept is None
    assert made.sample_weight is None


@pytest.mark.parametrize("missing", ["raise", "skip"])
def test_no_rows_are_a_block(missing):
    assert block(np.empty((0, 2)), missing=missing, sample_weight=np.empty(0)).n_rows == 0


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 1)])
def test_another_shape_is_refused(shape):
    with pytest.raises(SchemaError, match=r"block 2: expected rows of shape \(n, 2\)"):
        block(np.zeros(shape))


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("c16", "Complex data not supported"),
        ("O", "dtype object"),
        ("U3", "not accepted"),
        ("M8[s]", "not accepted"),
        ("V8", "not accepted"),
    ],
)
def test_other_dtypes_are_refused(dtype, said):
    with pytest.raises(SchemaError, match=said):
        block(np.zeros((6, 2), dtype))


@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="longdouble is float64 on this platform")
def test_longdouble_is_refused():
    with pytest.raises(SchemaError, match="not accepted"):
        block(np.zeros((6, 2), np.longdouble))


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, -(2**63)])
def test_integers_that_float64_would_round_are_refused(value):
    rows = np.zeros((3, 2), np.int64)
    rows[1, 1] = value
    with pytest.raises(DataError, match=r"column 'b' holds integers beyond 2\*\*53.*not exact in float64"):
        block(rows)


def test_unsigned_integers_beyond_float64_are_refused_and_exact_ones_taken():
    assert block(np.full((1, 2), 2**53, np.uint64)).x[0, 0] == 2.0**53
    with pytest.raises(DataError, match="18446744073709551615"):
        block(np.full((1, 2), 2**64 - 1, np.uint64))


def test_nan_is_refused_with_its_place_and_count():
    rows = ROWS.copy()
    rows[[1, 4], [1, 0]] = np.nan
    rows[4, 1] = np.nan
    with pytest.raises(NonFiniteDataError, match=r"contains NaN: 3 values in 2 rows of block 2, the first in column 'b', row 101.*skip"):
        block(rows)


@pytest.mark.parametrize("missing", ["raise", "skip"])
def test_infinity_is_refused_with_its_place_and_count(missing):
    rows = ROWS.copy()
    rows[0, 0] = np.nan
    rows[[2, 3], 1] = [np.inf, -np.inf]
    with pytest.raises(NonFiniteDataError, match=r"contains infinity: 2 values in block 2, the first in column 'b', row 102"):
        block(rows, missing=missing)


@given(
    x=hnp.arrays(np.float64, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=st.sampled_from([0.0, 1.5, -2e100, np.nan])),
    weighted=st.booleans(),
)
def test_rows_with_a_missing_value_are_left_out_and_counted(x, weighted):
    weight = np.arange(float(len(x))) if weighted else None
    made = block(x, names=[f"f{j}" for j in range(x.shape[1])], missing="skip", sample_weight=weight)
    whole = ~np.isnan(x).any(axis=1)
    assert made.x.tobytes() == x[whole].tobytes()
    assert made.skipped == len(x) - whole.sum()
    assert (np.arange(len(x)) if made.kept is None else made.kept).tolist() == np.flatnonzero(whole).tolist()
    assert (made.sample_weight is None) == (not weighted)
    if weighted:
        assert made.sample_weight.tolist() == weight[whole].tolist()


@pytest.mark.parametrize("value", [1.1e153, -1e200, 1e308])
def test_values_whose_squares_overflow_are_refused(value):
    rows = ROWS.copy()
    rows[3, 1] = value
    with pytest.raises(NumericalError, match=r"block 2: column 'b' ranges from .*Rescale"):
        block(rows)


def test_a_whole_block_of_the_largest_values_is_taken():
    rows = np.full((1000, 2), LARGEST)
    rows[::2] *= -1
    assert block(rows).x.tobytes() == rows.tobytes()


def test_overflow_is_seen_beside_missing_values():
    with pytest.raises(NumericalError, match="Rescale"):
        block([[np.nan, 0.0], [1e200, 0.0]], missing="skip")


def test_weights_are_taken_with_one_or_two_axes_and_any_dtype():
    for weight in (np.arange(6), np.arange(6.0)[:, None], np.arange(6, dtype=">f4"), np.ones(6, bool)):
        assert block(ROWS, sample_weight=weight).sample_weight.tolist() == weight.astype("f8").ravel().tolist()


@pytest.mark.parametrize(("value", "said"), [(-1.0, "negative"), (np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "negative")])
def test_weights_that_are_none_are_refused(value, said):
    weight = np.ones(6)
    weight[4] = value
    with pytest.raises(DataError, match=rf"the weight of row 104 is {said}, and 1 weights of 6"):
        block(ROWS, sample_weight=weight)


def test_weights_of_another_length_are_refused():
    with pytest.raises(DataError, match="5 values for 6 rows from row 100 on"):
        block(ROWS, sample_weight=np.ones(5))


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(SchemaError, match="sample_weight"):
        block(ROWS, sample_weight=np.full(6, "a"))
