"""The row cache: every run fetched once in a pass, whatever the readers; memory bounded."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import DataError
from streamgmm.sources._row_cache import RowCache, grouped_edges, regular_edges


class Store:
    """Rows 0 .. n-1 of one column, counting what is fetched."""

    def __init__(self, n):
        self.rows = np.arange(float(n))
        self.fetched = Counter()
        self.lock = threading.Lock()

    def fetch(self, start, stop):
        with self.lock:
            self.fetched[start, stop] += 1
        return self.rows[start:stop].copy()


def cache_of(n, run, bytes_kept):
    store = Store(n)
    return store, RowCache(regular_edges(n, run, run), store.fetch, bytes_kept)


def read_all(cache, n, block):
    return np.concatenate([cache.rows(start, min(start + block, n)) for start in range(0, n, block)])


@given(n=st.integers(1, 200), run=st.integers(1, 210), block=st.integers(1, 210), kept=st.integers(0, 400))
def test_a_pass_in_order_fetches_every_run_once(n, run, block, kept):
    store, cache = cache_of(n, run, kept)
    assert read_all(cache, n, block).tobytes() == store.rows.tobytes()
    assert set(store.fetched.values()) == {1}
    assert len(store.fetched) == -(-n // run)


@given(chunks=st.lists(st.integers(0, 9), min_size=1).filter(any), block=st.integers(1, 30))
def test_runs_of_uneven_chunks_are_whole_chunks(chunks, block):
    edges = grouped_edges(chunks, block)
    sums = np.cumsum([0, *chunks])
    assert set(edges) <= set(sums)
    assert edges[0] == 0
    assert edges[-1] == sums[-1]
    assert (np.diff(edges)[:-1] >= block).all()
    assert (np.diff(edges) > 0).all()


def test_regular_runs_hold_at_least_a_block_and_whole_chunks():
    assert regular_edges(100, 7, 20).tolist() == [0, 21, 42, 63, 84, 100]
    assert regular_edges(100, 30, 20).tolist() == [0, 30, 60, 90, 100]


def test_a_block_inside_a_run_is_a_view():
    _, cache = cache_of(100, 50, 10**6)
    assert cache.rows(10, 20).base is not None
    assert cache.rows(10, 20).base is cache.rows(20, 30).base


def test_readers_who_want_the_same_run_cause_one_fetch():
    store, cache = cache_of(1000, 1000, 10**6)
    barrier = threading.Barrier(8)

    def read(i):
        barrier.wait()
        return cache.rows(i * 100, i * 100 + 100)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(8)))
    assert np.concatenate(found).tobytes() == store.rows[:800].tobytes()
    assert store.fetched == {(0, 1000): 1}


@pytest.mark.parametrize("run", [5, 64, 333])
def test_readers_in_rising_order_fetch_every_run_once(run):
    n, block = 20_000, 50
    store, cache = cache_of(n, run, 64 * run)
    starts = range(0, n, block)
    with ThreadPoolExecutor(6) as pool:  # six blocks in flight, as an executor's window has them
        windows = [list(pool.map(lambda start: cache.rows(start, start + block), starts[i : i + 6])) for i in range(0, len(starts), 6)]
    found = [rows for window in windows for rows in window]
    assert np.concatenate(found).tobytes() == store.rows.tobytes()
    assert set(store.fetched.values()) == {1}


def held(cache):
    return sum(run.rows.nbytes for run in cache._runs.values() if run.rows is not None)


def test_no_more_than_the_bound_is_kept_by_a_pass_in_order():
    _, cache = cache_of(10_000, 100, 5000)
    for start in range(0, 10_000, 30):
        cache.rows(start, min(start + 30, 10_000))
        assert held(cache) <= 5000
        assert held(cache) == cache._bytes


def test_random_access_keeps_two_runs_beyond_the_bound_and_no_more():
    _, cache = cache_of(10_000, 100, 10)
    starts = list(range(0, 10_000, 30))
    random.Random(0).shuffle(starts)
    for start in starts:
        cache.rows(start, min(start + 30, 10_000))
        assert held(cache) <= 2 * 800


def test_a_small_table_stays():
    store, cache = cache_of(100, 10, 800)
    for _ in range(3):
        read_all(cache, 100, 7)
    assert set(store.fetched.values()) == {1}


def test_a_failed_fetch_is_tried_again():
    store, cache = cache_of(100, 50, 10**6)
    good, store_fetch = store.fetch, cache._fetch
    cache._fetch = lambda start, stop: (_ for _ in ()).throw(OSError("stall"))
    with pytest.raises(OSError, match="stall"):
        cache.rows(0, 10)
    cache._fetch = good
    assert cache.rows(0, 10).tolist() == list(range(10))
    assert cache._readers == 0
    assert store_fetch is not None


def test_a_store_that_gives_fewer_rows_is_refused():
    cache = RowCache(regular_edges(100, 50, 50), lambda start, stop: np.zeros(stop - start - 1))
    with pytest.raises(DataError, match=r"gave 49 rows for rows 50 to 99"):
        cache.rows(60, 70)
