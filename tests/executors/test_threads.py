"""Threads: a bounded window, reading ahead, and nothing left running."""

import gc
import os
import subprocess
import sys
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


def _threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("streamgmm")}


def test_passes_share_their_threads():
    executor = Threads(3)
    executor.map_reduce(lambda block: 1.0, lambda a, b: a + b, source_of(20))
    first = _threads()
    assert first
    for _ in range(3):
        executor.map_reduce(lambda block: 1.0, lambda a, b: a + b, source_of(20))
    assert len(_threads() - first) <= 5  # a pool starts a thread when none is idle: three that compute, two that read, once


def test_a_pass_that_is_left_early_leaves_nothing_running():
    source, computed = source_of(50), []

    def slow(block):
        time.sleep(0.01)
        computed.append(block.index)
        return 1.0

    for number, _ in enumerate(Threads(2).map_spans(slow, lambda a, b: a + b, source)):
        if number == 3:
            break
    gc.collect()
    after = (len(source.reads), len(computed))
    time.sleep(0.1)
    assert (len(source.reads), len(computed)) == after
    assert len(computed) < 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_gets_threads_of_its_own():
    code = (
        "import os, streamgmm as sg, numpy as np\n"
        "from streamgmm.executors import Threads\n"
        "from streamgmm.sources.numpy_array import NumpyArraySource\n"
        "source = NumpyArraySource(feature_names=('a',), units=('',), array=np.ones((10, 1)), block_rows=1)\n"
        "count = lambda: Threads(2).map_reduce(lambda block: block.n_rows, lambda a, b: a + b, source)\n"
        "assert count() == 10\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if count() == 10 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
