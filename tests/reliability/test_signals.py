"""Promise P27, a few trials of it; the whole set is a command of its own."""

from types import SimpleNamespace

import pytest

from tests.reliability import signals
from tests.running import write_store


def test_p27_signals_at_random_times():
    found = signals.trials(2, seed=3)
    assert found.remarks["faults"] == []
    assert found.violations == 0
    assert sum(found.remarks["exit codes"].values()) == found.trials == 2


def test_signals_that_come_too_late_are_not_counted_and_a_deaf_program_is_a_violation(monkeypatch):
    monkeypatch.setattr(signals, "one", lambda *_: signals.Ending("SIGTERM", signals.DONE, 0.1, 0.1, ""))
    monkeypatch.setattr(signals, "undisturbed", lambda *_: 1.0)
    monkeypatch.setattr(signals, "whole", lambda *_: "a hash")
    found = signals.trials(2, seed=3)
    assert (found.trials, found.violations) == (0, 1)
    assert found.remarks["signals after the end, not counted"] == 28


@pytest.mark.parametrize(("patience", "said"), [(60.0, ""), (-1.0, "it went on for")])
def test_a_fit_that_goes_on_long_after_its_signal_is_a_fault(patience, said, tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "DEAF", patience)
    monkeypatch.setattr(signals, "begin", lambda *_: SimpleNamespace(pid=0))
    monkeypatch.setattr(signals.os, "kill", lambda *_: None)
    monkeypatch.setattr(signals, "end_of", lambda _: signals.DONE)
    monkeypatch.setattr(signals, "fault_of", lambda *_: "")
    fault = signals.one("forked", tmp_path, tmp_path, 0.0, "SIGTERM", "a hash", "auto").fault
    assert fault.startswith(said)
    assert bool(fault) == bool(said)


@pytest.mark.parametrize(
    ("code", "has_run", "said"),
    [
        (1, False, "exit 1"),
        (143, True, "exit 143, run there"),
        (137, False, "exit 137"),
        (130, False, "exit 130"),
        (999, True, "exit 999"),
    ],
)
def test_an_ending_that_saves_nothing_is_a_fault(code, has_run, said, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    if has_run:
        (run / "run.json").write_text("{}")
    assert said in signals.fault_of(code, "SIGTERM", tmp_path / "store", run, "")


def test_another_model_is_a_fault(tmp_path):
    store = write_store(tmp_path / "stars.zarr", signals.survey_rows(300))
    assert "another model" in signals.fault_of(0, "SIGTERM", store, tmp_path / "run", "not this hash")
