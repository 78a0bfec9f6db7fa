"""Rows were appended: the model of the grown table from what a run holds and the new rows alone. Floor 7.

The result is a run of its own beside the old one, which is only read. Exact: the sums that the last pass kept (kept_sums.py) and those of
the blocks after them, about the same mixture, in the fixed tree, are one EM step over the grown table, with the bits of a whole pass. It is
a pass of the ordinary loop that finds most of itself done: commits, resumes and executors are those of a fit. Quick: one look at the
appended rows, added batch by batch to what the model says of the others (schedules/_appended.py). Neither claims to have converged; the
new run can be gone on with.
"""

__all__ = ["HOWS", "Appendix", "UpdateJob", "appendix_of", "fitted_of", "prepared", "update"]

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from streamgmm.checkpoint import Run
from streamgmm.chosen_executor import executor_for
from streamgmm.configuration import MAY_CHANGE, FitConfiguration
from streamgmm.errors import EXIT_STOPPED, CheckpointError, ConfigError, DataChangedError, RunMismatchError, nearest
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor
from streamgmm.fit import FitResult, ended_with, result_of, run_fit, start_state
from streamgmm.job import DONE, Job, saved_model
from streamgmm.kept_sums import keep_sums, load_sums, prefix_of
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel, save_model
from streamgmm.passes import Caller, FitProblem, Observer, stamp_of
from streamgmm.registry import implementation
from streamgmm.schedules._appended import Appended, past_of
from streamgmm.signals import nothing_to_save
from streamgmm.sources import as_source
from streamgmm.sources._row_range import RowRange, row_range
from streamgmm.sources.base import AbstractSource
from streamgmm.state import FitState, Outcome, Progress
from streamgmm.stopping import Stopping

HOWS = ("exact", "quick")


@dataclass(frozen=True, eq=False)
class Fitted:
    """What an update takes from the run that it begins with. mixture: its model. sums: what its last pass kept, None for nothing."""

    place: str
    identity: str
    record: Mapping[str, Any]
    configuration: FitConfiguration
    mixture: Mixture
    state: FitState
    sums: FitState | None

    @cached_property
    def n_rows(self) -> int:
        """Rows that it was fitted to. Raises ConfigError where nobody knows."""
        found = self.record["source"].get("n_rows")
        if type(found) is not int:
            raise ConfigError(f"the run in {self.place} was fitted to a table of unknown length; store its rows, and fit anew")
        return found


@dataclass(frozen=True)
class Appendix:
    """What an update is going to read. blocks: numbers of those, first and one past the last. bytes: uncompressed."""

    how: str
    rows_before: int
    rows: int
    blocks: tuple[int, int]
    bytes_read: int
    bytes_in_all: int

    @property
    def rows_appended(self) -> int:
        """Rows that the run has not seen."""
        return self.rows - self.rows_before

    def said(self) -> str:
        """One line, before anything is read."""
        share = self.bytes_read / max(self.bytes_in_all, 1)
        first, last = self.blocks
        return (
            f"{self.rows_appended:,} rows were appended to {self.rows_before:,}: {self.how} update, reads blocks {first} to {last - 1},"
            f" {self.bytes_read:,} of {self.bytes_in_all:,} bytes ({share:.1%})"
        )


def fitted_of(run: Run) -> Fitted:
    """What a finished run holds. Raises CheckpointError (no run), ConfigError (it is not finished, or is a ladder)."""
    record = run.record()
    saved = record.get("configuration")
    if not isinstance(saved, dict) or not isinstance(record.get("source"), dict):
        raise CheckpointError(f"{run.place}/run.json does not say what was fitted to what; fit anew")
    if "ladder" in saved:
        raise ConfigError(f"the run in {run.place} is a ladder, which cannot be updated; fit the number of components that it chose")
    changed = {name: value for name, value in run.changes().items() if name in MAY_CHANGE}
    configuration, commit = FitConfiguration.checked({**saved, **changed}), run.latest()
    if commit is None or commit.state.outcome not in DONE:
        raise ConfigError(f"the run in {run.place} has not come to its end; streamgmm resume {run.place} goes on with it, then update")
    schedule = implementation("schedules", configuration.schedule_name)()
    identity = hashlib.sha256(run.storage.read("run.json")).hexdigest()
    sums = load_sums(run.storage, commit.state.passes)
    mixture = ended_with(schedule, commit.state.best)
    return Fitted(run.place, identity, record, configuration, mixture, commit.state, sums)


