"""Steps from the sample: EM in memory, corrected by all rows, and Newton's, damped; and what keeps them from doing harm."""

from dataclasses import replace

import numpy as np
import pytest

from streamgmm.coordinates import from_vector, scale_of, to_vector
from streamgmm.em import m_step
from streamgmm.remaining_error import newton_step
from streamgmm.schedules import _anchored_step, auto
from streamgmm.schedules._anchored_step import anchored_step
from streamgmm.schedules.anchored import Anchored
from streamgmm.schedules.auto import Auto
from streamgmm.schedules.base import Look
from tests.test_auto import NO_FLOORS, block_of, em, families, mixture_of, rows_of, statistics_of

N, PART = 12_000, 4


def look_at(mixture, block, **more):
    """A look at all rows, with every fourth as the sample."""
    return Look(mixture, statistics_of(mixture, block), NO_FLOORS, sample=block_of(np.ascontiguousarray(block.x[::PART]), PART), **more)


def distance(a, b, like, n=N):
    """In standard errors, were each row's component known."""
    return float(np.linalg.norm((to_vector(a) - to_vector(b)) * scale_of(like)) * np.sqrt(n))


def passes_to_the_end(schedule, mixture, block, tol=1e-6, most=60):
    look = look_at(mixture, block, tol=tol)
    for number in range(1, most + 1):
        step = schedule.update(look)
        if step.converged:
            return number, step.mixture
        values = (*look.log_likelihoods, look.statistics.mean_log_likelihood)
        look = look_at(step.mixture, block, tol=tol, memory=step.memory, log_likelihoods=values)
    return most + 1, schedule.result(step.mixture, step.memory, converged=False)


@pytest.fixture(scope="module")
def block():
    return block_of(rows_of(mixture_of("full", 2, 2, 3), N))


@pytest.fixture
def any_sample(monkeypatch):
    monkeypatch.setattr(_anchored_step, "ROWS_A_PARAMETER", 1)


# ---- anchored steps --------------------------------------------------------------------------------------------------


@families
def test_the_optimum_of_all_rows_stays_where_it_is(family, block):
    """Though the sample has another one."""
    best = em(mixture_of(family, 2, 2, 3), block, 300)
    found = anchored_step(look_at(best, block))
    moved = 0.0 if found is None else distance(found.mixture, best, best)
    of_the_sample = em(best, look_at(best, block).sample, 100)
    assert moved < 1e-3
    assert distance(of_the_sample, best, best) > 0.1


@families
def test_a_step_leads_nearer_than_em_does(family, block):
    best = em(mixture_of(family, 2, 2, 3), block, 300)
    start = em(best, look_at(best, block).sample, 100)
    look = look_at(start, block)
    top, found = statistics_of(best, block).log_likelihood, anchored_step(look)
    gap = top - look.statistics.log_likelihood
    after = top - statistics_of(found.mixture, block).log_likelihood
    plain = top - statistics_of(m_step(look.statistics, start, NO_FLOORS)[0], block).log_likelihood
    assert after < 0.2 * gap
    assert after < plain
    assert found.decrement / 2 == pytest.approx(gap, rel=0.5)


