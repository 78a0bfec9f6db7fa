"""The streams of the drift benchmark move as they say, and its table counts right."""

import numpy as np

from benchmarks.drift import CASES, Case, Told, batches, law_of, row_of


def test_the_direction_is_one_deviation_long():
    mixture, direction = law_of(Case(), 3)
    for covariance, step in zip(mixture.covariances, direction, strict=True):
        np.testing.assert_allclose(step @ np.linalg.solve(covariance, step), 1.0)


def test_nothing_moves_before_the_change():
    still, moved = (list(batches(case, 5)) for case in (Case(calm=3, after=2), Case(step=1.0, calm=3, after=2)))
    for number, (a, b) in enumerate(zip(still, moved, strict=True)):
        assert np.array_equal(a, b) == (number < 3)


def test_the_table_counts_what_was_told():
    told = [Told(0, 1000), Told(2, 3000), Told(0, -1)]
    assert row_of(Case(step=1.0), told)[:7] == ("step 1 sd", "none", "1%", 3, 2, "2", "2,000")
    assert row_of(Case(), [Told(0, -1)])[4:6] == (0, "-")
    assert len({(case.name, case.window, case.hold_out) for case in CASES}) == len(CASES)
