"""One fit from a source to a result: start or resume, loop, commit, model. Floor 7.

The estimator and the commands are faces of this module. It owns no algorithm: starts come from initialisers, passes from the loop,
storage from the run.
"""

__all__ = ["Job", "describe_source", "held_out_in", "model_at", "saved_model", "score_table"]

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from streamgmm.block import Block
from streamgmm.cautions import cautions
from streamgmm.checkpoint import RECORD, Run
from streamgmm.components._gaussian import AbstractGaussian
from streamgmm.configuration import MAY_CHANGE, FitConfiguration
from streamgmm.errors import (
    EXIT_STOPPED,
    CheckpointError,
    ConfigError,
    NumericalError,
    RunMismatchError,
    StorageError,
    StreamGMMError,
)
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor, never
from streamgmm.executors.threads import available_cores
from streamgmm.exploration import explore, explored_rows
from streamgmm.fit import (
    FitResult,
    ended_with,
    let_given_up_steps_end,
    refuse_few_rows,
    result_of,
    run_fit,
    start_state,
    starts_from_sample,
)
from streamgmm.held_out_scores import HeldOut, ScoreHeldOut, held_out_of
from streamgmm.initialisers._sample import SAMPLE_ROWS, Sample, draw_sample
from streamgmm.initialisers.base import AbstractInitialiser
from streamgmm.initialisers.kmeans_parallel import KMeansParallel
from streamgmm.kept_sample import kept_sample
from streamgmm.kept_scan import KeptScan, drop_scans
from streamgmm.kept_sums import LastSums, keep_sums
from streamgmm.last_look import StoppedLooking, last_look
from streamgmm.left_behind import taken_up
from streamgmm.memory import refuse_large_blocks
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel, load_model, save_model
from streamgmm.passes import Caller, FitProblem, Observer
from streamgmm.reduce import Span
from streamgmm.registry import implementation
from streamgmm.saving import Saver
from streamgmm.scan import scan
from streamgmm.schedules.base import AbstractSchedule
from streamgmm.signals import nothing_to_save
from streamgmm.sources._damage_policy import DamagePolicy
from streamgmm.sources._held_out import held_out
from streamgmm.sources.base import AbstractSource
from streamgmm.sources.guarded import guard
from streamgmm.state import Contender, FitState, Outcome, Tally
from streamgmm.storage.base import AbstractStorage
from streamgmm.surroundings import noting, other_profile, own_profile, threads_wanted

DONE = (Outcome.CONVERGED, Outcome.PASSES_EXHAUSTED)
RESUMES = ("never", "auto", "must")
Given = Callable[[Mixture], Mixture]


