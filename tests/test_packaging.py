"""What a user installs: the public names and what they cost, the declared libraries, the wheel, the scripts that run the tests."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import click
import pytest

import streamgmm
from streamgmm import executors, registry

PART_OF = {"llvmlite": "numba", "pydantic-core": "pydantic"}  # released together: the one pins the other's version
ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PASSED = "====== 3 passed, 1 skipped in 0.12s ======"
FAILED = "=== 1 failed, 2 passed in 65.00s (0:01:05) ==="


def run_python(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def distribution(requirement):
    return re.split(r"[\[<>=!~;\s]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def declared():
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return {distribution(line) for line in [*PROJECT["dependencies"], *extras]}


def imported_names(path):
    """Top-level names of the absolute imports of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_import_brings_in_no_other_library():
    loaded = run_python("import sys, json, streamgmm; print(json.dumps(sorted(sys.modules)))")
    without = run_python("import sys, json; print(json.dumps(sorted(sys.modules)))")
    new = {name.split(".")[0] for name in set(json.loads(loaded)) - set(json.loads(without))}
    assert new - set(sys.stdlib_module_names) == {"streamgmm"}


def test_import_reads_one_file_of_the_package():
    loaded = run_python("import sys, streamgmm; print(*[m for m in sys.modules if m.startswith('streamgmm')])")
    assert loaded.split() == ["streamgmm"]


@pytest.mark.parametrize("name", streamgmm.__all__)
def test_public_names_are_there_and_stay_the_same_object(name):
    assert getattr(streamgmm, name) is getattr(streamgmm, name)
    assert name in dir(streamgmm)


def test_public_names_need_no_optional_library():
    optional = ["pyarrow", "matplotlib", "obstore", "dask.dataframe"]
    run_python(
        "import sys\nfor name in sys.argv[1:]: sys.modules[name] = None\n"
        "import streamgmm\nfor name in streamgmm.__all__: getattr(streamgmm, name)",
        *optional,
    )


def test_fit_is_the_function_whichever_is_imported_first():
    for first in ("import streamgmm.fit", "import streamgmm.estimator", "import streamgmm; streamgmm.fit"):
        assert run_python(f"{first}\nimport streamgmm; print(type(streamgmm.fit).__name__)").strip() == "function"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'GaussianMixtures'"):
        _ = streamgmm.GaussianMixtures


def test_every_executor_of_the_folder_is_a_public_name():
    assert {registry.implementation("executors", name).__name__ for name in registry.names("executors")} == set(executors.__all__)
    assert [getattr(executors, name).__name__ for name in executors.__all__] == dir(executors)


def test_the_version_has_one_source():
    assert streamgmm.__version__ == metadata.version("streamgmm") == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_library_that_is_imported_is_declared():
    known = metadata.packages_distributions()
    files = sorted((ROOT / "streamgmm").rglob("*.py"))
    used = {name for path in files for name in imported_names(path)} - set(sys.stdlib_module_names) - {"streamgmm"}
    assert used
    for name in used:
        homes = {PART_OF.get(distribution(home), distribution(home)) for home in known.get(name, [name])}
        assert homes & declared(), f"{name} is imported, none of {sorted(homes)} is in pyproject.toml"


def test_all_holds_every_extra_of_users():
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"streamgmm[{','.join(name for name in extras if name not in ('all', 'test'))}]"]


def test_entry_points_lead_to_the_command_line():
    for target in (PROJECT["scripts"]["streamgmm"], PROJECT["entry-points"]["dask_cli"]["streamgmm"]):
        module, attribute = target.split(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_dask_has_the_command_as_well():
    """Dask warns about, and leaves out, what is not a click command; it takes the command's own name."""
    (entry,) = metadata.entry_points(group="dask_cli", name="streamgmm")
    assert isinstance(entry.load(), click.Group)
    assert entry.load().name == "streamgmm"
    done = subprocess.run([sys.executable, "-m", "dask", "streamgmm", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
    info = f"streamgmm-{PROJECT['version']}.dist-info"
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "streamgmm").rglob("*.py")}
    assert {name for name in members if not name.startswith(info)} == {*sources, "streamgmm/py.typed"}
    assert f"{info}/licenses/LICENSE" in members


def scratch_project(folder, *lines):
    """A project whose README gives these lines as its test command."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    block = ["<!-- command: test -->", "```sh", *lines, "```"]
    text = ["# A project", "```", "echo not this one", "```", *block, "```", "echo nor this", "```"]
    (folder / "README.md").write_text("\n".join(text), encoding="utf-8")
    return folder / ".ci" / "run"


@pytest.mark.parametrize(
    ("lines", "status", "closing"),
    [
        ([f"echo '{PASSED}'", "echo bye"], 0, PASSED),
        (["false", f"echo '{PASSED}'"], 1, "no test was run"),
        (["true"], 5, "no test was run"),
        ([f"echo '{FAILED}'; exit 1"], 1, FAILED),
        (["test -f README.md", "! read -r line", f"echo '{PASSED}'"], 0, PASSED),
    ],
    ids=["passes", "stops at the first failing line", "runs no test", "fails", "in the root, without input"],
)
def test_ci_runs_the_command_of_the_readme(tmp_path, lines, status, closing):
    script = scratch_project(tmp_path, *lines)
    done = subprocess.run(["bash", str(script)], cwd="/", input="input", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (status, closing)


def test_ci_says_when_the_readme_has_no_command(tmp_path):
    script = scratch_project(tmp_path)
    (tmp_path / "README.md").write_text("# A project\n", encoding="utf-8")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (2, "README.md has no block after '<!-- command: test -->'")


def fake_interpreter(folder, name, answer):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_interpreters_are_those_that_start_and_are_new_enough(tmp_path):
    fake_interpreter(tmp_path, "python3.11", "echo 'no such version' >&2; exit 127")
    good = fake_interpreter(tmp_path, "python3.12", "echo cpython 3.12")
    fake_interpreter(tmp_path, "python3.13", "echo pypy 3.13")
    newer = fake_interpreter(tmp_path, "python3", "echo cpython 3.15")
    fake_interpreter(tmp_path, "python", "echo cpython 3.10")
    fake_interpreter(tmp_path, "pyenv", "exit 1")
    for tool in ("bash", "dirname", "seq", "sort"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        [tmp_path / "bash", ROOT / ".ci" / "all-interpreters", "--list"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, [f"3.12 {good}", f"3.15 {newer}"])
