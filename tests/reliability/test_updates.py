"""A sample of the killed updates; the whole set: python -m tests.reliability."""

import subprocess
import sys


def _run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_updates_end_with_the_same_bytes():
    """P21. In a process of its own: its children must not inherit the threads of the tests before."""
    _run("from tests.reliability.updates import trials; found = trials(6, seed=1); print(found); assert not found.violations")


def test_the_trials_notice_blocks_that_are_counted_as_done_and_are_not():
    """With kept sums that stand for other rows, as a commit taken from another pass would be, the same trials find violations."""
    _run(
        "import os\n"
        "from dataclasses import replace\n"
        "from streamgmm import updating\n"
        "made = updating.UpdateJob.first_state\n"
        "def other(job):\n"
        "    state = made(job)\n"
        "    if job.executor.name == 'serial' or state.progress is None or os.getpid() % 2:\n"
        "        return state\n"
        "    return replace(state, progress=replace(state.progress, done=()))\n"
        "updating.UpdateJob.first_state = other\n"
    )