@dataclass(frozen=True, eq=False)
class Job:
    """A source, what to fit to it and where to run.

    start: a mixture to start from instead of the configuration's `init`. adjust: changes each start that `init` made (scikit-learn's
    weights_init, means_init, precisions_init). given: hash of the parameters, or of the solution, that the user gave to start from, "" for
    none. location: how to open the source again, for run.json only. storage: of the run, which keeps the sample; None without a run.
    """

    source: AbstractSource
    configuration: FitConfiguration
    executor: AbstractExecutor
    start: Mixture | None = None
    adjust: Given | None = None
    given: str = ""
    location: Mapping[str, Any] | None = None
    observe: Observer = ignore
    stop_requested: Callable[[], bool] = never
    clock: Callable[[], float] = time.monotonic
    storage: AbstractStorage | None = None

    @property
    def family(self) -> type[AbstractGaussian]:
        """The components' class."""
        found: type[AbstractGaussian] = implementation("components", f"gaussian_{self.configuration.covariance_type}")
        return found

    @property
    def schedule(self) -> AbstractSchedule:
        """The configuration's schedule; plain EM in place of accelerated passes where there is no likelihood to rise on."""
        made: AbstractSchedule = implementation("schedules", self.configuration.schedule_name)()
        return made

    @cached_property
    def whole(self) -> AbstractSource:
        """All rows with their own weights, read under the policy for damaged blocks; rows in memory need none."""
        if self.source.in_memory or not self.source.repeatable:
            return self.source
        return guard(self.source, DamagePolicy(self.configuration.on_damage, seed=self.configuration.seed))

    @cached_property
    def guarded(self) -> AbstractSource:
        """The rows as they are fitted to: those held out have weight 0."""
        return held_out(self.whole, self.configuration.hold_out)

    def fit(self) -> FitResult:
        """Fit without a run folder."""
        self._refuse_large_blocks()
        let_given_up_steps_end()
        with threads_wanted(self.executor.workers):
            return self.with_held_out(self._loop(self.first_state(), None))

    def fit_in(self, run: Run, resume: str = "auto") -> FitResult:
        """Fit in a run folder, going on from its newest commit where there is one.

        Raises ConfigError (a run is there and resume="never"), CheckpointError (none is and resume="must"), RunMismatchError,
        DataChangedError, RunLockedError, StorageError.
        """
        if resume not in RESUMES:
            raise ConfigError(f"resume must be one of {RESUMES}, got {resume!r}")
        self._refuse(run, resume)
        self._refuse_large_blocks()
        let_given_up_steps_end()
        told = replace(self, observe=noting(self.observe, run.place), storage=run.storage)
        with run, threads_wanted(self.executor.workers):
            return told.fit_held(run)

    def fit_held(self, run: Run) -> FitResult:
        """Fit in a run whose lock is held, and that may be gone on with."""
        for remark in run.remarks:
            self.observe(remark)
        if run.exists:
            defaults = {name: field.default for name, field in FitConfiguration.model_fields.items() if not field.is_required()}
            run.check_same(self.record(), MAY_CHANGE, defaults)
            self._refuse_other_start(run)
            for remark in other_profile(run.record(), self.executor.strict):
                self.observe(remark)
            state = self._state_of(run)
            if state.outcome is None:
                self._look_over()
        else:
            self._look_over()
            state = self.first_state()  # what it refuses leaves no run behind
            run.start(self.record())
        result = self._loop(state, run) if state.outcome is None else result_of(self.schedule, state, state.outcome)
        return self.finish(run, result) if result.outcome in DONE else result

    def is_complete(self, run: Run) -> bool:
        """Whether a run holds all that this job would compute. Nothing is changed there, and the lock is not needed."""
        state = self.ended_state(run)
        if state is None or not self.configuration.hold_out:
            return state is not None
        with run.model_folder() as path:
            return held_out_in(model_at(path), ended_with(self.schedule, state.best)) is not None

    def ended_state(self, run: Run) -> FitState | None:
        """The state in which a run has come to its end, None where there is more to do under this configuration."""
        good = run.examine(1)[0] if run.exists else []
        state = reopened(good[0].state, self.configuration) if good else None
        return None if state is None or state.outcome is None else state

    def _refuse_large_blocks(self) -> None:
        refuse_large_blocks(self.source, self.executor.blocks_in_memory, self.executor.memory_limit)

    def _look_over(self) -> None:
        for event in self.executor.look_over(self.guarded):
            if self.stop_requested():
                return  # the loop is told as well, and saves what there is
            if event.kind != "waiting":
                self.observe(event)

    def _refuse(self, run: Run, resume: str) -> None:
        if resume == "never" and run.exists:
            raise ConfigError(f"{run.place} holds a run already; resume it (resume='auto') or choose a new folder")
        if resume == "must" and not run.exists:
            raise CheckpointError(f"nothing to resume in {run.place}: looked for run.json and commits/")

    def _refuse_other_start(self, run: Run) -> None:
        if run.record().get("given", "") != self.given:
            raise RunMismatchError(
                f"the run in {run.place} was started from other given parameters (weights_init, means_init, precisions_init, or with"
                " warm_start another solution); give the same ones, or use a new run folder"
            )

    def record(self) -> dict[str, Any]:
        """What run.json keeps."""
        return {
            "configuration": self.configuration.model_dump(),
            "source": self.guarded.fingerprint,
            "location": dict(self.location or {}),
            "given": self.given,
            "numeric_profile": own_profile(),
        }

    def first_state(self) -> FitState:
        """The starts, one contender each."""
        if self.start is not None:
            self._refuse_few_rows()
            return start_state([self._with_law(self.start)])
        with nothing_to_save(self.stop_requested, EXIT_STOPPED):
            starts = self._starts()
        return start_state([self._with_law(self.adjust(start) if self.adjust else start) for start in starts])

    @cached_property
    def sample(self) -> Sample:
        """Rows of the table in memory: what starts are made from, and what the schedule "auto" explores. A run keeps the latter."""
        if self.storage is None or not self.configuration.explores or self.source.in_memory:
            return self.drawn_sample(self.sample_rows)
        settled = self.configuration.model_dump(exclude=set(MAY_CHANGE))
        origin = {"source": self.guarded.fingerprint, "configuration": settled, "rows": self.sample_rows}
        keeper = KeptScan(self.storage, origin, self.configuration.checkpoint_every, self.observe, self.clock)
        draw = partial(self.drawn_sample, self.sample_rows, keeper)
        sample = kept_sample(self.storage, origin, draw, self.observe, expected=RECORD in self.storage.names(""))
        drop_scans(self.storage)
        return sample

    @property
    def sample_rows(self) -> int:
        """Rows that the sample is to have."""
        if not self.configuration.explores:
            return SAMPLE_ROWS
        return explored_rows(self.family.structure, self.configuration.n_components, self.source.n_features)

    def drawn_sample(self, n_rows: int, keeper: KeptScan | None = None) -> Sample:
        """Read the table for about so many rows of it."""
        c = self.configuration
        if not c.explores or c.scan == "part":
            return draw_sample(self.guarded, c.seed, n_rows)
        sample, found = scan(self.guarded, self.executor, c.seed, n_rows, self.observe, keeper)
        self.observe(Event("start", f"all {found.rows:,} rows are read and sound", {"rows": found.rows, "skipped": found.skipped}))
        return sample

    def _starts(self) -> list[Mixture]:
        c = self.configuration
        if c.init == KMeansParallel.name and not c.explores:
            return self._starts_without_sample()
        sample = self.sample
        for caution in cautions(sample, self.source, c.n_components):
            self.observe(caution)
        initialiser = implementation("initialisers", c.init)()
        if self.configuration.explores and self.adjust is None:
            return self._explored(sample, initialiser)
        self.observe(Event("start", f"{c.n_init} start(s) {c.init} on a sample of {len(sample.x):,} rows", {"rows": len(sample.x)}))
        rng = np.random.default_rng(c.seed)
        return starts_from_sample(initialiser, self.family, sample, c.n_components, c.n_init, rng)

    def _starts_without_sample(self) -> list[Mixture]:
        c = self.configuration
        self.observe(Event("start", f"{c.n_init} start(s) {c.init}, each in seven reads of all rows", {"starts": c.n_init}))
        children = np.random.default_rng(c.seed).spawn(c.n_init)
        return [KMeansParallel().start_over(self.family, self.guarded, self.executor, c.n_components, child) for child in children]

    def _explored(self, sample: Sample, initialiser: AbstractInitialiser) -> list[Mixture]:
        c = self.configuration
        refuse_few_rows(len(sample.x), c.n_components)
        self.observe(Event("start", f"exploring a sample of {len(sample.x):,} rows in memory", {"rows": len(sample.x)}))
        floors, law, threads = c.regularisation(), self._with_law, self.local_threads
        found = explore(sample, self.family, initialiser, c.n_components, c.n_init, floors, c.seed, law, threads)
        self.observe(Event("start", f"{len(found)} mixture(s) go over the whole table", {"starts": len(found)}))
        return found

    @property
    def local_threads(self) -> int:
        """Threads for work in this process: as many as the executor's, where this machine has them."""
        return min(self.executor.workers, available_cores())

    def _refuse_few_rows(self) -> None:
        if self.source.n_rows is not None:
            refuse_few_rows(self.source.n_rows, self.configuration.n_components)

    def _with_law(self, mixture: Mixture) -> Mixture:
        law = implementation("weights", self.configuration.weight_model)
        proportions = mixture.weights.proportions
        if self.configuration.weight_model == "fixed" and self.start is None and self.adjust is None:
            proportions = np.full(mixture.n_components, 1 / mixture.n_components)
        return Mixture(mixture.components, law(proportions))

    def _state_of(self, run: Run) -> FitState:
        commit = run.latest(self.observe)
        if commit is None:
            if "update" in run.record():
                raise CheckpointError(f"{run.place} holds an update that ended before its first commit; start the same update again")
            return self.first_state()
        state = reopened(commit.state, self.configuration)
        begun = f", of the next one {state.rows_begun:,} rows are done" if state.progress is not None or state.step else ""
        how = "is complete" if state.outcome else f"goes on after pass {state.passes}{begun}"
        self.observe(Event("start", f"the run in {run.place} {how}", {"passes": state.passes, "commit": commit.number}))
        return state

    def _loop(self, state: FitState, run: Run | None) -> FitResult:
        if run is None:
            return run_fit(self.problem(), state, self.executor, Caller(self.observe, self.stop_requested, clock=self.clock))
        saver = Saver(run, self.configuration.checkpoint_every, self.observe, self.clock)
        sums = LastSums() if self.source.n_rows is not None else None
        caller = Caller(self.observe, self.stop_requested, saver.due, self.clock, sums)

        def save(state: FitState) -> None:
            if sums is not None and state.progress is None:
                self._keep(run, sums, state)
            saver(state)

        return run_fit(self.problem(), state, self.executor, caller, save)

    def _keep(self, run: Run, sums: LastSums, state: FitState) -> None:
        """Before the commit that ends a fit, so that a run that is complete has them; without them it can only be updated in other ways."""
        found = sums.of(state) if state.outcome in DONE else None
        if found is not None:
            try:
                keep_sums(run.storage, state.passes, found)
            except (StorageError, NumericalError) as error:
                self.observe(Event("warning", f"the sums of the last pass are not kept, an exact update will need them: {error}"))
        if not state.step:
            sums.settle(state)

    def problem(self) -> FitProblem:
        """What the loop is given."""
        c = self.configuration
        sample = None
        if self.configuration.explores and self.source.repeatable:
            with nothing_to_save(self.stop_requested, EXIT_STOPPED):
                sample = self.sample.block
        return FitProblem(
            self.guarded,
            self.schedule,
            c.regularisation(),
            c.stopping(),
            c.assignment == "hard",
            c.arithmetic,
            sample=sample,
            seed=c.seed,
            threads=self.local_threads,
        )

    def finish(self, run: Run, result: FitResult) -> FitResult:
        """Look at the rows held out, unless that was done, and save the model of a fit that has come to its end.

        Damage that this last read meets is raised when the model is saved without their figures.
        """
        failure: StreamGMMError | None = None
        with run.model_folder() as path:
            saved = model_at(path)
            try:
                result = self.with_held_out(result, held_out_in(saved, result.mixture))
            except StreamGMMError as error:
                failure = error
            if result.outcome in DONE:
                model = saved_model(result, self.guarded, self.configuration)
                if saved is None or saved.provenance != model.provenance:
                    save_model(path, model, overwrite=True)
        if failure is not None:
            self.observe(Event("warning", "the model is saved without figures of the rows held out, which could not be looked at"))
            raise failure
        return result

    def with_held_out(self, result: FitResult, known: HeldOut | None = None) -> FitResult:
        """The result of a fit with how its model does on the rows held out; where it is told to stop in the read for that, interrupted."""
        if not self.configuration.hold_out or result.outcome not in DONE:
            return result
        if known is not None:
            return replace(result, held_out=known)
        function = ScoreHeldOut(result.mixture, np.array([result.state.best.log_likelihood]), self.configuration.hold_out)
        try:
            scores = last_look(function, self.whole, self.executor, result.state, "held out", self.observe, self.stop_requested)
        except StoppedLooking:
            return replace(result, outcome=Outcome.INTERRUPTED)
        found = held_out_of(scores)
        self.observe(Event("held_out", f"rows held out: {found.said()}", asdict(found)))
        return replace(result, held_out=found)


