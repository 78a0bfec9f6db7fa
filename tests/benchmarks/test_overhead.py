"""The arithmetic of the overhead benchmark: ratios within turns, and how well they are known."""

import numpy as np
import pytest

from benchmarks import overhead_parts
from benchmarks.overhead import error_of_median, line_of_parts, summary
from benchmarks.standard import standard_mixture, standard_rows
from benchmarks.timed import mixture_of
from streamgmm import passes
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


def test_parts_are_taken_by_themselves_and_shown_as_shares_of_a_bare_pass(monkeypatch):
    times = {"e_step": 0.0, "checksum": 0.0, "within": 0.0}

    def costing(seconds, name, call):
        def spent(*arguments, **options):
            times[name] += seconds
            return call(*arguments, **options)

        return spent

    for module, name, seconds in ((passes, "e_step", 50.0), (overhead_parts, "checksum", 2.0), (overhead_parts, "within", 0.5)):
        monkeypatch.setattr(module, name, costing(seconds, name, getattr(module, name)))
    monkeypatch.setattr(overhead_parts.time, "process_time", lambda: sum(times.values()))
    mixture = standard_mixture(3, 2, 0)
    rows = rows_source(standard_rows(mixture, 3000, 0), block_rows=500)
    parts = overhead_parts.parts_of(rows, mixture_of(mixture), 2)
    expected = dict(zip(overhead_parts.NAMES, (1e8, 4e6, 1e6), strict=True))  # six blocks' seconds, of 3,000 rows
    assert parts == pytest.approx(expected)
    assert line_of_parts(3, parts) == ["3 x 6", "100000000.0", "4000000.00 (4.0%)", "1000000.00 (1.0%)"]
