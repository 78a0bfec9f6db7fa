"""Threat rows S1 and S23: no file of ours can hold code, and nothing of the package runs what it reads.

The syntax tree of every module is searched; then a process with an audit hook loads models, runs, configurations and stores.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import streamgmm
from streamgmm import commands
from streamgmm.commands.where import Where
from tests.running import environment, survey_rows, write_store

PACKAGE = Path(streamgmm.__file__).parent
PATHS = sorted(PACKAGE.rglob("*.py"))

PICKLING = {"pickle", "_pickle", "cPickle", "pickletools", "joblib", "cloudpickle", "dill", "marshal", "shelve", "yaml"}
STARTING = {"subprocess", "multiprocessing", "pty", "commands", "ctypes", "cffi"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module", "np.load", "numpy.load"}
PREFIXES = ("os.exec", "os.spawn", "os.posix_spawn", "pickle.", "yaml.", "dask.distributed.protocol", "distributed.protocol")

# The only ways out of plain data. Dask pickles what a fit sends to its own workers; nothing of it is ever read from a file.
LAZY = {"importlib.import_module"}


def _roots(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and node.module else set()


def _is_off(keyword):
    return isinstance(keyword.value, ast.Constant) and keyword.value.value is False


def faults(text):
    """What in a module's text imports, calls or allows code out of data."""
    found = []
    for node in ast.walk(ast.parse(text)):
        found += [f"import {root}" for root in sorted(_roots(node) & (PICKLING | STARTING))]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [f"call {name}"] * (name in CALLS or name.startswith(PREFIXES))
            found += [f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords if k.arg in ("allow_pickle", "shell") and not _is_off(k)]
            if name in LAZY and node.args and isinstance(node.args[0], ast.Constant):
                found += [f"import {node.args[0].value}"] * (node.args[0].value.split(".")[0] in PICKLING | STARTING)
    return found


@pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(PACKAGE)) for path in PATHS])
def test_s1_s23_a_module_runs_nothing_that_it_reads(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "import cloudpickle as c",
        "import yaml",
        "eval('1')",
        "exec(x)",
        "compile(x, 'f', 'exec')",
        "np.load(f)",
        "np.lib.format.read_array(f, allow_pickle=True)",
        "f(allow_pickle=flag)",
        "import subprocess",
        "run(x, shell=True)",
        "os.system(x)",
        "os.execv(x, y)",
        "importlib.import_module('pickle')",
        "def f():\n    import marshal",
    ],
)
def test_the_search_finds_what_it_is_for(text):
    assert faults(text)


@pytest.mark.parametrize("text", ["f(allow_pickle=False)", "re.compile(x)", "run(x, shell=False)", "importlib.import_module('zarr')"])
def test_the_search_lets_plain_code_be(text):
    assert not faults(text)


# ---- a process that watches itself -----------------------------------------------------------------------------------------------

WATCHED = """
import json, sys
from pathlib import Path
import numpy, streamgmm
from streamgmm import commands
import streamgmm.sources, streamgmm.model_file, streamgmm.checkpoint, streamgmm.commands.settings
import zarr, obstore.store, pyarrow.parquet, xarray

folder, planted = Path(sys.argv[1]), sys.argv[2:]
WATCHED = ("exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "socket.connect",
    "socket.getaddrinfo", "pickle.find_class", "marshal.loads", "ctypes.dlopen")
seen, watching = [], []

def hook(name, arguments):
    if not watching or name not in WATCHED:
        return
    frame, names = sys._getframe(1), []
    while frame is not None:
        names.append(frame.f_code.co_filename)
        frame = frame.f_back
    if not any("importlib" in one for one in names):  # running a module's own code is an import
        seen.append([name, str(arguments)[:200], names[:6]])

sys.addaudithook(hook)

def everything():
    streamgmm.load(folder / "run" / "model.zarr")
    streamgmm.checkpoint.Run(folder / "run").record()
    assert streamgmm.checkpoint.Run(folder / "run").latest() is not None
    streamgmm.commands.settings.resolve({}, folder / "job.toml")
    streamgmm.open_source(folder / "stars.zarr").read(0)
    commands.inspect(folder / "run"), commands.inspect(folder / "stars.zarr")
    commands.score(folder / "run", folder / "stars.zarr", where=commands.Where(executor="serial"))

everything()  # what is imported or compiled when first used
watching.append(True)
everything()
found = [list(seen)]
for text in planted:
    seen.clear()
    exec(text)
    found.append(list(seen))
watching.clear()
print(json.dumps(found))
"""


PLANTED = {
    "import pickle; pickle.loads(pickle.dumps(Path('/')))": "pickle.find_class",
    "import subprocess; subprocess.run(['true'])": "subprocess.Popen",
    "import os; os.system('true')": "os.system",
    "import socket; socket.socket().connect_ex(('127.0.0.1', 9))": "socket.connect",
    "eval(compile('1', 'data', 'eval'))": "compile",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What the hook saw: of a store, a finished run, its model and a configuration being loaded; then of each planted line."""
    folder = tmp_path_factory.mktemp("world")
    store = write_store(folder / "stars.zarr", survey_rows(600))
    commands.fit(store, folder / "run", n_components=2, init="random", max_iter=2, where=Where(executor="serial"))
    (folder / "job.toml").write_text(f'store = "{store}"\n[fit]\nn_components = 2\n')
    code = [sys.executable, "-W", "ignore", "-c", WATCHED, str(folder), *PLANTED]
    done = subprocess.run(code, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_s1_loading_runs_nothing_starts_nothing_and_calls_nobody(watched):
    assert watched[0] == []


def test_the_hook_sees_what_it_is_for(watched):
    for seen, event in zip(watched[1:], PLANTED.values(), strict=True):
        assert event in {name for name, *_ in seen}
