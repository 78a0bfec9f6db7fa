"""The benchmark of reads counts them right, runs, goes on where it was ended, and says what does not hold."""

from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import reads
from benchmarks.reads import entry_of, fits_of, measure
from benchmarks.reads_problems import GAIA_COLUMNS, Problem, gaia_rows, problems_of, thinned
from benchmarks.reads_table import best_of, draw, is_resolvable, report, traces_of
from benchmarks.reads_traces import Trace, trace_of

SMALL = Problem("random", 2, 3, 4000, 1000, 0)


def trace(peer="auto", values=(-10.0, -1.0), rows=4000, value=None, *, converged=True, remaining=0.01, ended=2, before=1):
    return Trace(peer, rows, values, before, 0.0, converged, ended, max(values) if value is None else value, remaining)


def problem_of(*traces):
    problems = []
    entry_of(SMALL, problems)["traces"] = [asdict(one) for one in traces]
    return problems


def test_reads_are_counted_to_the_first_look_that_is_near():
    one = trace(values=(-10.0, -2.0, -3.0, -0.5))
    assert [one.reads_to(0.0, gap) for gap in (20, 5, 1, 0.1)] == [2, 3, 5, None]


@pytest.fixture(scope="module")
def measured():
    problems = []
    measure(SMALL, ["auto", "full_batch", "sklearn", "sklearn10"], entry_of(SMALL, problems), lambda: None)
    return problems


def test_a_small_problem_goes_through(measured):
    own = traces_of(measured[0])
    assert [one.peer for one in own] == ["auto", "full_batch", "sklearn"]
    assert best_of(measured[0]) == max(max(one.values) for one in own)
    assert own[0].value > best_of(measured[0]) - 1
    assert own[0].value in own[0].values
    assert "| random | 2 | 3 | 17 | 4,000 |" in report(measured)


def test_ten_starts_and_auto_have_the_same_rows(measured):
    ten, own = traces_of(measured[0], 1000)
    assert (own.peer, ten.peer) == ("auto", "sklearn10")
    assert own.value > ten.value - 0.1
    assert ten.ended == len(ten.values) > 20, "the looks of ten starts"


def test_scikit_learn_gives_what_its_last_look_saw():
    one = trace_of("sklearn", SMALL.table(1000), 3, 0)
    assert one.value >= one.values[-1]
    assert np.all(np.diff(one.values) > -1e-6), "a start after the other would fall; this is one"


def test_the_second_look_at_the_end_is_not_counted():
    one = trace_of("auto", SMALL.table(2000), 3, 0)
    assert len(set(one.values)) == len(one.values) > one.values.index(one.value) + 1, "it went on beyond its end"


def test_what_is_there_is_not_measured_again(measured, monkeypatch):
    monkeypatch.setattr(reads, "trace_of", lambda *_: pytest.fail("measured again"))
    measure(SMALL, ["auto", "full_batch", "sklearn", "sklearn10"], entry_of(SMALL, measured), lambda: None)
    assert len(measured) == 1


def test_every_fit_is_saved(monkeypatch):
    saved, problems = [], []
    monkeypatch.setattr(reads, "trace_of", lambda peer, x, k, seed: trace(peer, rows=len(x)))
    one = entry_of(SMALL, problems)
    measure(SMALL, ["auto", "sklearn10"], one, lambda: saved.append(len(one["traces"])))
    assert saved == [1, 2, 3]


def test_auto_is_fitted_to_the_rows_of_the_ten_starts():
    assert fits_of(SMALL, ["auto", "sklearn10"]) == [("auto", 4000), ("sklearn10", 1000), ("auto", 1000)]
    assert fits_of(SMALL, ["auto", "sklearn"]) == [("auto", 4000), ("sklearn", 4000)]


def test_a_loss_is_named():
    told = report(problem_of(trace(), trace(rows=1000, value=-9.0), trace("sklearn10", (-9.0, -1.0), 1000)))
    assert "on 0 of 1; below: ['random D=2 K=3']" in told
    told = report(problem_of(trace(), trace(rows=1000), trace("sklearn10", (-9.0, -3.0), 1000)))
    assert "on 1 of 1; below: none" in told


def test_too_many_reads_are_named():
    slow = tuple(float(-value) for value in range(20, -1, -1))
    assert "at most 5: 21, DOES NOT HOLD" in report(problem_of(trace(values=slow)))
    assert "at most 5: 3, holds" in report(problem_of(trace(values=(-5.0, 0.0))))


def test_what_is_not_resolvable_is_no_part_of_the_medians():
    (one,) = problems = problem_of(trace(remaining=0.2, converged=False, ended=30))
    assert not is_resolvable(one)
    told = report(problems)
    assert "(resolvable)" not in told
    assert "31 (not resolved, it says)" in told
    assert "unresolvable: 1, of which auto stopped at its 30 passes and said so: 1" in told


def test_a_picture_is_drawn(measured, tmp_path):
    draw(measured, tmp_path / "reads.png")
    assert (tmp_path / "reads.png").read_bytes().startswith(b"\x89PNG")


def test_rows_are_thinned_evenly():
    x = np.arange(20.0)[:, None]
    assert thinned(x, 5)[:, 0].tolist() == [0, 4, 8, 12, 16]
    assert thinned(x, 50) is x


def test_there_are_twenty_problems(tmp_path):
    (tmp_path / "0.csv").write_text(",".join(("", *GAIA_COLUMNS)) + "\n0,1,2,3,4,5,6\n1,7,8,9,10,11,12\n")
    assert gaia_rows(tmp_path).tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]
    made = problems_of(400_000, 0, None, str(tmp_path))
    assert len(made) + 1 == 20, "and Tycho-2"
    assert {one.k for one in made if one.name == "random"} >= {4, 64}
    assert {one.d for one in made if one.name == "random"} >= {2, 16}
