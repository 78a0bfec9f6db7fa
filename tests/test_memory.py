"""Memory is bounded by blocks in flight, never by rows: measured as the peak of fresh processes, in bytes.

The same with 50 million rows on disk takes minutes and 2.6 GB of disk: `python -m pytest -m long tests/test_memory.py`.
"""

import functools
import json
import subprocess
import sys

import pytest

from benchmarks.processes import ROOT, thread_environment

pytestmark = pytest.mark.memory

MB = 10**6


@functools.cache
def peak(n_rows, n_components):
    """Peak resident memory, in bytes, of a process that fits so many drawn rows."""
    command = [sys.executable, "-m", "tests.memory_process", str(n_rows), str(n_components)]
    done = subprocess.run(command, cwd=ROOT, env=thread_environment(2), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["rows"] == n_rows
    return answer["peak_bytes"]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """The first process may have to compile, which takes memory of its own: that one is not measured."""
    peak.__wrapped__(1000, 4)


def test_ten_times_the_rows_need_no_more_memory():
    fewer, more = peak(500_000, 16), peak(5_000_000, 16)
    assert more < 600 * MB
    assert more < 1.1 * fewer


def test_no_table_of_rows_by_components_ever_exists():
    n_rows = 500_000
    growth = peak(n_rows, 64) - peak(n_rows, 16)
    one_table = n_rows * 64 * 8
    assert growth < one_table / 5


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_million_rows_on_disk():
    command = [sys.executable, "-m", "benchmarks.memory"]  # draws into a temporary folder of its own and removes it
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
