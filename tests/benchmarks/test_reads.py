"""The benchmark of reads counts them right, and runs."""

from benchmarks.reads import Trace, one_problem, table


def test_reads_are_counted_to_the_first_look_that_is_near():
    trace = Trace("auto", (-10.0, -2.0, -3.0, -0.5), 1, 0.0, True)
    assert [trace.reads_to(0.0, gap) for gap in (20, 5, 1, 0.1)] == [2, 3, 5, None]


def test_a_small_problem_goes_through():
    problem = one_problem(0, ["auto", "full_batch", "sklearn"], 4000, 0)
    assert problem["best"] == max(max(found["values"]) for found in problem["traces"])
    assert "| 2 | 4 |" in table([problem])
    assert problem["traces"][0]["values"][-1] > problem["best"] - 1
