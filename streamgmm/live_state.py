"""All that a live mixture is, frozen; and what a block of a stream makes of it. Floor 7.

Rows are numbered as they come. Those held out go to the reservoir, the others wait until they are a batch: then the batch is compared
with the reservoir under the mixture that there is, and the mixture takes one step. It is NOT where streams are read (live.py).
"""

__all__ = ["LiveSettings", "LiveState", "Reading", "fed", "first_live"]

import math
from dataclasses import dataclass, replace

import numpy as np

from streamgmm.arrays import ArrayN, ArrayND
from streamgmm.block import MISSING_POLICIES, Block
from streamgmm.configuration import COVARIANCE_TYPES
from streamgmm.drift_alarm import FEWEST_HELD, LIMIT, Cusum, Summary, summary_of
from streamgmm.drift_reference import LEARNED, DriftReference
from streamgmm.em import e_step
from streamgmm.errors import ConfigError, nearest
from streamgmm.executors.serial import Serial
from streamgmm.fit import run_fit, sample_for_starts, start_state, starts_from_sample
from streamgmm.online_step import Online, online_from, stepped
from streamgmm.passes import FitProblem
from streamgmm.registry import implementation
from streamgmm.regularisation import Regularisation
from streamgmm.reservoir import Reservoir, held_out
from streamgmm.sources import as_source
from streamgmm.sources.base import DEFAULT_BLOCK_ROWS
from streamgmm.stopping import Stopping

START_PASSES = 30  # over the rows of the start, which are in memory