# ---- what was appended -----------------------------------------------------------------------------------------------------------


def appendix_of(fitted: Fitted, source: AbstractSource, how: str, *, read_all: bool = False) -> Appendix:
    """What the update is going to read. Raises ConfigError (no such update of this run), DataChangedError (fewer rows than before)."""
    if how not in HOWS:
        raise ConfigError(f"how must be one of {HOWS}, got {how!r}{nearest(how, HOWS)}")
    before, now = fitted.n_rows, source.n_rows
    if now is None or not source.repeatable:
        raise ConfigError("an update needs a table of known length that can be read again; store the rows (streamgmm ingest) first")
    if now < before:
        raise DataChangedError(
            f"the table has {now:,} rows, fewer than the {before:,} that the run in {fitted.place} was fitted to; only appended rows can be"
            " added to it. Fit anew, in a new run folder."
        )
    first = before // source.block_rows if how == "quick" else 0 if read_all else _kept_blocks(fitted, source)
    from_row = before if how == "quick" else first * source.block_rows
    width = source.n_features * source.dtype.itemsize
    return Appendix(how, before, now, (first, source.n_blocks or 0), (now - from_row) * width, now * width)


def _kept_blocks(fitted: Fitted, source: AbstractSource) -> int:
    schedule = fitted.configuration.schedule_name
    remedy = "--how quick (how='quick') needs no sums; --read-all (read_all=True) reads the whole table for one exact step"
    if fitted.sums is None:
        why = "which looks at no table with one mixture" if schedule in ("stepwise", "incremental") else "or its last pass began elsewhere"
        raise ConfigError(f"the run in {fitted.place} keeps no sums of a last pass (schedule {schedule!r}, {why}): {remedy}")
    blocks = prefix_of(fitted.sums)
    if blocks * source.block_rows > fitted.n_rows:
        raise CheckpointError(f"the sums that the run in {fitted.place} keeps are of {blocks} blocks, which it never had; {remedy}")
    checked = [len(part.checksums) for _, part in fitted.sums.progress.done] if fitted.sums.progress else []
    if checked and bool(sum(checked)) == source.in_memory:
        raise ConfigError(f"rows in memory have no checksums and rows of a store have: update from the same kind of table, or: {remedy}")
    return blocks


def refuse_other_rows(run: Run, fitted: Fitted, source: AbstractSource) -> None:
    """The first rows must be those of the run, as far as their ends tell; reads two blocks. Raises DataChangedError naming what differs."""
    head = row_range(source, 0, fitted.n_rows)
    configuration = fitted.record["configuration"]
    run.check_same({"configuration": configuration, "source": head.fingerprint}, MAY_CHANGE)


