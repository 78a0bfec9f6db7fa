"""How kernels are compiled: not at import, without the interpreter lock, anew after any change of the folder."""

import subprocess
import sys

import numpy as np

from streamgmm.kernels import compiling, e_step
from tests.making import random_mixture


def test_nothing_is_compiled_at_import():
    code = (
        "from streamgmm.kernels import e_step; import streamgmm.components.gaussian_full;"
        "assert not e_step.accumulate.overloads and not e_step.evaluate.overloads"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernels_release_the_interpreter_lock():
    assert e_step.accumulate.targetoptions["nogil"]
    assert e_step.evaluate.targetoptions["nogil"]


def test_kernels_are_compiled_once_per_family_and_number_of_columns(rng):
    def signatures():
        return len(e_step.evaluate.signatures)

    random_mixture("gaussian_diag", 2, 13, rng).score_samples(np.zeros((3, 13)))
    before = signatures()
    for k, n in [(3, 1), (5, 700)]:
        random_mixture("gaussian_diag", k, 13, rng).score_samples(rng.normal(size=(n, 13)))
    assert signatures() == before
    random_mixture("gaussian_diag", 2, 14, rng).score_samples(np.zeros((3, 14)))
    assert signatures() == before + 1


def test_the_cache_is_stamped_with_the_text_of_the_whole_folder(tmp_path, monkeypatch):
    def stamp():
        compiling._folder_stamp.cache_clear()
        return compiling._folder_stamp()

    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compiling.py"))
    (tmp_path / "tile.py").write_text("a = 1")
    first = stamp()
    (tmp_path / "tile.py").write_text("a = 2")
    second = stamp()
    assert first != second
    monkeypatch.undo()
    assert stamp() not in {first, second}


def test_processes_that_save_at_the_same_time_never_read_each_others_code(tmp_path):
    """Both look at the index, then both save: whoever comes later finds its own code or none."""
    first, second = (compiling.KernelCacheFile(str(tmp_path), "kernel", "stamp") for _ in range(2))
    seen_by_both = {}
    for cache in (first, second):
        cache._load_index = lambda: dict(seen_by_both)
    first.save("signature one", "code one")
    second.save("signature two", "code two")
    fresh = compiling.KernelCacheFile(str(tmp_path), "kernel", "stamp")
    assert fresh.load("signature one") in (None, "code one")
    assert fresh.load("signature two") == "code two"
    fresh.save("signature one", "code one")
    assert (fresh.load("signature one"), fresh.load("signature two")) == ("code one", "code two")
    assert compiling.KernelCacheFile(str(tmp_path), "kernel", "another text").load("signature two") is None


def test_the_kernels_use_it():
    assert isinstance(e_step.accumulate._cache._cache_file, compiling.KernelCacheFile)


def test_where_no_folder_can_be_written_kernels_are_compiled_in_every_process():
    """As with a package and a home that are read-only: numba finds no place, and says so by an error."""
    code = (
        "import numpy as np\n"
        "from numba.core import caching\n"
        "class Nowhere:\n"
        "    @classmethod\n"
        "    def from_function(cls, function, path): return None\n"
        "caching.CompileResultCacheImpl._locator_classes = [Nowhere]\n"
        "from streamgmm.kernels import compiling, e_step\n"
        "from streamgmm.components.gaussian_spherical import GaussianSpherical\n"
        "assert compiling.cache_folder() is None\n"
        "assert type(e_step.evaluate._cache).__name__ == 'NullCache'\n"
        "score, _, _ = GaussianSpherical(np.zeros((1, 1)), np.ones(1)).evaluate(np.zeros((1, 1)), np.zeros(1))\n"
        "assert abs(score[0] + np.log(2 * np.pi) / 2) < 1e-15\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