def test_a_small_sample_is_not_trusted(block, monkeypatch):
    look = look_at(mixture_of("full", 2, 2, 3), block)
    monkeypatch.setattr(_anchored_step, "ROWS_A_PARAMETER", look.sample.n_rows // look.mixture.n_parameters + 1)
    assert anchored_step(look) is None
    assert anchored_step(replace(look, sample=None)) is None


def test_a_component_with_few_rows_in_the_sample_takes_its_em_step(block, monkeypatch):
    """The other one is corrected; without the guard both are."""
    start = em(mixture_of("full", 2, 2, 3), block, 3)
    look = look_at(start, block)
    image, _ = m_step(look.statistics, start, NO_FLOORS)
    r = start.responsibilities(look.sample.x)
    rows = r.sum(axis=0) ** 2 / (r**2).sum(axis=0)
    monkeypatch.setattr(_anchored_step, "ROWS_A_MOMENT", float(rows.mean()) / 6)
    guarded = anchored_step(look).mixture
    thin, other = int(rows.argmin()), int(rows.argmax())
    np.testing.assert_array_equal(guarded.components.means[thin], image.components.means[thin])
    np.testing.assert_array_equal(guarded.components.covariances[thin], image.components.covariances[thin])
    assert guarded.weights.proportions[thin] == pytest.approx(image.weights.proportions[thin], rel=1e-12)
    assert (guarded.components.means[other] != image.components.means[other]).any()
    monkeypatch.setattr(_anchored_step, "ROWS_A_MOMENT", 0)
    assert (anchored_step(look).mixture.components.means[thin] != image.components.means[thin]).any()


@pytest.mark.usefixtures("any_sample")
def test_a_step_downhill_is_none(block, monkeypatch):
    """Where EM in memory finds no fixed point; taken at its word, it would end the fit."""
    look = look_at(mixture_of("full", 2, 2, 3), block)
    monkeypatch.setattr(_anchored_step, "decrement_towards", lambda *_: -1.0)
    assert anchored_step(look) is None


@pytest.mark.usefixtures("any_sample")
def test_at_most_three_steps_are_anchored(block, monkeypatch):
    counted = []

    def counting(look):
        counted.append(1)
        return anchored_step(look)

    monkeypatch.setattr("streamgmm.schedules.anchored.anchored_step", counting)
    passes_to_the_end(Anchored(), mixture_of("full", 2, 2, 3), block, tol=1e-13, most=8)
    assert len(counted) == 3


# ---- steps that do harm ----------------------------------------------------------------------------------------------


def reversed_step(mixture, moments, weight, sample, damping, threads):
    found = newton_step(mixture, moments, weight, sample, damping, threads)
    return replace(found, mixture=from_vector(2 * to_vector(mixture) - to_vector(found.mixture), mixture))


def test_steps_the_wrong_way_are_damped_and_given_up(block, monkeypatch):
    """What is left is EM, extrapolated: the same optimum, in more passes."""
    start = mixture_of("full", 2, 2, 3)
    passes, best = passes_to_the_end(Auto(), start, block)
    monkeypatch.setattr(auto, "newton_step", reversed_step)
    more, same = passes_to_the_end(Auto(), start, block)
    assert passes < more <= 60
    assert distance(best, same, best) < 0.1


def test_a_fall_leads_to_the_em_step_and_damps_the_next(block):
    start = mixture_of("full", 2, 2, 3)
    schedule, look = Auto(), look_at(start, block)
    step = schedule.update(look)
    back = schedule.update(look_at(mixture_of("full", 2, 2, 77), block, memory=step.memory))
    np.testing.assert_allclose(to_vector(back.mixture), to_vector(em(start, block, 1)), rtol=1e-12)
    assert float(back.memory["damping"]) >= auto.AFTER_A_FALL
    short = schedule.update(look_at(start, block, memory=back.memory))
    assert distance(short.mixture, start, start) < distance(step.mixture, start, start)


def test_a_collapse_leads_back_to_the_em_step(block):
    """The look after a step from the sample finds a component without rows."""
    start = mixture_of("full", 2, 2, 3)
    schedule = Auto()
    step = schedule.update(look_at(start, block))
    c = start.components
    far = type(start)(type(c)(c.means + np.array([[0.0, 0.0], [1e3, 1e3]]), c.covariances), start.weights)
    look = replace(look_at(far, block, memory=step.memory), regularisation=replace(NO_FLOORS, occupancy_floor=1.0))
    look = replace(look, statistics=replace(look.statistics, log_likelihood=0.0))  # no fall: the collapse alone has to be seen
    back = schedule.update(look)
    np.testing.assert_allclose(to_vector(back.mixture), to_vector(em(start, block, 1)), rtol=1e-12)
    assert not back.repairs
