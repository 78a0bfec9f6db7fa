"""Slices of a trial set add up."""

import json
import random

import pytest

from tests.reliability.__main__ import kept_in, table_of
from tests.reliability.joining import joined, quantiles, with_slice


def slice_of(seed, **remarks):
    return {"seed": seed, "promise": "P1", "trials": 10, "violations": seed % 2, "remarks": remarks}


def test_trials_and_violations_add_up():
    found = joined([slice_of(seed) for seed in range(5)])
    assert (found["promise"], found["trials"], found["violations"]) == ("P1", 50, 2)


def test_a_slice_takes_the_place_of_one_with_its_seed_and_no_other():
    slices = [slice_of(1), slice_of(2)]
    assert with_slice(slices, slice_of(3)) == [*slices, slice_of(3)]
    assert with_slice(slices, slice_of(1, kills=7)) == [slice_of(2), slice_of(1, kills=7)]


@pytest.mark.parametrize(
    ("name", "parts", "whole"),
    [
        ("kills", [3, 4], 7),
        ("distinct hashes", [1, 1], 1),
        ("fewest good commits", [4, 3], 3),
        ("seconds of a fit", [2.5, 3.5], 3.5),
        ("wrong", [["a"], ["b"]], ["a", "b"]),
        ("found", ["3/16", "12/15"], "15/31"),
        ("a commit every", ["0.05 s", "0.05 s"], "0.05 s"),
        ("exit codes", [{"75": 3}, {"75": 1, "0": 9}], {"75": 4, "0": 9}),
    ],
)
def test_remarks(name, parts, whole):
    assert joined([slice_of(seed, **{name: part}) for seed, part in enumerate(parts)])["remarks"] == {name: whole}


def test_quantiles_are_those_of_all_values():
    luck = random.Random(3)
    values = [luck.random() for _ in range(300)]
    found = joined([slice_of(i, seconds={"values": values[i::4]}) for i in range(4)])["remarks"]["seconds"]
    assert quantiles(found) == quantiles({"values": values})
    assert sum(value <= quantiles(found)["p99"] for value in values) == 297


def test_quantiles_of_a_slice_that_kept_no_values_are_not_understated():
    assert quantiles({"p50": 1.0, "p99": 9.0, "max": 9.0, "values": [2.0, 3.0, 4.0]}) == {"median": 3.0, "p99": 9.0, "max": 9.0}
    assert quantiles({"p99": 9.0, "values": []}) == {"p99": 9.0}


def test_the_table_adds_what_older_files_hold_as_one_slice(tmp_path):
    older = {**slice_of(0, seconds={"p50": 0.1, "p99": 1.5, "max": 1.5}), "date": "2026-01-01", "machine": "2 cores"}
    (tmp_path / "found.json").write_text(json.dumps({"kills": older}))
    kept = kept_in(tmp_path / "found.json")
    kept["kills"] = with_slice(kept["kills"], {**older, **slice_of(2, seconds={"values": [0.25]})})
    assert "| 20 | 0 | 15 % | seconds: median 0.25, p99 1.5, max 1.5 |" in table_of(kept)