# ---- the new run -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class UpdateJob(Job):
    """One pass about the mixture of the kept sums, which finds them done; the new run's configuration stays that of the old one."""

    fitted: Fitted
    appendix: Appendix
    read_all: bool = False

    def record(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().record(), "configuration": self.fitted.configuration.model_dump(), "update": self.origin}

    @property
    def origin(self) -> dict[str, Any]:
        """Where the new run comes from."""
        known = {"how": self.appendix.how, "rows_before": self.appendix.rows_before, "rows": self.appendix.rows, "read_all": self.read_all}
        return {**known, "run": self.fitted.identity, "passes": self.fitted.state.passes}

    def fit_held(self, run: Run) -> FitResult:
        """See the base class; another update's run, or one that was gone on with, stays as it is."""
        if run.exists:
            found, commit = run.record().get("update"), run.latest()
            same = found == self.origin
            if not same and isinstance(found, dict) and commit is None:  # an update that was killed, or refused, before it had anything
                run.clear()
            elif not same or (commit is not None and self.was_gone_on_with(commit.state)):
                raise RunMismatchError(
                    f"{run.place} holds another run than this update (or was gone on with since): {_differences(found, self.origin)};"
                    " choose a new folder"
                )
        return Job.fit_held(replace(self, observe=partial(_of_an_update, self.observe)), run)

    def was_gone_on_with(self, state: FitState) -> bool:
        """Whether a state is not one that this update commits."""
        return state.passes > 1 or state.step > 0 or (state.passes == 1 and (state.progress is not None or state.outcome not in DONE))

    def first_state(self) -> FitState:
        """Before a pass of which the kept sums are done."""
        sums = self.fitted.sums
        if self.read_all or sums is None or sums.progress is None:
            old, blocks = self.fitted.state, self.fitted.n_rows // self.guarded.block_rows
            state = start_state([self.fitted.mixture if sums is None else sums.contenders[0].mixture])
            lost = tuple(one for one in old.lost if one.block < blocks)  # the last block is another one since it was filled up
            return replace(state, checksums=old.checksums[:blocks], lost=lost)
        state = replace(sums, progress=None)
        stamp = stamp_of(self.problem(), state)
        done = tuple((span, replace(partial, stamp=stamp)) for span, partial in sums.progress.done)
        return replace(state, progress=Progress(stamp, done))

    def _state_of(self, run: Run) -> FitState:
        """See the base class; killed before its first commit, an update begins again."""
        return self.first_state() if run.latest() is None else super()._state_of(run)

    def finish(self, run: Run, result: FitResult) -> FitResult:
        """See the base class. Rows held out stay so; a look at all of them would read the whole table, and is left to a resume."""
        model = self.model(result)
        with run.model_folder() as path:
            save_model(path, model, overwrite=True)
        return result

    def model(self, result: FitResult) -> SavedModel:
        """With where it comes from; it has not converged."""
        model = saved_model(result, self.guarded, self.fitted.configuration)
        origin = {**self.origin, "rows_appended": self.appendix.rows_appended, "said": self.said()}
        return replace(model, provenance={**model.provenance, "update": origin})

    def said(self) -> str:
        """What the model is."""
        a = self.appendix
        return f"one exact EM step over all {a.rows:,} rows from the mixture that the last pass over {a.rows_before:,} rows looked at"


@dataclass(frozen=True, eq=False, kw_only=True)
class QuickUpdateJob(UpdateJob):
    """One look at the appended rows; nothing is saved before it is done."""

    @cached_property
    def appended(self) -> RowRange:
        """The rows that the old run has not seen."""
        return row_range(self.guarded, self.appendix.rows_before, self.appendix.rows)

    def problem(self) -> FitProblem:
        """See the base class."""
        c = self.configuration
        schedule, stopping = Appended(self.appended.first_block), Stopping(0.0, 1)
        return FitProblem(self.appended, schedule, c.regularisation(), stopping, c.assignment == "hard", c.arithmetic, seed=c.seed)

    def was_gone_on_with(self, state: FitState) -> bool:
        """See the base class."""
        return state.passes > 0 or state.step > 0 or state.progress is not None or state.outcome not in DONE

    def first_state(self) -> FitState:
        """The model, with a past of the rows that it was fitted to."""
        state = start_state([self.fitted.mixture])
        memory = past_of(self.fitted.mixture, self.fitted.state.weight, self.configuration.regularisation())
        return replace(state, contenders=(replace(state.best, memory=memory),))

    def _state_of(self, run: Run) -> FitState:
        """The only commit there is, where there is one: then a kill came before the model was written."""
        commit = run.latest(self.observe)
        return self.first_state() if commit is None else commit.state

    def _loop(self, state: FitState, run: Run | None) -> FitResult:
        assert run is not None
        with nothing_to_save(self.stop_requested, EXIT_STOPPED):
            result = run_fit(self.problem(), state, self.executor, Caller(self.observe, self.stop_requested, clock=self.clock))
        if result.outcome not in DONE:
            return result
        ended = self._ended(result)
        if self.fitted.sums is not None:
            keep_sums(run.storage, ended.passes, self.fitted.sums)
        run.commit(ended)
        return result_of(self.problem().schedule, ended, Outcome.PASSES_EXHAUSTED)

    def _ended(self, result: FitResult) -> FitState:
        """A run of the grown table that has made no pass over it yet."""
        old, new = self.fitted.state, result.state
        contender = replace(start_state([result.mixture]).best, repairs=new.best.repairs)
        counts = old.rows + new.rows, old.skipped + new.skipped, old.weight + new.weight
        return FitState((contender,), 0, *counts, Outcome.PASSES_EXHAUSTED, lost=old.lost + new.lost)

    def said(self) -> str:
        """See the base class."""
        a = self.appendix
        return f"{a.rows_appended:,} rows looked at once and added to what the model said of {a.rows_before:,} others"


