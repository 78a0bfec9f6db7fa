"""The numeric profile: the same in equal processes, another one where bits would differ, and threads that do not count."""

import json
import subprocess
import sys

import pytest

from streamgmm.numeric_profile import UNCOUNTED, differences, numeric_profile, version_of
from tests.running import environment

CODE = "import json; from streamgmm.numeric_profile import numeric_profile; print(json.dumps(numeric_profile()))"


def profile_of_a_process(**changes):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], env=environment(**changes), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_text_only_and_a_copy_each_time():
    found = numeric_profile()
    assert all(isinstance(word, str) and word for pair in found.items() for word in pair)
    found["numpy"] = "changed"
    assert numeric_profile()["numpy"] != "changed"


def test_equal_processes_have_equal_profiles():
    assert differences(profile_of_a_process(), profile_of_a_process()) == {}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"NUMBA_CPU_NAME": "generic"}, {"processor", "processor features"}),
        ({"NPY_DISABLE_CPU_FEATURES": "X86_V3"}, {"numpy dispatch"}),
        ({"OPENBLAS_CORETYPE": "Prescott"}, {"blas"}),
    ],
    ids=["numba", "numpy", "blas"],
)
def test_another_class_of_processor_is_seen(changes, keys):
    plain = profile_of_a_process()
    found = differences(plain, profile_of_a_process(**changes))
    if not found and not keys & {"processor"}:
        assert "X86_V3" not in plain["numpy dispatch"], "this machine has the features that were taken away"
        return
    assert set(found) == keys


def test_threads_are_told_and_do_not_count():
    one, two = (profile_of_a_process(OPENBLAS_NUM_THREADS=n) for n in ("1", "2"))
    assert one["blas threads"] == "1"
    assert differences(one, two) == {}
    assert frozenset({"blas threads"}) == UNCOUNTED


def test_what_is_missing_is_a_difference():
    assert version_of("no-such-library") == "missing"
    assert differences({"a": "1"}, {"b": "1"}) == {"a": ("1", "missing"), "b": ("missing", "1")}
