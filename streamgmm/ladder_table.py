"""A ladder of fitted mixtures as a table: criteria, held-out likelihood, the winner of each K and of all. Floor 6.

All criteria have mclust's sign, the larger the better; L is the log-likelihood of the rows that were fitted to, N their number (with row
weights (sum w)^2 / sum w^2), p the number of parameters::

    bic          2 L - p log N
    aic, aicc    2 L - 2 p,  aic - 2 p (p + 1) / (N - p - 1)
    icl_map      bic + 2 sum w log max_k r_k       the hard form, mclust's
    icl_entropy  bic - 2 sum w (-sum_k r_k log r_k)       the soft form
    held_out     the smallest K within one standard error (of the paired difference) of the best mean log density on rows held out
"""

__all__ = ["CRITERIA", "Ladder", "Rung", "rungs_of"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from streamgmm.errors import CheckpointError, ConfigError, nearest
from streamgmm.ladder_scores import LadderScores
from streamgmm.ladder_starts import Dropped
from streamgmm.mixture import Mixture
from streamgmm.state import Contender, Outcome

CRITERIA = ("bic", "aic", "aicc", "icl_map", "icl_entropy", "held_out")

COLUMNS = (
    ("K", "n_components", "d"),
    ("start", "number", "d"),
    ("p", "n_parameters", "d"),
    ("log-likelihood", "log_likelihood", ".3f"),
    ("BIC", "bic", ".3f"),
    ("AIC", "aic", ".3f"),
    ("ICL (map)", "icl_map", ".3f"),
    ("ICL (entropy)", "icl_entropy", ".3f"),
    ("held out", "held_out", ".6f"),
    ("below the best", "difference", ".2g"),
    ("its error", "difference_error", ".2g"),
    ("passes", "passes", "d"),
)


@dataclass(frozen=True)
class Rung:
    """One contender: the `number`-th start of its K.

    log_likelihood, entropy: over the rows that were fitted to. held_out: mean log density of the others; difference: its difference to the
    best contender's on the same rows; None where no rows were held out. best: the start of largest likelihood among those of its K.
    """

    contender: int
    n_components: int
    number: int
    n_parameters: int
    log_likelihood: float
    bic: float
    aic: float
    aicc: float | None
    icl_map: float
    icl_entropy: float
    entropy: float
    held_out: float | None
    held_out_error: float | None
    difference: float | None
    difference_error: float | None
    converged: bool
    passes: int
    best: bool = False


@dataclass(frozen=True, eq=False)
class Ladder:
    """What came of all contenders.

    rungs: by rising K; none where the fit was stopped before its end. dropped: starts left behind on the sample. rows: fitted to;
    held_out_rows: kept for comparison. mixtures: of all rungs, in their order.
    """

    criterion: str
    outcome: Outcome
    passes: int
    rows: int
    held_out_rows: int
    n_effective: float
    rungs: tuple[Rung, ...]
    dropped: tuple[Dropped, ...] = ()
    mixtures: tuple[Mixture, ...] = field(default=(), repr=False)

    @property
    def best_of_each(self) -> tuple[Rung, ...]:
        """The best start of each K, by rising K."""
        return tuple(rung for rung in self.rungs if rung.best)

    @property
    def winner(self) -> Rung:
        """The rung that the criterion chooses. Raises ConfigError where the fit has not come to its end, or no rows were held out."""
        if not self.rungs:
            raise ConfigError(f"the ladder has no winner yet: {self.outcome.value}")
        if self.criterion != "held_out":
            return max(self.best_of_each, key=lambda rung: (_value(rung, self.criterion), -rung.n_components))
        near = [rung for rung in self.best_of_each if -(_value(rung, "difference")) <= _value(rung, "difference_error")]
        return min(near, key=lambda rung: rung.n_components) if near else max(self.best_of_each, key=lambda rung: _value(rung, "held_out"))

    @property
    def mixture(self) -> Mixture:
        """The winner's, as it was fitted."""
        return self.mixtures[self.rungs.index(self.winner)]

    def judged_by(self, criterion: str) -> "Ladder":
        """The same ladder under another criterion; nothing is computed anew."""
        refuse_criterion(criterion, has_held_out=not self.rungs or self.rungs[0].held_out is not None)
        return replace(self, criterion=criterion)

    def table(self) -> str:
        """Plain text, a line for each contender: * the best start of its K, > the winner."""
        rows = [["", *(name for name, _, _ in COLUMNS)]]
        for rung in self.rungs:
            mark = ">" if rung is self.winner else "*" if rung.best else ""
            rows.append([mark, *(_cell(getattr(rung, name), form) for _, name, form in COLUMNS)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)

    def to_json(self) -> dict[str, Any]:
        """Strict JSON: everything but the mixtures."""
        plain = {name: getattr(self, name) for name in ("criterion", "passes", "rows", "held_out_rows", "n_effective")}
        winner = {"winner": self.winner.n_components, "winning_contender": self.winner.contender} if self.rungs else {}
        rungs, dropped = ([asdict(one) for one in several] for several in (self.rungs, self.dropped))
        return {**plain, **winner, "outcome": self.outcome.word, "rungs": rungs, "dropped": dropped}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], mixtures: Sequence[Mixture]) -> "Ladder":
        """Inverse of `to_json`; mixtures: of all contenders, by their number. Raises CheckpointError for what is no ladder."""
        try:
            rungs = tuple(Rung(**one) for one in found["rungs"])
            return cls(
                str(found["criterion"]),
                Outcome[str(found["outcome"]).upper()],
                int(found["passes"]),
                int(found["rows"]),
                int(found["held_out_rows"]),
                float(found["n_effective"]),
                rungs,
                tuple(Dropped(**one) for one in found["dropped"]),
                tuple(mixtures[rung.contender] for rung in rungs),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"the saved ladder does not fit its description: {error}; remove model.zarr, and start again") from error