def model_at(path: Path) -> SavedModel | None:
    """The model that is there; None where there is none, or one that was damaged or killed on its way: it is written again."""
    try:
        return load_model(path)
    except CheckpointError:
        return None


def held_out_in(saved: SavedModel | None, mixture: Mixture) -> HeldOut | None:
    """What a saved model says of the rows held out, where it is this very mixture."""
    if saved is None or not saved.mixture.is_same(mixture):
        return None
    return HeldOut.from_json(saved.provenance.get("held_out"))


def reopened(state: FitState, configuration: FitConfiguration) -> FitState:
    """A saved state under a configuration whose max_iter or tol may have changed: open again where there is more to do."""
    contenders = taken_up([replace(c, converged=_still_converged(c, configuration.tol)) for c in state.contenders])
    again = replace(state, contenders=contenders)
    if [c.start for c in again.active] != [c.start for c in state.active]:  # what was done of a pass was done for others
        again = replace(again, step=0, tally=Tally(), progress=None)
    state = again
    if not state.active:
        return replace(state, outcome=Outcome.CONVERGED)
    return replace(state, outcome=Outcome.PASSES_EXHAUSTED if state.passes >= configuration.most_passes else None)


def _still_converged(contender: Contender, tol: float) -> bool:
    """What ended it, against this tol: what its schedule says is left, else the last change of the likelihood."""
    if not contender.converged:
        return False
    left = contender.memory.get("left")
    return float(abs(np.diff(contender.log_likelihoods[-2:])[0]) if left is None else left) < tol