def _differences(found: Any, wanted: Mapping[str, Any]) -> str:
    if not isinstance(found, dict):
        return "it is a fit"
    listed = [f"{key} was {found.get(key)!r}, is {value!r}" for key, value in wanted.items() if found.get(key) != value]
    return "; ".join(listed) or "it has made more passes"


def prepared(
    run: Run, into: Run, source: AbstractSource, executor: AbstractExecutor, how: str = "exact", *, read_all: bool = False, **watch: Any
) -> UpdateJob:
    """The update of a run into another one, to be run with `fit_in(into)`; where nothing was appended there is nothing to run.

    Reads the two blocks that tell whether the first rows are those of the run. watch: observe, stop_requested and location of a job.
    Raises ConfigError, DataChangedError, CheckpointError.
    """
    if run.place == into.place:
        raise ConfigError(f"the new run needs a folder of its own: {into.place} is the one that is updated, and stays as it is")
    fitted = fitted_of(run)
    c = fitted.configuration
    source = source.with_block_rows(c.block_rows).with_missing(c.missing)
    appendix = appendix_of(fitted, source, how, read_all=read_all)
    once = c.model_copy(update={"schedule": "full_batch", "max_iter": 1, "tol": 0.0, "n_init": 1, "deadline": None})
    kind = QuickUpdateJob if how == "quick" else UpdateJob
    job = kind(source, once, executor, fitted=fitted, appendix=appendix, read_all=read_all, **watch)
    refuse_other_rows(run, fitted, job.guarded)
    said = appendix.said() if appendix.rows_appended else f"nothing was appended to the {appendix.rows:,} rows of {run.place}"
    job.observe(Event("start", said, {"rows": appendix.rows_appended, "bytes": appendix.bytes_read}))
    return job


def update(
    run: str | os.PathLike[str],
    table: Any,
    into: str | os.PathLike[str],
    *,
    how: str = "exact",
    read_all: bool = False,
    executor: Any = None,
    sample_weight: Any = None,
    observe: Observer = ignore,
) -> FitResult | None:
    """Update the model of a finished run with the rows that were appended to its table; the result is a new run in the folder `into`.

    how: "exact" reads the appended blocks and the last one before them, and makes one EM step over all rows, with the bits of a whole
    pass; "quick" reads the appended rows alone. read_all: an exact step without kept sums. None where nothing was appended. Rows that the
    run holds out stay so, and more of the appended ones; how the model does on them is said when the new run is gone on with.
    """
    old, new = Run(run), Run(into)
    source = as_source(table, sample_weight=sample_weight)
    with executor_for(executor, source) as chosen:
        job = prepared(old, new, source, chosen, how, read_all=read_all, observe=observe)
        return job.fit_in(new) if job.appendix.rows_appended else None


def _of_an_update(observe: Observer, event: Event) -> None:
    """What becomes of events: one pass is all that was wanted, max_iter is no news."""
    if event.kind != "finish":
        observe(event)
