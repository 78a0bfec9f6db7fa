"""All that is needed to go on: contenders, pass, history, and what is done of the pass that runs. Floor 4.

States are frozen; the loop makes a new one after each pass. `to_record` and `from_record` turn a state into plain arrays and
strict JSON and back, bit for bit.
"""

__all__ = ["BEHIND", "Contender", "FitState", "Outcome", "Progress", "Tally"]

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import FloatArray
from streamgmm.components.base import AbstractComponents
from streamgmm.em import LostBlock, MixtureStatistics, Partial
from streamgmm.errors import CheckpointError
from streamgmm.mixture import Mixture
from streamgmm.reduce import Span
from streamgmm.registry import implementation
from streamgmm.weights.base import AbstractWeights


class Outcome(Enum):
    """How a fit ended; the value tells the user what it means."""

    CONVERGED = "What was left to gain fell below tol."
    PASSES_EXHAUSTED = "max_iter passes were made before what was left to gain fell below tol: raise max_iter, or tol."
    DEADLINE = "The deadline came before convergence; the state is saved where a run folder was given: resume to go on."
    INTERRUPTED = "The fit was told to stop; the state is saved where a run folder was given: resume to go on."

    @property
    def word(self) -> str:
        """For records and messages."""
        return self.name.lower()


@dataclass(frozen=True, eq=False)
class Contender:
    """One mixture being fitted.

    log_likelihoods: mean per row weight at each pass, before that pass's M-step (the last one dated by the parameters it was computed
    from, as scikit-learn's lower_bounds_). repairs: how often a component was seeded anew. memory: what the schedule has kept.
    """

    start: int
    mixture: Mixture
    log_likelihoods: tuple[float, ...] = ()
    converged: bool = False
    repairs: int = 0
    memory: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def log_likelihood(self) -> float:
        """The latest mean log-likelihood."""
        return self.log_likelihoods[-1] if self.log_likelihoods else -np.inf


@dataclass(frozen=True, eq=False)
class Progress:
    """What is done of the pass that runs: disjoint spans of blocks, each with its partial; `stamp` names pass and parameters."""

    stamp: str
    done: tuple[tuple[Span, Partial], ...]


