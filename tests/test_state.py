"""The state of a fit: what it says of its contenders, and its way to plain arrays and JSON and back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.errors import CheckpointError
from streamgmm.mixture import Mixture
from streamgmm.state import Contender, FitState, Outcome
from streamgmm.weights.fixed import FixedWeights
from tests.making import FAMILIES, random_mixture, same_bits

SEEDS = st.integers(0, 2**32 - 1)


def _contender(start, history=(), *, family="gaussian_full", seed=0, **changes):
    return Contender(start, random_mixture(family, 3, 2, np.random.default_rng(seed)), tuple(history), **changes)


def _through_json(state):
    arrays, record = state.to_record()
    assert all(value.dtype == np.float64 for value in arrays.values())
    text = json.dumps(record, allow_nan=False)
    return FitState.from_record({name: value.copy() for name, value in arrays.items()}, json.loads(text))


def _same(a, b):
    assert (a.passes, a.rows, a.skipped, a.weight, a.outcome) == (b.passes, b.rows, b.skipped, b.weight, b.outcome)
    assert len(a.contenders) == len(b.contenders)
    for left, right in zip(a.contenders, b.contenders, strict=True):
        assert same_bits(left.mixture, right.mixture)
        assert type(left.mixture.components) is type(right.mixture.components)
        assert type(left.mixture.weights) is type(right.mixture.weights)
        assert (left.start, left.log_likelihoods, left.converged, left.repairs) == (
            right.start,
            right.log_likelihoods,
            right.converged,
            right.repairs,
        )


def test_the_best_has_the_largest_likelihood_and_is_the_first_of_equals():
    contenders = (_contender(0, [-3.0, -2.0]), _contender(1, [-5.0, -1.0]), _contender(2, [-1.0]), _contender(3))
    assert FitState(contenders).best.start == 1


def test_before_the_first_pass_any_contender_is_the_best():
    state = FitState((_contender(0), _contender(1)))
    assert state.best.start == 0
    assert state.best.log_likelihood == -np.inf


def test_active_contenders_are_those_that_have_not_converged():
    state = FitState((_contender(0, converged=True), _contender(1)))
    assert [contender.start for contender in state.active] == [1]


def test_reopened_forgets_the_outcome_and_nothing_else():
    state = FitState((_contender(0, [-1.0]),), 7, 100, 3, 97.5, Outcome.DEADLINE)
    assert state.reopened().outcome is None
    _same(replace(state.reopened(), outcome=Outcome.DEADLINE), state)


def test_a_fit_that_has_converged_has_nothing_to_go_on_with():
    state = FitState((_contender(0, [-1.0], converged=True),), 7, outcome=Outcome.CONVERGED)
    assert state.reopened().outcome is Outcome.CONVERGED


@pytest.mark.parametrize("outcome", [None, *Outcome])
@pytest.mark.parametrize("family", FAMILIES)
@given(seed=SEEDS)
def test_a_record_comes_back_with_the_same_bits(family, outcome, seed):
    rng = np.random.default_rng(seed)
    histories = [rng.normal(size=rng.integers(0, 4)) for _ in range(3)]
    contenders = tuple(
        _contender(i, history, family=family, seed=[seed, i], converged=bool(i % 2), repairs=i) for i, history in enumerate(histories)
    )
    state = FitState(contenders, 4, 2**53 + 1, 12, float(rng.uniform(0, 1e300)), outcome)
    _same(_through_json(state), state)


def test_ten_and_more_contenders_do_not_mix_up_their_names():
    state = FitState(tuple(_contender(i, [float(i)], seed=i) for i in range(12)), 1)
    _same(_through_json(state), state)


def test_the_law_of_the_weights_is_part_of_the_record():
    contender = _contender(0)
    fixed = replace(contender, mixture=Mixture(contender.mixture.components, FixedWeights(contender.mixture.weights.proportions)))
    _same(_through_json(FitState((fixed,))), FitState((fixed,)))


def _record():
    return FitState((_contender(0, [-1.0]), _contender(1, [-2.0])), 1, 10, 0, 10.0).to_record()


BROKEN = {
    "no contenders": lambda arrays, record: record.pop("contenders"),
    "no outcome": lambda arrays, record: record.pop("outcome"),
    "an unknown outcome": lambda arrays, record: record.update(outcome="lost"),
    "a number that is none": lambda arrays, record: record.update(passes="many"),
    "an array missing": lambda arrays, record: arrays.pop("contender_1_means"),
    "an unknown family": lambda arrays, record: record["contenders"][0].update(components="os"),
    "an unknown law": lambda arrays, record: record["contenders"][0].update(weights="gravity"),
    "means that are not finite": lambda arrays, record: arrays["contender_0_means"].fill(np.nan),
    "covariances that are not positive definite": lambda arrays, record: arrays["contender_0_covariances"].fill(-1.0),
    "weights that are none": lambda arrays, record: arrays["contender_0_weights"].fill(1.0),
    "shapes that do not fit": lambda arrays, record: arrays.update(contender_0_means=np.zeros((2, 2))),
    "a means array of one axis": lambda arrays, record: arrays.update(contender_0_means=np.zeros(6)),
    "a history that is no list": lambda arrays, record: arrays.update(contender_0_log_likelihoods=np.zeros((2, 2))),
    "a contender that is no object": lambda arrays, record: record.update(contenders=[3]),
    "contenders that are no list": lambda arrays, record: record.update(contenders=3),
    "starts that are not numbered": lambda arrays, record: record["contenders"][1].update(start=7),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN.keys())
def test_a_record_that_does_not_fit_is_refused(breaking):
    arrays, record = _record()
    arrays = {name: value.copy() for name, value in arrays.items()}
    breaking(arrays, record)
    with pytest.raises(CheckpointError, match="the fit state does not fit its description"):
        FitState.from_record(arrays, record)
