"""A sample of the trials that kill processes; the whole sets: python -m tests.reliability.

In processes of their own: the children of these trials must not inherit the threads of the tests before.
"""

import subprocess
import sys


def _run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_killed_and_started_again_ends_with_the_same_bytes():
    """P1, P7, P9, P21."""
    _run("""
from tests.reliability import default_kills, kills, ladders, live_files, updates

for found in (
    kills.trials(4, seed=1, schedule="full_batch"),
    updates.trials(4, seed=1),
    live_files.kill_trials(4, seed=1, many=10),
    ladders.kill_trials(1, seed=2, n_rows=2000),
    default_kills.trials(3, seed=1, rows=4000, ks=(2,), LEAST_STARTS=3, FIRST_STEPS=5),
):
    print(found)
    assert found.violations == 0
assert found.remarks["kills in"].keys() - {"none"}, "without a kill nothing is shown"
""")


def test_the_trials_notice_what_is_not_the_same():
    """Fits of another seed after a kill; pasts that weigh otherwise in every process; files that are written where they are read."""
    _run("""
import os, time
from streamgmm import live, live_file, updating
from tests.reliability import children, kills, live_files, updates

children.MOST_STARTS = 3
job_of, past_of = kills.job_of, updating.past_of

def other_job(store, executor, *given):
    job = job_of(store, executor, *given)
    seed = 3 if executor.name == "serial" else os.getpid()
    object.__setattr__(job, "configuration", job.configuration.model_copy(update={"seed": seed, "max_iter": 3}))
    return job

def in_place(path, state):
    raw = live_file._packed(state)
    path.write_bytes(raw[:100])
    time.sleep(0.02)
    path.write_bytes(raw)

kills.job_of = other_job
updating.past_of = lambda mixture, weight, how: past_of(mixture, weight * (1 + os.getpid() / 1e8), how)
live.save_live = in_place
try:
    assert kills.trials(2, seed=1, schedule="full_batch").violations
except AssertionError as error:
    assert "no end in" in str(error), error
assert updates.trials(2, seed=1).violations
try:
    assert live_files.kill_trials(4, seed=1, many=10).violations
except AssertionError as error:
    assert "no end in" in str(error), error
""")
