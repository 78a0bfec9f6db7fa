"""When a fit ends."""

from dataclasses import replace

import numpy as np
import pytest

from streamgmm.errors import ConfigError
from streamgmm.fit import start_state
from streamgmm.state import Outcome
from streamgmm.stopping import Stopping
from tests.making import random_mixture


@pytest.fixture
def state(rng):
    return replace(start_state([random_mixture("gaussian_diag", 2, 1, rng)]), passes=5)


def _converged(state):
    return replace(state, contenders=tuple(replace(contender, converged=True) for contender in state.contenders))


def test_defaults_are_scikit_learns():
    assert (Stopping().tol, Stopping().max_iter, Stopping().deadline) == (1e-3, 100, None)


def test_a_fit_goes_on_while_nothing_speaks_against_it(state):
    assert Stopping(max_iter=6, deadline=10.0).outcome(state, 9.99) is None


def test_convergence_comes_before_all_else(state):
    assert Stopping(max_iter=5, deadline=1.0).outcome(_converged(state), 99.0) is Outcome.CONVERGED


def test_passes_come_before_the_deadline(state):
    assert Stopping(max_iter=5, deadline=1.0).outcome(state, 99.0) is Outcome.PASSES_EXHAUSTED
    assert Stopping(max_iter=4).outcome(state, 0.0) is Outcome.PASSES_EXHAUSTED


def test_the_deadline_counts_seconds(state):
    assert Stopping(deadline=1.0).outcome(state, 1.0) is Outcome.DEADLINE


def test_all_contenders_must_have_converged(state):
    first = state.contenders[0]
    two = replace(state, contenders=(replace(first, converged=True), replace(first, start=1)))
    assert Stopping().outcome(two, 0.0) is None


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_a_sentence_and_a_word(outcome):
    assert outcome.value.endswith(".")
    assert len(outcome.value.split()) > 5
    assert outcome.word == outcome.word.lower()
    assert Outcome[outcome.word.upper()] is outcome


@pytest.mark.parametrize("value", [0, 0.0, 1, 1e-12, np.float32(0.1)])
def test_tolerances_are_accepted(value):
    assert Stopping(tol=value).tol == value


@pytest.mark.parametrize("value", [-1e-9, np.nan, np.inf, "1e-3", None, True])
def test_bad_tolerances_are_refused(value):
    with pytest.raises(ConfigError, match="tol must be finite and >= 0"):
        Stopping(tol=value)


@pytest.mark.parametrize("value", [0, -1, 1.0, 3.5, "3", None, True])
def test_bad_numbers_of_passes_are_refused(value):
    with pytest.raises(ConfigError, match="max_iter must be an int >= 1"):
        Stopping(max_iter=value)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, "10", True, np.inf])
def test_bad_deadlines_are_refused(value):
    with pytest.raises(ConfigError, match="deadline must be a positive number of seconds"):
        Stopping(deadline=value)