def saved_model(result: FitResult, source: AbstractSource, configuration: FitConfiguration) -> SavedModel:
    """The winner with its provenance: nothing in it depends on where or how often it was computed."""
    state = result.state
    provenance = {
        "source": source.fingerprint,
        "configuration": configuration.model_dump(exclude={"deadline", "checkpoint_every"}) | {"max_iter": configuration.most_passes},
        "outcome": result.outcome.word,
        "converged": result.converged,
        "passes": state.passes,
        "rows": state.rows,
        "skipped": state.skipped,
        "start": state.best.start,
        "lost_blocks": [one._asdict() for one in state.lost],
    }
    if configuration.hold_out:
        provenance["weight"] = state.weight  # not that of all rows
    if result.held_out is not None:
        provenance["held_out"] = asdict(result.held_out)
    return SavedModel(result.mixture, source.feature_names, source.units, result.log_likelihoods, provenance)


def describe_source(source: AbstractSource) -> dict[str, Any]:
    """Rows, blocks, bytes: strict JSON, nothing is read."""
    return {
        "rows": source.n_rows,
        "blocks": source.n_blocks,
        "block_rows": source.block_rows,
        "features": list(source.feature_names),
        "units": list(source.units),
        "dtype": str(source.dtype),
        "bytes": source.nbytes,
        "rows_per_read": source.rows_per_read,
    }


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """The function that executors map for `score`: (weight * log density summed, weight, rows, rows left out)."""

    mixture: Mixture

    def __call__(self, block: Block) -> tuple[float, float, int, int]:
        score = self.mixture.score_samples(block.x)
        weight = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight
        return float(np.einsum("i,i->", weight, score)), float(weight.sum()), block.n_rows, block.skipped


def add_scores(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, ...]:
    """Merge two results of ScoreBlock."""
    return tuple(left + right for left, right in zip(a, b, strict=True))


def score_table(mixture: Mixture, source: AbstractSource, executor: AbstractExecutor, observe: Observer = ignore) -> dict[str, Any]:
    """Total and mean log-likelihood of a whole table under a mixture, streamed."""
    began, rows_read = time.monotonic(), 0

    def on_span(_: Span, value: Sequence[Any]) -> None:
        nonlocal rows_read
        rows_read += value[2] + value[3]
        details = {"task": "score", "rows": rows_read, "of": source.n_rows, "seconds": time.monotonic() - began}
        observe(Event("reading", f"score: {rows_read:,} rows", details))

    total = executor.map_reduce(ScoreBlock(mixture), add_scores, source, on_span)
    likelihood, weight, rows, skipped = total if total is not None else (0.0, 0.0, 0, 0)
    return {
        "log_likelihood": likelihood,
        "mean_log_likelihood": likelihood / weight if weight else float("nan"),
        "weight": weight,
        "rows": rows,
        "skipped": skipped,
    }
