"""The fixed tree: its shape depends on the number of blocks and on nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.reduce import Span, TreeReducer, spans

BLOCKS = st.integers(1, 70)


def _pair(a, b):
    return (a, b)


def _definition(first, level, n_blocks):
    """Node (level, number) covers blocks number 2^level .. (number+1) 2^level - 1, cut off at the last block."""
    if level == 0:
        return first
    middle = first + 2 ** (level - 1)
    left = _definition(first, level - 1, n_blocks)
    return left if middle >= n_blocks else (left, _definition(middle, level - 1, n_blocks))


def _whole(n_blocks):
    return _definition(0, (n_blocks - 1).bit_length(), n_blocks)


def _reduce(parts):
    tree = TreeReducer(_pair)
    for span, value in parts:
        tree.add(span, value)
    return tree.result()


def _leaves(first, last):
    return [(Span(i, 0), i) for i in range(first, last)]


@given(n=BLOCKS, seed=st.integers(0, 2**32 - 1))
def test_any_order_of_arrival_gives_the_tree_of_the_definition(n, seed):
    leaves = _leaves(0, n)
    np.random.default_rng(seed).shuffle(leaves)
    assert _reduce(leaves) == _whole(n)


@given(n=BLOCKS, level=st.integers(0, 7), seed=st.integers(0, 2**32 - 1))
def test_spans_reduced_elsewhere_give_the_same_tree_as_leaves(n, level, seed):
    parts = [(span, _reduce((Span(i - span.first, 0), i) for i in range(span.first, span.last(n)))) for span in spans(n, level)]
    np.random.default_rng(seed).shuffle(parts)
    assert _reduce(parts) == _whole(n)


@given(n=BLOCKS, seed=st.integers(0, 2**32 - 1))
def test_the_same_bits_for_any_order_and_any_spans(n, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n)

    def total(parts):
        tree = TreeReducer(lambda a, b: a + b)
        for span, value in parts:
            tree.add(span, value)
        return tree.result()

    expected = total((Span(i, 0), values[i]) for i in range(n))
    shuffled = rng.permutation(n)
    assert total((Span(int(i), 0), values[i]) for i in shuffled) == expected
    for level in (1, 2, 5):
        pieces = [(s, total((Span(i - s.first, 0), values[i]) for i in range(s.first, s.last(n)))) for s in spans(n, level)]
        assert total(pieces[::-1]) == expected


@given(n=BLOCKS, more=st.integers(1, 40))
def test_appending_blocks_keeps_all_complete_subtrees(n, more):
    def subtrees(tree):
        return {tree} | (subtrees(tree[0]) | subtrees(tree[1]) if isinstance(tree, tuple) else set())

    def complete(n_blocks):
        return {
            _definition(span.first, level, n_blocks)
            for level in range(8)
            for span in spans(n_blocks, level)
            if (span.number + 1) << level <= n_blocks
        }

    assert complete(n) <= subtrees(_reduce(_leaves(0, n + more)))


@given(n=BLOCKS, level=st.integers(0, 8))
def test_spans_cover_every_block_once(n, level):
    covered = [i for span in spans(n, level) for i in range(span.first, span.last(n))]
    assert covered == list(range(n))


@given(n=st.integers(1, 300))
def test_in_order_no_more_than_one_result_a_level_waits(n):
    tree = TreeReducer(lambda a, b: None)
    for i in range(n):
        tree.add(Span(i, 0), None)
        assert len(tree._waiting) <= (i + 1).bit_length()


def test_nothing_added_gives_none():
    assert TreeReducer(_pair).result() is None


def test_a_span_that_waits_is_refused_when_it_comes_twice():
    tree = TreeReducer(_pair)
    tree.add(Span(4, 0), 4)
    with pytest.raises(ValueError, match=r"came twice"):
        tree.add(Span(4, 0), 4)


@given(n=st.integers(2, 70), seed=st.integers(0, 2**32 - 1))
def test_a_span_that_was_merged_is_refused_when_it_comes_twice(n, seed):
    rng = np.random.default_rng(seed)
    tree = TreeReducer(_pair)
    for span, value in _leaves(0, n):
        tree.add(span, value)
    again = int(rng.integers(n))
    with pytest.raises(ValueError, match=r"came twice"):
        tree.add(Span(again, 0), again)
