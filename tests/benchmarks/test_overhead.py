"""The arithmetic of the overhead benchmark: ratios within turns, and how well they are known."""

import numpy as np
import pytest

from benchmarks.overhead import error_of_median, line_of_parts, summary
from benchmarks.overhead_parts import NAMES, parts_of
from benchmarks.standard import standard_mixture, standard_rows
from benchmarks.timed import mixture_of
from tests.making import rows_source


def test_the_error_of_a_median_is_that_of_medians_of_normal_numbers(rng):
    medians = [np.median(rng.normal(size=201)) for _ in range(2000)]
    assert error_of_median(rng.normal(size=20_001)) * np.sqrt(20_001 / 201) == pytest.approx(np.std(medians), rel=0.1)
    assert np.isnan(error_of_median([1.0]))


def test_ratios_are_taken_within_a_turn():
    turns = [{"bare": (t, t), "checked": (1.1 * t, 1.02 * t), "saved": (1.2 * t, 1.03 * t)} for t in (1.0, 2.0, 5.0)]
    found = summary(turns)
    assert found["checked_clock"] == pytest.approx(1.1)
    assert found["saved_processor"] == pytest.approx(1.03)
    assert found["saved_processor_error"] == pytest.approx(0.0, abs=1e-9)


def test_parts_are_taken_by_themselves_and_shown_as_shares_of_a_bare_pass():
    mixture = standard_mixture(3, 2, 0)
    parts = parts_of(rows_source(standard_rows(mixture, 3000, 0), block_rows=500), mixture_of(mixture), 2)
    assert tuple(parts) == NAMES
    assert parts["a bare pass"] > 0
    shown = line_of_parts(3, {"a bare pass": 100.0, "checksums": 4.0, "guarded reads": 1.0})
    assert shown == ["3 x 6", "100.0", "4.00 (4.0%)", "1.00 (1.0%)"]
