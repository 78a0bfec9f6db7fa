"""A sample of the kill trials; the whole set: python -m tests.reliability."""

import subprocess
import sys


def test_killed_fits_end_with_the_same_bytes():
    """In a process of its own: its children must not inherit the threads of the tests before."""
    code = "from tests.reliability.kills import trials; found = trials(4, seed=1); print(found); assert not found.violations"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_trials_notice_a_fit_that_starts_from_other_numbers_after_a_kill():
    """Without the saved state (every start begins anew, with another seed) the same trials find violations."""
    code = (
        "import itertools, os\n"
        "from tests.reliability import kills\n"
        "made = kills.job_of\n"
        "def other(store, executor, observe=None):\n"
        "    job = made(store, executor, observe)\n"
        "    seed = 3 if executor.name == 'serial' or not os.path.exists('/proc/self') else os.getpid()\n"
        "    object.__setattr__(job, 'configuration', job.configuration.model_copy(update={'seed': seed, 'max_iter': 3}))\n"
        "    return job\n"
        "kills.job_of = other\n"
        "kills.MOST_STARTS = 3\n"
        "try:\n"
        "    assert kills.trials(2, seed=1).violations\n"
        "except AssertionError as error:\n"
        "    assert 'did not end' in str(error), error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
