"""Threads: a bounded window, reading ahead, and nothing left running."""

import threading
import time

import numpy as np
import pytest

from streamgmm.errors import ConfigError
from streamgmm.executors.threads import Threads
from tests.making import CountedRows


def source_of(n_blocks):
    return CountedRows(feature_names=("a",), units=("",), block_rows=1, x=np.arange(n_blocks, dtype=float)[:, None])


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_threads_is_refused(bad):
    with pytest.raises(ConfigError, match="n_threads must be an int >= 1"):
        Threads(bad)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_blocks_read_and_not_yet_merged_are_bounded(n_threads):
    executor, source, merged, most = Threads(n_threads), source_of(200), [0], [0]

    def on_span(span, value):
        merged[0] += 1
        most[0] = max(most[0], len(source.reads) - merged[0])

    executor.map_reduce(lambda block: 1.0, lambda a, b: a + b, source, on_span)
    assert most[0] <= executor.blocks_in_memory


def test_the_next_block_is_read_while_one_is_computed():
    source, reading_meanwhile = source_of(50), []

    def slow(block):
        before = len(source.reads)
        deadline = time.monotonic() + 5
        while len(source.reads) == before and block.index < 40 and time.monotonic() < deadline:
            time.sleep(0.001)
        reading_meanwhile.append(len(source.reads) - block.index)
        return 1.0

    Threads(1).map_reduce(slow, lambda a, b: a + b, source)
    assert max(reading_meanwhile) >= 2  # another one was there while this one was computed


def test_no_thread_outlives_a_pass():
    Threads(3).map_reduce(lambda block: 1.0, lambda a, b: a + b, source_of(20))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("streamgmm")]
