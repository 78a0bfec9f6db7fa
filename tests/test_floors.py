"""The layout, kept by a test because a diagram alone decays: floors, cycles, docstrings, and what may not be imported at all.

A module stands on the floor that the table gives its name or its folder; one that is not in the table says in its docstring
("Floor 4.") where it stands, and those in the table say the same.
"""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import streamgmm

PACKAGE = Path(streamgmm.__file__).parent

FLOORS = {
    **dict.fromkeys(
        ("errors", "arrays", "linalg", "statistics", "reduce", "block", "events", "registry", "priors", "kernels", "checksums"), 0
    ),
    **dict.fromkeys(("regularisation", "strict_zarr", "wording", "numeric_profile", "safe_paths"), 0),
    **dict.fromkeys(("components", "weights", "observers", "column_moments"), 1),
    **dict.fromkeys(("observations", "mixture"), 2),
    **dict.fromkeys(("drift_alarm", "reservoir"), 0),
    **dict.fromkeys(("em", "implied", "drift_reference"), 3),
    "online_step": 4,
    "ledger": 4,
    **dict.fromkeys(("sources", "executors", "schedules", "formats", "state", "storage"), 4),
    **dict.fromkeys(("initialisers", "commit_file", "open_storage", "stopping", "model_file"), 5),
    **dict.fromkeys(("fit", "passes", "rounds", "saving", "checkpoint", "kept_sample", "kept_scan", "exploration", "scan", "last_look"), 6),
    "sample_em": 4,
    "left_behind": 5,
    "over_fit": 5,
    **dict.fromkeys(("held_out_scores", "ladder_scores", "ladder_starts", "partial_check"), 5),
    "kept_sums": 5,
    "ladder_table": 6,
    **dict.fromkeys(("ladder", "ladder_configuration", "ladder_picture", "picture"), 7),
    **dict.fromkeys(("analysis", "report", "verification", "partial_step", "live_state"), 7),
    **dict.fromkeys(("estimator", "commands", "live_file"), 8),
    **dict.fromkeys(("cli", "cli_options", "shell", "live"), 9),
    "__main__": 10,
    "__init__": 10,
}

# Modules without a folder that are one thing in several files.
TOGETHER = {
    "cli_options": "cli",
    "shell": "cli",
    "passes": "fit",
    "rounds": "fit",
    "kept_sample": "checkpoint",
    "kept_scan": "checkpoint",
    "scan": "checkpoint",
    "ladder": "job",
    "ladder_configuration": "job",
    "updating": "job",
    "forgetting": "job",
    "kept_sums": "commit_file",
    "held_out_scores": "ladder_scores",
    "ladder_picture": "picture",
    "information": "remaining_error",
}

# Imports on the same floor between folders, each with its reason.
ALLOWED = {
    ("executors", "sources"): "an executor maps a function over the blocks of a source: it knows the abstract role, no kind of source",
}

COMPILED_ONLY = {"numba", "llvmlite"}

PATHS = sorted(PACKAGE.rglob("*.py"))
NAMES = {path: ".".join(("streamgmm", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for path in PATHS}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PATHS}
modules = pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(PACKAGE)) for path in PATHS])


def _folder(name):
    """The first part below the package: a module on its own, or the folder of a role."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _place(name):
    """What is one piece to the rules: a folder, or modules that belong together."""
    return TOGETHER.get(_folder(name), _folder(name))


def _said(path):
    found = re.search(r"\bFloor (\d+)\b", ast.get_docstring(TREES[path]) or "")
    return int(found.group(1)) if found else None


def _floor(path):
    given = FLOORS.get(_folder(NAMES[path]))
    return _said(path) if given is None else given


FLOOR_OF = {NAMES[path]: _floor(path) for path in PATHS}


def _targets(node):
    """Modules of the package that an import statement names, and those that a lazy import names as text."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are written out in full"
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in FLOOR_OF else node.module for name in whole]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FLOOR_OF and "." in node.value:
        return [node.value]
    return []


def _imported(path, *, statements_only=False):
    nodes = [node for node in ast.walk(TREES[path]) if not statements_only or isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name for node in nodes for name in _targets(node) if name in FLOOR_OF} - {NAMES[path]}


@modules
def test_a_module_stands_on_a_floor_and_says_so(path):
    said, given = _said(path), FLOORS.get(_folder(NAMES[path]))
    if path.name in ("__init__.py", "__main__.py") and said is None:
        return
    assert said is not None, "the docstring says on which floor the module stands: 'Floor 4.'"
    assert given is None or said == given, f"the docstring says floor {said}, the table floor {given}"


@modules
def test_imports_go_to_lower_floors(path):
    own, folder = FLOOR_OF[NAMES[path]], _place(NAMES[path])
    for name in sorted(_imported(path)):
        other = _place(name)
        if other == folder or (own == 0 and FLOOR_OF[name] == 0) or (folder, other) in ALLOWED:
            continue
        assert FLOOR_OF[name] < own, f"{NAMES[path]} on floor {own} imports {name} on floor {FLOOR_OF[name]}"


def test_exceptions_go_to_the_abstract_role_only():
    for path in PATHS:
        for name in _imported(path):
            if (_folder(NAMES[path]), _folder(name)) in ALLOWED:
                assert name.endswith(".base"), f"{NAMES[path]} imports {name}"


def test_there_are_no_cycles():
    graph = {NAMES[path]: _imported(path, statements_only=True) for path in PATHS}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the cycle


@modules
def test_no_import_hides_in_a_function(path):
    """An optional library is imported at the top of the one file that needs it; that file is loaded with importlib."""
    for function in ast.walk(TREES[path]):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            hidden = [node.lineno for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
            assert not hidden, f"line {hidden[0]}"


@modules
def test_a_module_opens_with_a_docstring_and_all(path):
    body = TREES[path].body
    assert ast.get_docstring(TREES[path]), "a module opens with a docstring"
    if path.name == "__main__.py" or (path.name == "__init__.py" and len(body) == 1):
        return
    first = body[1]
    assert isinstance(first, ast.Assign), "__all__ is the first statement after the docstring"
    assert [target.id for target in first.targets if isinstance(target, ast.Name)] == ["__all__"]
    exported = ast.literal_eval(first.value)
    assert len(set(exported)) == len(exported)


def _roots(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


@modules
def test_compiled_code_stays_with_the_kernels(path):
    found = [node.lineno for node in ast.walk(TREES[path]) if _roots(node) & COMPILED_ONLY]
    assert not found or _folder(NAMES[path]) == "kernels", f"line {found[0]}"
