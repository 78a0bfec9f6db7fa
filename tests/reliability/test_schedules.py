"""Simulated schedules: what arrives how, and which guard keeps the bits."""

from dataclasses import replace

import pytest

from streamgmm.errors import NondeterminismError
from streamgmm.fit import run_fit
from streamgmm.ledger import Ledger
from streamgmm.partial_check import PartialCheck
from tests.reliability import schedules
from tests.simulation import FakeClock, SimExecutor


def test_one_hash_under_all_schedules():
    """W7, W12 (same bits)."""
    found = schedules.trials(150, seed=0)
    assert found.violations == 0, found.remarks
    assert found.remarks["distinct hashes"] == 1
    for kind in ("refused, late", "refused, twice", "killed", "stopped", "drop", "commits"):
        assert found.remarks[kind] > 0, "a schedule that never does this shows nothing"


def test_results_of_another_form_change_nothing():
    found = schedules.foreign_trials(60, seed=0)
    assert found.violations == 0, found.remarks
    assert found.remarks["refused, foreign"] > 100


def test_without_a_look_at_their_form_they_do(monkeypatch):
    monkeypatch.setattr(PartialCheck, "misfit", lambda self, span, partial: "")
    assert schedules.foreign_trials(10, seed=0).violations > 0


class NoStamps(Ledger):
    """Takes what belongs to another pass; its means would tell it, too."""

    def accept(self, span, partial):
        self._misfit = lambda span, partial: ""
        return super().accept(span, replace(partial, stamp=self.stamp))


class NoDuplicates(Ledger):
    """Takes everything as often as it comes."""

    def accept(self, span, partial):
        if partial.stamp == self.stamp:
            self._counted[self._blocks(span)] = False
        return super().accept(span, partial)


@pytest.mark.parametrize("ledger", [NoStamps, NoDuplicates])
def test_without_its_guard_a_ledger_lets_faults_through(ledger):
    found = schedules.trials(20, seed=0, ledger=ledger)
    assert found.violations > 0


def test_a_schedule_comes_back_with_its_seed():
    here = schedules.world()
    first, second = ([*_spans(here, seed=5)] for _ in range(2))
    assert first == second != [*_spans(here, seed=6)]


def _spans(here, seed):
    executor = SimExecutor(seed, FakeClock(), here.computed)
    function = schedules.function_of(here)
    for found in executor.map_spans(function, lambda a, b: a.merge(b), here.problem.source):
        yield found[0] if isinstance(found, tuple) else found.kind


class Liar(SimExecutor):
    """Delivers everything again, one bit changed."""

    def map_spans(self, function, merge, source, **options):
        for found in super().map_spans(function, merge, source, **options):
            yield found
            if isinstance(found, tuple):
                span, partial = found
                yield span, replace(partial, checksums=partial.checksums ^ 1)


def test_the_same_blocks_with_other_bits_end_the_fit():
    """W12 (other bits)."""
    here = schedules.world()
    with pytest.raises(NondeterminismError, match="gave two different results in one pass"):
        run_fit(here.problem, here.first, Liar(1, FakeClock(), here.computed))
