"""A sample of the killed updates; the whole set: python -m tests.reliability."""

import subprocess
import sys


def _run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_updates_end_with_the_same_bytes():
    """P21. In a process of its own: its children must not inherit the threads of the tests before."""
    _run("from tests.reliability.updates import trials; found = trials(6, seed=1); print(found); assert not found.violations")


def test_the_trials_notice_updates_that_begin_with_other_numbers():
    """With a past that weighs otherwise in every process the same trials find violations."""
    _run(
        "import os\n"
        "from streamgmm import updating\n"
        "from tests.reliability.updates import trials\n"
        "made = updating.past_of\n"
        "updating.past_of = lambda mixture, weight, how: made(mixture, weight * (1 + os.getpid() / 1e8), how)\n"
        "assert trials(2, seed=1).violations == 1\n"
    )
