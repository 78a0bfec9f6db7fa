"""Shared fixtures and the settings of hypothesis."""

import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

# A shell that runs the tests in the background has them, and the programs they start, ignore these; the tests of signals want them.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# The first example of a test may wait for a kernel to be compiled: no deadline. Derandomised: a failure comes back on every machine.
settings.register_profile(
    "streamgmm", deadline=None, derandomize=True, database=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("streamgmm")


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20260818)


@pytest.fixture(scope="module")
def one_algebra_thread():
    """For tests whose twin calls the algebra library thousands of times on small matrices: its threads would only wait for each other."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data beside the repository; a test that needs it is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder ../shared/data beside the repository: real data are not part of it")
    return folder