@dataclass(frozen=True)
class LiveSettings:
    """Parameters of a live mixture; see `LiveMixture`."""

    n_components: int
    covariance_type: str = "full"
    window: float | None = None
    hold_out: float = 0.01
    reservoir_rows: int = 10_000
    batch_rows: int = 500
    start_rows: int = 0
    limit: float = LIMIT
    reg_covar: float = 0.0
    variance_floor: float | None = 1e-6
    missing: str = "raise"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_components", 1), ("reservoir_rows", FEWEST_HELD), ("batch_rows", 2), ("start_rows", 0), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**63:
                raise ConfigError(f"{name} must be an int >= {least}, got {value!r}")
        for name, most in (("window", math.inf), ("hold_out", 0.5), ("limit", math.inf)):
            value = getattr(self, name)
            if not (name == "window" and value is None) and not (type(value) in (int, float) and 0 < value <= most and value < math.inf):
                raise ConfigError(f"{name} must be a finite number > 0{'' if most == math.inf else f' and <= {most}'}, got {value!r}")
        for name, allowed in (("covariance_type", COVARIANCE_TYPES), ("missing", MISSING_POLICIES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}{nearest(value, allowed)}")
        _ = self.regularisation  # refuses its own

    @property
    def regularisation(self) -> Regularisation:
        """Floors; a component of less than one row keeps its place."""
        return Regularisation(self.reg_covar, self.variance_floor, 1.0)

    def rows_for_start(self, n_features: int) -> int:
        """Rows that a start is made from: asked for, or 50 for every mean and variance, 1,000 at least."""
        return self.start_rows or max(1000, 50 * self.n_components * (n_features + 1))


@dataclass(frozen=True)
class Reading:
    """What was seen when rows were fed.

    rows: fed now. log_likelihood: mean log density of those to be learned from, under the mixture before it did; NaN before the start.
    held_out: that of the reservoir under the same mixture, NaN where no batch was complete. drift: the largest sum of the alarm; alarm:
    whether it went beyond its limit. said: in words.
    """

    rows: int
    log_likelihood: float
    held_out: float
    drift: float
    alarm: bool
    said: str


@dataclass(frozen=True, eq=False)
class LiveState:
    """rows: fed so far, those left out because a value was missing (`skipped`) included. waiting: rows (m d) and their weights (m)."""

    settings: LiveSettings
    online: Online | None
    feature_names: tuple[str, ...]
    reservoir: Reservoir
    waiting: ArrayND
    waiting_weight: ArrayN
    cusum: Cusum
    rows: int = 0
    skipped: int = 0
    alarms: int = 0
    reference: DriftReference = DriftReference()

    @property
    def drift(self) -> float:
        """The largest sum of the alarm."""
        return max(self.cusum.value, self.reference.cusum.value)


def first_live(settings: LiveSettings, online: Online | None, feature_names: tuple[str, ...]) -> LiveState:
    """Before the first row."""
    d = len(feature_names)
    reservoir = Reservoir.empty(settings.reservoir_rows, d, settings.seed)
    cusum = Cusum(limit=settings.limit)
    return LiveState(
        settings, online, feature_names, reservoir, np.empty((0, d)), np.empty(0), cusum, reference=DriftReference(cusum=cusum)
    )


def fed(state: LiveState, block: Block) -> tuple[LiveState, Reading]:
    """After a block of the stream: one step at most."""
    s, n = state.settings, block.n_rows + block.skipped
    weight = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight
    held = held_out(state.rows, n, s.hold_out, s.seed)
    held = held if block.kept is None else held[block.kept]
    out, mine = held & (weight > 0), ~held & (weight > 0)
    fresh = _look(state.online, block.x[mine], weight[mine])
    state = replace(
        state,
        reservoir=state.reservoir.with_rows(block.x[out], weight[out]),
        waiting=np.concatenate((state.waiting, block.x[mine])),
        waiting_weight=np.concatenate((state.waiting_weight, weight[mine])),
        rows=state.rows + n,
        skipped=state.skipped + block.skipped,
    )
    needed = s.batch_rows if state.online else s.rows_for_start(len(state.feature_names))
    if len(state.waiting) < needed:
        said = f"{len(state.waiting):,} rows wait for a {'batch' if state.online else 'start'} of {needed:,}"
        return state, Reading(n, fresh.mean, math.nan, state.drift, False, said)
    if state.online is None:
        state = _none_waiting(replace(state, online=_started(state)))
        return state, Reading(n, math.nan, math.nan, 0.0, False, f"started from {needed:,} rows or more")
    return _learned(state, state.online, Reading(n, fresh.mean, math.nan, 0.0, False, ""))


def _look(online: Online | None, x: ArrayND, weight: ArrayN) -> Summary:
    if online is None or not len(x):
        return Summary(math.nan, math.nan, 0)
    return summary_of(online.mixture.score_samples(x), weight)


def _none_waiting(state: LiveState) -> LiveState:
    return replace(state, waiting=state.waiting[:0], waiting_weight=state.waiting_weight[:0])


def _started(state: LiveState) -> Online:
    """A short fit to the rows that wait, from one start."""
    s = state.settings
    source = as_source(state.waiting, sample_weight=state.waiting_weight)
    sample, rng = sample_for_starts(source, s.seed), np.random.default_rng(s.seed)
    family = implementation("components", f"gaussian_{s.covariance_type}")
    starts = starts_from_sample(implementation("initialisers", "kmeans")(), family, sample, s.n_components, 1, rng)
    problem = FitProblem(source, implementation("schedules", "full_batch")(), s.regularisation, Stopping(0.0, START_PASSES))
    mixture = run_fit(problem, start_state(starts), Serial()).mixture
    return online_from(mixture, float(state.waiting_weight.sum()), s.regularisation.reg_covar)


def _learned(state: LiveState, online: Online, reading: Reading) -> tuple[LiveState, Reading]:
    """Compare, then take a step with the rows that wait; an alarm begins the reservoir and the sums anew."""
    x, weight, mixture = state.waiting, state.waiting_weight, online.mixture
    held, batch = _look(online, state.reservoir.x, state.reservoir.weight), _look(online, x, weight)
    state = replace(state, cusum=state.cusum.after(held, batch), reference=state.reference.after(mixture, x, weight))
    statistics = e_step((mixture,), Block(0, 0, x, weight), block_rows=DEFAULT_BLOCK_ROWS)[0]
    online, repairs = stepped(online, statistics, state.settings.regularisation, state.settings.window)
    said = _said(held, batch, state) + "".join(f"; component {repair.fault.component}: {repair.action}" for repair in repairs)
    alarm = state.cusum.alarm or state.reference.cusum.alarm
    reading = replace(reading, held_out=held.mean, drift=state.drift, alarm=alarm, said=said)
    state = replace(_none_waiting(state), online=online)
    return (_begun_anew(state) if alarm else state), reading


def _begun_anew(state: LiveState) -> LiveState:
    cusum = Cusum(limit=state.cusum.limit)
    reservoir, reference = state.reservoir.emptied(), DriftReference(cusum=cusum)
    return replace(state, reservoir=reservoir, cusum=cusum, reference=reference, alarms=state.alarms + 1)


def _said(held: Summary, batch: Summary, state: LiveState) -> str:
    cusum, slow = state.cusum, state.reference.cusum
    if slow.alarm and not cusum.alarm:
        less, ago = "less" if slow.above >= slow.below else "more", state.reference.batches - LEARNED
        return f"drift: the newest rows are {less} likely under the mixture of {ago:,} batches ago than those of that time"
    if held.rows < FEWEST_HELD:
        return f"{held.rows} of {FEWEST_HELD} rows are held out: no alarm yet"
    if not cusum.alarm:
        return ""
    gap = f"by {abs(held.mean - batch.mean):.3g} per row, standard errors {held.error:.2g} and {batch.error:.2g}"
    if cusum.above >= cusum.below:
        return f"drift: the newest rows are less likely than those held out before, {gap}"
    return f"drift: rows held out before are less likely than the newest, whom the mixture has followed, {gap}"