BEHIND = "behind"  # in a contender's memory: it was left behind (left_behind.py)
NO_CHECKSUMS: npt.NDArray[np.uint32] = np.empty(0, np.uint32)


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over the rounds that were made of a pass; log_likelihoods and reseeds: one for each active contender.

    checksums: of all blocks of the table, 0 for those that are still to come; none where nobody takes them.
    """

    rows: int = 0
    skipped: int = 0
    weight: float = 0.0
    log_likelihoods: tuple[float, ...] = ()
    reseeds: tuple[int, ...] = ()
    checksums: npt.NDArray[np.uint32] = field(default_factory=lambda: NO_CHECKSUMS)
    lost: tuple[LostBlock, ...] = ()


@dataclass(frozen=True, eq=False)
class FitState:
    """After `passes` passes and `step` rounds of the next one, of which `tally` holds the sums, and perhaps a part of the next round.

    rows, skipped, weight, column_means, column_deviations, checksums (one for each block), lost (blocks left out because they could not
    be read): of the last pass.
    """

    contenders: tuple[Contender, ...]
    passes: int = 0
    rows: int = 0
    skipped: int = 0
    weight: float = 0.0
    outcome: Outcome | None = None
    column_means: tuple[float, ...] = ()
    column_deviations: tuple[float, ...] = ()
    checksums: npt.NDArray[np.uint32] = field(default_factory=lambda: NO_CHECKSUMS)
    lost: tuple[LostBlock, ...] = ()
    progress: Progress | None = None
    step: int = 0
    tally: Tally = Tally()

    @property
    def rows_begun(self) -> int:
        """Rows that were read of the pass that runs."""
        done = () if self.progress is None else self.progress.done
        return self.tally.rows + self.tally.skipped + sum(part.rows for _, part in done)

    @cached_property
    def lost_blocks(self) -> frozenset[int]:
        """Numbers of the blocks that the last pass left out."""
        return frozenset(one.block for one in self.lost)

    @property
    def active(self) -> tuple[Contender, ...]:
        """Contenders that go on: that have not converged, and may still win."""
        return tuple(c for c in self.contenders if not c.converged and BEHIND not in c.memory)

    @property
    def best(self) -> Contender:
        """The contender of largest log-likelihood; the first of equals."""
        return max(self.contenders, key=lambda c: (c.log_likelihood, -c.start))

    def reopened(self) -> "FitState":
        """To go on after a deadline, an interruption or a raised max_iter; a fit that has converged stays as it is."""
        return replace(self, outcome=None) if self.active else self

    def to_record(self) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        """(arrays by name, strict JSON)."""
        arrays: dict[str, FloatArray] = {}
        for i, contender in enumerate(self.contenders):
            named = {**contender.mixture.to_arrays(), "log_likelihoods": np.array(contender.log_likelihoods, np.float64)}
            named |= {f"memory_{name}": value for name, value in contender.memory.items()}
            arrays |= {f"contender_{i}_{name}": np.asarray(value, np.float64) for name, value in named.items()}
        for name in ("column_means", "column_deviations"):
            arrays[name] = np.array(getattr(self, name), np.float64)
        arrays["checksums"] = self.checksums.astype(np.float64)
        rounds: dict[str, Any] = {}
        if self.step:
            arrays |= {"tally_checksums": self.tally.checksums.astype(np.float64)}
            rounds = {"step": self.step, "tally": _describe_tally(self.tally)}
        return arrays | _arrays_of(self.progress), {
            **rounds,
            "passes": self.passes,
            "rows": self.rows,
            "skipped": self.skipped,
            "weight": self.weight,
            "outcome": None if self.outcome is None else self.outcome.word,
            "contenders": [_describe(contender) for contender in self.contenders],
            "lost": _describe_lost(self.lost),
            "progress": None if self.progress is None else _describe_progress(self.progress),
        }

    @classmethod
    def from_record(cls, arrays: Mapping[str, FloatArray], record: Mapping[str, Any]) -> "FitState":
        """Inverse of `to_record`. Raises CheckpointError where the record does not describe a valid state."""
        try:
            contenders = tuple(_contender(i, described, arrays) for i, described in enumerate(record["contenders"]))
            outcome = None if record["outcome"] is None else Outcome[str(record["outcome"]).upper()]
            columns = [tuple(float(value) for value in arrays[name]) for name in ("column_means", "column_deviations")]
            numbers = (int(record["passes"]), int(record["rows"]), int(record["skipped"]), float(record["weight"]))
            checksums = arrays["checksums"].astype(np.uint32) if "checksums" in arrays else NO_CHECKSUMS
            lost = _lost(record.get("lost") or {})
            state = cls(contenders, *numbers, outcome, columns[0], columns[1], checksums, lost)
            if record.get("step"):
                state = replace(state, step=int(record["step"]), tally=_tally(record["tally"], arrays, len(state.active)))
            described = record.get("progress")
            return state if described is None else replace(state, progress=_progress(described, arrays, state.active))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(f"the fit state does not fit its description: {error}") from error


def _describe(contender: Contender) -> dict[str, Any]:
    return {
        "start": contender.start,
        "components": contender.mixture.components.name,
        "weights": contender.mixture.weights.name,
        "converged": contender.converged,
        "repairs": contender.repairs,
    }


def _describe_tally(tally: Tally) -> dict[str, Any]:
    numbers = {name: getattr(tally, name) for name in ("rows", "skipped", "weight")}
    return {
        **numbers,
        "log_likelihoods": list(tally.log_likelihoods),
        "reseeds": list(tally.reseeds),
        "lost": _describe_lost(tally.lost),
    }


def _tally(described: Mapping[str, Any], arrays: Mapping[str, FloatArray], n_active: int) -> Tally:
    """Inverse. Raises ValueError where it is not of so many contenders."""
    likelihoods = tuple(float(value) for value in described["log_likelihoods"])
    reseeds = tuple(int(value) for value in described["reseeds"])
    if not len(likelihoods) == len(reseeds) == n_active:
        raise ValueError(f"the rounds of a pass were made for {len(likelihoods)} contenders, {n_active} are active")
    numbers = (int(described["rows"]), int(described["skipped"]), float(described["weight"]))
    return Tally(*numbers, likelihoods, reseeds, arrays["tally_checksums"].astype(np.uint32), _lost(described["lost"]))


def _describe_progress(progress: Progress) -> dict[str, Any]:
    described = [
        {
            "number": span.number,
            "level": span.level,
            "checksums": len(partial.checksums),
            "rows": partial.rows,
            "lost": _describe_lost(partial.lost),
        }
        for span, partial in progress.done
    ]
    return {"stamp": progress.stamp, "spans": described}


def _arrays_of(progress: Progress | None) -> dict[str, FloatArray]:
    """The statistics of all spans side by side, one array for each number of each contender."""
    if progress is None or not progress.done:
        return {}
    partials = [partial for _, partial in progress.done]
    arrays = {"progress_checksums": np.concatenate([partial.checksums for partial in partials]).astype(np.float64)}
    for c in range(len(partials[0].statistics)):
        named = [partial.statistics[c].to_arrays() for partial in partials]
        arrays |= {f"progress_{c}_{name}": np.stack([one[name] for one in named]).astype(np.float64) for name in named[0]}
    return arrays


def _progress(described: Mapping[str, Any], arrays: Mapping[str, FloatArray], active: tuple[Contender, ...]) -> Progress:
    """Inverse of the two above. Raises ValueError where spans overlap or do not give what is said of them."""
    stamp, spans = str(described["stamp"]), [Span(int(one["number"]), int(one["level"])) for one in described["spans"]]
    if any(span.number < 0 or not 0 <= span.level < 63 for span in spans):
        raise ValueError("a span of blocks lies outside of any table")
    if any((a.number + 1) << a.level > b.first for a, b in pairwise(spans)):  # `held` gives them in order
        raise ValueError("spans of blocks overlap")
    done, start = [], 0
    for i, (span, one) in enumerate(zip(spans, described["spans"], strict=True)):
        stop = start + int(one["checksums"])
        checksums = arrays["progress_checksums"][start:stop].astype(np.uint32)
        statistics = tuple(_statistics_of(c, contender, arrays, i) for c, contender in enumerate(active))
        partial = Partial(stamp, statistics, checksums, _lost(one.get("lost") or {}))
        if len(checksums) != stop - start or partial.rows != one["rows"]:
            raise ValueError(f"the span of blocks from {span.first} on does not hold the rows that are said of it")
        done.append((span, partial))
        start = stop
    return Progress(stamp, tuple(done))


def _describe_lost(lost: Iterable[LostBlock]) -> dict[str, Any]:
    """Reasons once each: thousands of blocks may be lost for a few of them."""
    blocks = list(lost)
    reasons = {reason: number for number, reason in enumerate(dict.fromkeys(one.reason for one in blocks))}
    return {"reasons": list(reasons), "blocks": [[one.block, one.rows, reasons[one.reason]] for one in blocks]}


def _lost(described: Mapping[str, Any]) -> tuple[LostBlock, ...]:
    reasons = [str(reason) for reason in described.get("reasons", ())]
    return tuple(LostBlock(int(block), int(rows), reasons[int(number)]) for block, rows, number in described.get("blocks", ()))


def _statistics_of(c: int, contender: Contender, arrays: Mapping[str, FloatArray], i: int) -> MixtureStatistics:
    prefix = f"progress_{c}_"
    mine = {name.removeprefix(prefix): value[i] for name, value in arrays.items() if name.startswith(prefix)}
    return MixtureStatistics.from_arrays(mine, components=type(contender.mixture.components).statistics_type)


def _contender(i: int, described: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> Contender:
    if described["start"] != i:
        raise ValueError(f"contender {i} says that it is number {described['start']}")
    prefix = f"contender_{i}_"
    mine = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    family: type[AbstractComponents] = implementation("components", described["components"])
    law: type[AbstractWeights] = implementation("weights", described["weights"])
    mixture = Mixture(family.from_arrays(mine), law(mine["weights"]))
    history = tuple(float(value) for value in mine["log_likelihoods"])
    memory = {name.removeprefix("memory_"): value for name, value in mine.items() if name.startswith("memory_")}
    return Contender(i, mixture, history, bool(described["converged"]), int(described["repairs"]), memory)
