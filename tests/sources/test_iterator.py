"""Iterators of arrays: cut anew by row number, given out once, ended only at the end."""

import pickle
from itertools import count, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import DataError, SchemaError
from streamgmm.sources import as_source
from streamgmm.sources.base import EndOfSource
from streamgmm.sources.iterator import MOST_PASSED_OVER
from streamgmm.sources.numpy_array import NumpyArraySource

X = np.arange(200.0).reshape(100, 2)


def pieces(*lengths):
    edges = np.cumsum([0, *lengths])
    return (X[a:b] for a, b in pairwise(edges))


@given(lengths=st.lists(st.integers(0, 20), min_size=1, max_size=5), block_rows=st.integers(1, 30))
def test_arrays_of_any_lengths_are_cut_by_row_number(lengths, block_rows):
    blocks = list(as_source(pieces(*lengths), block_rows=block_rows).blocks())
    n = sum(lengths)
    assert [block.n_rows for block in blocks] == [min(block_rows, n - a) for a in range(0, n, block_rows)]
    assert b"".join(block.x.tobytes() for block in blocks) == X[:n].tobytes()


def test_a_producer_may_fill_one_array_again_and_again():
    def produce():
        rows = np.empty((7, 2))
        for start in range(0, 98, 7):
            rows[:] = X[start : start + 7]
            yield rows

    blocks = list(as_source(produce(), block_rows=10).blocks())
    assert np.concatenate([block.x for block in blocks]).tobytes() == X[:98].tobytes()


def test_a_second_look_is_refused_with_advice():
    source = as_source(pieces(100), block_rows=10)
    list(source.blocks())
    with pytest.raises(DataError, match=r"block 0 of an iterator of arrays has been read already.*Store the rows, or pass a source"):
        source.read(0)
    with pytest.raises(DataError, match="has been read already"):
        list(source.blocks())


def test_blocks_passed_over_are_kept_until_they_are_asked_for():
    source = as_source(pieces(30, 70), block_rows=10)
    for index in (3, 1, 0, 2, 9, 4):
        assert source.read(index).x.tobytes() == X[10 * index : 10 * index + 10].tobytes()
    with pytest.raises(DataError, match="has been read already"):
        source.read(3)
    assert sorted(source.feed.passed_over) == [5, 6, 7, 8]


def test_an_iterator_is_not_kept_in_memory_by_asking_far_ahead():
    source = as_source((np.ones((1, 2)) for _ in count()), block_rows=1)
    source.read(MOST_PASSED_OVER)
    with pytest.raises(DataError, match="read in order"):
        source.read(2 * MOST_PASSED_OVER + 2)


def test_the_end_stays_the_end():
    source = as_source(pieces(20), block_rows=10)
    assert len(list(source.blocks())) == 2
    for index in (2, 2, 3):
        with pytest.raises(EndOfSource, match="ended after 2 blocks"):
            source.read(index)


def test_a_producer_that_fails_is_not_the_end():
    def produce():
        yield X[:15]
        raise OSError("disk gone")

    source = as_source(produce(), block_rows=10)
    assert source.read(0).n_rows == 10
    with pytest.raises(DataError, match="failed in block 1: OSError: disk gone"):
        source.read(1)
    for index in (1, 2):
        with pytest.raises(DataError, match="failed before block"):
            source.read(index)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (X[:, :1], r"array 2 of the iterator: expected rows of shape \(n, 2\), got \(100, 1\)"),
        (X[:, 0], "array 2 of the iterator: expected rows"),
        (np.array([["a", "b"]]), "array 2 of the iterator: dtype"),
        (np.array([[1, 2**60]]), r"array 2 of the iterator: column 'f1' holds integers beyond 2\*\*53"),
        ([[1j, 2]], "Complex data not supported"),
    ],
    ids=range(5),
)
def test_an_array_that_does_not_fit_is_said_with_its_number(other, said):
    source = as_source(iter([X[:5], other]))
    with pytest.raises(DataError, match=said):
        source.read(0)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (np.ones(3), "Expected 2D array"),
        (np.ones((3, 2), complex), "Complex data not supported"),
        ([["a"]], "could not convert"),
    ],
)
def test_the_first_array_tells_what_is_wrong(first, said):
    with pytest.raises(SchemaError, match=said):
        as_source(iter([first]))


def test_an_empty_iterator_is_refused():
    with pytest.raises(SchemaError, match=r"Found array with 0 sample\(s\)"):
        as_source(iter([]))


def test_an_iterator_of_empty_arrays_ends_at_once():
    assert list(as_source(pieces(0, 0)).blocks()) == []


def test_frames_give_their_names():
    frames = (pd.DataFrame({"a": X[i : i + 10, 0], "b": pd.array(X[i : i + 10, 1], "Float64")}) for i in range(0, 100, 10))
    source = as_source(frames, block_rows=33)
    assert source.feature_names == ("a", "b")
    assert np.concatenate([block.x for block in source.blocks()]).tobytes() == X.tobytes()


def test_dtypes_may_differ_from_array_to_array():
    source = as_source(iter([X[:50].astype("f4"), X[50:].astype("i8")]))
    assert source.dtype == np.float32
    assert source.read(0).x.tobytes() == X.tobytes()


@pytest.mark.parametrize(
    ("n_weights", "said"), [(95, "5 values for 10 rows|ends before"), (90, "ends before block 9"), (101, "the rows end before block 10")]
)
def test_weights_must_end_with_the_rows(n_weights, said):
    source = as_source(pieces(40, 60), sample_weight=iter([np.ones(n_weights)]), block_rows=10)
    with pytest.raises(DataError, match=said):
        list(source.blocks())


def test_an_iterator_does_not_pickle_but_its_blocks_do():
    source = as_source(pieces(30, 70), block_rows=10)
    with pytest.raises(TypeError, match="an iterator of arrays cannot be pickled"):
        pickle.dumps(source)
    piece = pickle.loads(pickle.dumps(source.portable(0, 4)))
    assert isinstance(piece, NumpyArraySource)
    assert piece.read(3).x.tobytes() == X[30:40].tobytes()
    last = source.portable(4, 64)
    assert last.read(9).x.tobytes() == X[90:].tobytes()
    with pytest.raises(EndOfSource):
        last.read(10)
    with pytest.raises(EndOfSource):
        source.portable(10, 12)
