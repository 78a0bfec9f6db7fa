"""Every row of the catalogue of bad input has a test that is there, or a reason why it needs none."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.bad_input.catalogue import DOES_NOT_APPLY, ELSEWHERE, NAMED, OTHERWISE, ROWS

TESTS = Path(__file__).resolve().parents[1]
EVERY = [f"{letter}{number}" for letter, last in ROWS.items() for number in range(1, last + 1)]
BY_NAME = {f"{letter}{number}": file for file, (letter, numbers) in NAMED.items() for number in numbers}
SKIPS = ("skip", "skipif", "xfail", "long")


@cache
def functions(file):
    """Names of the test functions of a file, collected without running it, with their decorators."""
    tree = ast.parse((TESTS / f"{file}.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def found_for(row):
    """(file, function) of each test of a row."""
    letter, number = row[0], int(row[1:])
    named = BY_NAME.get(row)
    wanted = {f"{letter}{number:02d}", f"{letter.lower()}{number}"}
    own = [(named, name) for name in functions(named) if wanted & set(name.split("_"))] if named else []
    return own + [tuple(test.split("::")) for test in ELSEWHERE.get(row, ())]


def test_there_are_147_rows_and_no_others():
    assert len(EVERY) == 147
    assert set(EVERY) == BY_NAME.keys() | ELSEWHERE.keys() | DOES_NOT_APPLY.keys()
    assert OTHERWISE.keys() <= set(EVERY)


@pytest.mark.parametrize("row", EVERY)
def test_a_row_has_tests_that_are_there_or_a_reason(row):
    found = found_for(row)
    assert bool(found) != (row in DOES_NOT_APPLY), f"{row}: either tests or a reason"
    for file, name in found:
        assert name in functions(file), f"{row}: no {name} in {file}.py"
        marks = [ast.unparse(decorator) for decorator in functions(file)[name].decorator_list]
        assert not [mark for mark in marks if mark.split("(")[0].rpartition(".")[2] in SKIPS], f"{row}: {name} may be left out"


@pytest.mark.parametrize(("file", "letter"), [(file, letter) for file, (letter, _) in NAMED.items()])
def test_tests_that_are_named_after_a_row_are_listed(file, letter):
    listed = {name for row in EVERY if BY_NAME.get(row) == file for _, name in found_for(row)}
    for name in functions(file):
        first = name.split("_")[1]
        if first[0].upper() == letter and first[1:].isdigit():
            assert name in listed