def refuse_criterion(criterion: str, *, has_held_out: bool) -> None:
    """Raise ConfigError where there is no such criterion, or no rows to judge by."""
    if criterion not in CRITERIA:
        raise ConfigError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}{nearest(str(criterion), CRITERIA)}")
    if criterion == "held_out" and not has_held_out:
        raise ConfigError("criterion='held_out' needs at least two rows held out: raise hold_out, or choose another criterion")


def rungs_of(contenders: Sequence[Contender], places: Sequence[tuple[int, int]], scores: LadderScores) -> tuple[Rung, ...]:
    """One rung for each contender. places: (K, number of the start) of each."""
    best = int((scores.centre + scores.held / scores.held_weight).argmax()) if scores.has_held_out else None
    rungs = [_rung(contender, place, scores, best) for contender, place in zip(contenders, places, strict=True)]
    first: dict[int, int] = {}
    for rung in sorted(rungs, key=lambda rung: (-rung.log_likelihood, rung.contender)):
        first.setdefault(rung.n_components, rung.contender)
    return tuple(
        replace(rung, best=first[rung.n_components] == rung.contender) for rung in sorted(rungs, key=lambda r: (r.n_components, r.number))
    )


def _rung(contender: Contender, place: tuple[int, int], scores: LadderScores, best: int | None) -> Rung:
    i, p, n = contender.start, contender.mixture.n_parameters, scores.n_effective
    likelihood, entropy = float(scores.log_likelihood[i]), float(scores.entropy[i])
    bic, aic = 2 * likelihood - p * math.log(n), 2 * likelihood - 2 * p
    alone, beside = ((None, None), (None, None)) if best is None else (scores.held_out(i), scores.difference(i, best))
    return Rung(
        contender=i,
        n_components=contender.mixture.n_components,
        number=place[1],
        n_parameters=p,
        log_likelihood=likelihood,
        bic=bic,
        aic=aic,
        aicc=aic - 2 * p * (p + 1) / (n - p - 1) if n > p + 1 else None,
        icl_map=bic + 2 * float(scores.log_largest[i]),
        icl_entropy=bic - 2 * entropy,
        entropy=entropy,
        held_out=alone[0],
        held_out_error=alone[1],
        difference=beside[0],
        difference_error=beside[1],
        converged=contender.converged,
        passes=len(contender.log_likelihoods),
    )


def _value(rung: Rung, name: str) -> float:
    value = getattr(rung, name)
    return -math.inf if value is None else float(value)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
