"""A ladder: several numbers of components and several starts of each, fitted as contenders in the same reads. Floor 7.

Every pass reads each block once for all contenders; one that has converged leaves the later passes. Rows held out enter no pass; one more
read at the end scores all contenders, on rows that were fitted to and on those that were not. It owns no algorithm: the loop and the run
are those of a single fit.
"""

__all__ = ["LadderJob", "ladder_in", "select"]

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from streamgmm.block import Block
from streamgmm.checkpoint import Run
from streamgmm.chosen_executor import executor_for
from streamgmm.errors import EXIT_STOPPED, CheckpointError
from streamgmm.events import Event
from streamgmm.fit import FitResult, ended_with, start_state, starts_from_sample
from streamgmm.held_out_scores import HeldOut
from streamgmm.initialisers._sample import SAMPLE_ROWS
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.job import Job, model_at, saved_model
from streamgmm.ladder_configuration import LadderConfiguration
from streamgmm.ladder_scores import ScoreLadder
from streamgmm.ladder_starts import Dropped, Start, Starts, from_above, race
from streamgmm.ladder_table import Ladder, refuse_criterion, rungs_of
from streamgmm.last_look import StoppedLooking, last_look
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel, save_model
from streamgmm.over_fit import merged_path, too_many
from streamgmm.passes import Observer
from streamgmm.registry import implementation
from streamgmm.sample_em import fit_on_sample
from streamgmm.schedules.base import AbstractSchedule
from streamgmm.signals import nothing_to_save
from streamgmm.sources import as_source
from streamgmm.state import FitState, Outcome

FEWEST_ROWS, ROWS_A_PARAMETER = 20_000, 100  # of the sample that starts are fitted to

Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class LadderJob(Job):
    """A source and the contenders to fit to it. criterion: which of them becomes the model."""

    configuration: LadderConfiguration
    criterion: str = "bic"

    # ---- starts --------------------------------------------------------------------------------------------------------

    @cached_property
    def starts(self) -> Starts:
        """What is left of all starts after a race on a sample in memory."""
        c, sample = self.configuration, self.sample
        rng = np.random.default_rng(c.seed)
        initialiser = implementation("initialisers", c.init)()
        made = [
            Start(k, number, self._with_law(mixture))
            for k, child in zip(c.ladder, rng.spawn(len(c.ladder)), strict=True)
            for number, mixture in enumerate(starts_from_sample(initialiser, self.family, sample, k, c.n_init, child))
        ]

        careful = replace(c.regularisation(), on_singular="floor")  # one bad start of many ends nothing, and keeps its K

        def fit(mixture: Mixture, rows: Block) -> Any:
            return fit_on_sample(mixture, rows, careful, hard=c.assignment == "hard")

        if c.n_init > 1:
            made = from_above(made, self._merged_path(rng))
        found = race(made, sample.block, fit, self.local_threads)
        said = f"{len(made)} starts of {len(c.ladder)} numbers of components on a sample of {len(sample.x):,} rows: {len(found.kept)} go on"
        self.observe(Event("start", said, {"rows": len(sample.x), "starts": len(made), "kept": len(found.kept)}))
        return found

    def _merged_path(self, rng: np.random.Generator) -> dict[int, Mixture]:
        c, rows = self.configuration, self.sample.block
        seeds: AbstractInitialiser = implementation("initialisers", "kmeans_plus_plus")()
        start = seeds.start(self.family, self.sample, too_many(c.n_components, rows), rng)
        path = merged_path(start, rows, c.ladder, c.regularisation(), hard=c.assignment == "hard")
        return {k: self._with_law(mixture) for k, mixture in path.items()}

    @property
    def sample_rows(self) -> int:
        """See the base class; none of them is held out."""
        d = self.source.n_features
        wanted = ROWS_A_PARAMETER * self.configuration.n_components * (1 + d + d * (d + 1) // 2)
        return min(SAMPLE_ROWS, max(FEWEST_ROWS, wanted))

    def first_state(self) -> FitState:
        """One contender for each start that is left."""
        with nothing_to_save(self.stop_requested, EXIT_STOPPED):
            starts = self.starts
        return start_state([start.mixture for start in starts.kept])

    def record(self) -> dict[str, Any]:
        """See the base class; with what became of the starts, once that is known."""
        known = {"ladder": _described(self.starts)} if "starts" in self.__dict__ else {}
        return {**super().record(), **known}

    # ---- the end -------------------------------------------------------------------------------------------------------

    def is_complete(self, run: Run) -> bool:
        """See the base class; the contenders are compared in one more read after the last pass."""
        state = self.ended_state(run)
        with run.model_folder() as path:
            saved = model_at(path) if state is not None else None
        return state is not None and _saved_ladder(saved, state, self.schedule) is not None

    def with_held_out(self, result: FitResult, known: HeldOut | None = None) -> FitResult:
        """See the base class: the same read compares all contenders, on these rows and by all criteria."""
        return result

    def finish(self, run: Run, result: FitResult) -> FitResult:
        """Score the contenders, unless that was done, and save the winner with the whole ladder."""
        with run.model_folder() as path:
            saved = model_at(path)
            ladder = _saved_ladder(saved, result.state, self.schedule)
            try:
                ladder = ladder or self.scored(result.state, *_places(run.record()))
            except StoppedLooking:
                return result
            model = self.model(result, ladder.judged_by(self.criterion))
            if saved is None or saved.provenance != model.provenance:
                save_model(path, model, overwrite=True)
        return result

    def model(self, result: FitResult, ladder: Ladder) -> SavedModel:
        """The winner as it is saved."""
        model, winner = saved_model(result, self.guarded, self.configuration), ladder.winner.contender
        provenance = {**model.provenance, "start": winner, "ladder": ladder.to_json()}
        history = result.state.contenders[winner].log_likelihoods
        return replace(model, mixture=ladder.mixture, log_likelihoods=history, provenance=provenance)

    def fit_ladder(self) -> Ladder:
        """The ladder without a run folder."""
        state = self.fit().state
        try:
            return self.scored(state, tuple((start.n_components, start.number) for start in self.starts.kept), self.starts.dropped)
        except StoppedLooking:
            return _unfinished(replace(state, outcome=Outcome.INTERRUPTED), self.criterion)

    def scored(self, state: FitState, places: Places, dropped: tuple[Dropped, ...]) -> Ladder:
        """The ladder of a fit that has come to its end. Raises DataChangedError where the rows are not those of the passes."""
        if state.outcome not in (Outcome.CONVERGED, Outcome.PASSES_EXHAUSTED):
            return _unfinished(state, self.criterion)
        mixtures = tuple(ended_with(self.schedule, contender) for contender in state.contenders)
        function = ScoreLadder(mixtures, np.array([c.log_likelihood for c in state.contenders]), self.configuration.hold_out)
        scores = last_look(function, self.whole, self.executor, state, "compare", self.observe, self.stop_requested)
        rungs = rungs_of(state.contenders, places, scores)
        rows = scores.rows - scores.held_rows, scores.held_rows
        in_order = tuple(mixtures[rung.contender] for rung in rungs)
        ladder = Ladder("bic", state.outcome, state.passes, *rows, scores.n_effective, rungs, dropped, in_order)
        return ladder.judged_by(self.criterion)


def select(
    table: Any,
    k: Any = range(1, 33),
    *,
    criterion: str = "bic",
    executor: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str = "auto",
    sample_weight: Any = None,
    observe: Observer | None = None,
    strict: bool = False,
    stall_timeout: float | None = None,
    **parameters: Any,
) -> Ladder:
    """Fit a range of numbers of components, several starts of each, in the same reads of a table, and compare them.

    k: numbers of components: 8, range(1, 33), [1, 2, 4], "1:32" or "1,2,4". criterion: "bic", "aic", "aicc", "icl_map", "icl_entropy" or
    "held_out". executor, sample_weight: as of `GaussianMixture`. strict, stall_timeout: as of `fit`.
    checkpoint: a run folder; started again, the ladder goes on there.
    parameters: those of LadderConfiguration (covariance_type, n_init, hold_out, schedule, tol, max_iter, seed, ...).
    """
    configuration = LadderConfiguration.of(k, parameters)
    refuse_criterion(criterion, has_held_out=configuration.hold_out > 0)
    block_rows, missing = (parameters.get(name) for name in ("block_rows", "missing"))
    source = as_source(table, sample_weight=sample_weight, block_rows=block_rows, missing=missing)
    configuration = configuration.model_copy(update={"block_rows": source.block_rows, "missing": source.missing})
    with executor_for(executor, source, strict=strict, stall_timeout=stall_timeout) as chosen:
        job = LadderJob(source=source, configuration=configuration, executor=chosen, criterion=criterion)
        job = job if observe is None else replace(job, observe=observe)
        return job.fit_ladder() if checkpoint is None else ladder_in(Run(checkpoint), job, resume)


def ladder_in(run: Run, job: LadderJob, resume: str = "auto") -> Ladder:
    """The ladder of a run folder: begun, gone on with, or taken from there where it is complete."""
    state = job.fit_in(run, resume).state
    with run.model_folder() as path:
        found = _saved_ladder(model_at(path), state, job.schedule)
    if found is not None:
        return found
    ended = state.outcome if state.outcome is Outcome.DEADLINE else Outcome.INTERRUPTED  # in the last read, where not in a pass
    return _unfinished(replace(state, outcome=ended), job.criterion)


def _unfinished(state: FitState, criterion: str) -> Ladder:
    assert state.outcome is not None
    return Ladder(criterion, state.outcome, state.passes, state.rows, 0, 0.0, ())


def _saved_ladder(saved: SavedModel | None, state: FitState, schedule: AbstractSchedule) -> Ladder | None:
    """The ladder that a model was chosen from; None where there is none, or of another end of the fit."""
    found = None if saved is None else saved.provenance.get("ladder")
    if (
        not isinstance(found, dict)
        or state.outcome is None
        or (found.get("passes"), found.get("outcome")) != (state.passes, state.outcome.word)
    ):
        return None
    return Ladder.from_json(found, [ended_with(schedule, contender) for contender in state.contenders])


def _described(starts: Starts) -> dict[str, Any]:
    """For the run's record: strict JSON."""
    return {"contenders": [[start.n_components, start.number] for start in starts.kept], "dropped": [asdict(one) for one in starts.dropped]}


def _places(record: Mapping[str, Any]) -> tuple[Places, tuple[Dropped, ...]]:
    """Inverse of `_described`. Raises CheckpointError."""
    try:
        found = record["ladder"]
        return tuple((int(k), int(number)) for k, number in found["contenders"]), tuple(Dropped(**one) for one in found["dropped"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"run.json does not say which contenders the ladder has: {error!r}; start again in a new run folder"
        ) from error
