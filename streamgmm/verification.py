"""A run looked over without its rows: record, chain, hashes, numbers, ledger, saved parts of passes, kept sums, model. Floor 7.

The commits are read by the loader's own code, so that what is fine here is fine there. Nothing is written, locked or set aside, and
what could not be judged is listed.
"""

__all__ = ["Verification", "verify_run"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.commit_file import Commit
from streamgmm.configuration import MAY_CHANGE, FitConfiguration
from streamgmm.errors import StreamGMMError
from streamgmm.events import Event
from streamgmm.kept_sums import load_sums
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel, load_model
from streamgmm.passes import FitProblem, check_saved_part
from streamgmm.registry import implementation, names
from streamgmm.rounds import turn_of
from streamgmm.schedules.full_batch import FullBatch
from streamgmm.sources.numpy_array import NumpyArraySource
from streamgmm.state import FitState, Outcome

T = TypeVar("T")

EVERY = 1 << 30
MOST_BLOCKS = 1 << 24  # of a table whose rounds are laid out
DONE = (Outcome.CONVERGED, Outcome.PASSES_EXHAUSTED)
NOT_CHECKED = (
    "the rows of the store: they were not read",
    "whether somebody removed the newest commits: nothing points to the latest",
    "the sums of a pass that no commit ends with: the next ones replace them",
    "the sample that a run keeps: one that is damaged is drawn again",
    "who wrote the run: hashes find accidents; somebody who may write there can make new ones",
)


@dataclass(frozen=True)
class Verification:
    """faults: what is wrong, in words; none: the run is fine. newest: the commit that a resume would go on from."""

    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    not_checked: tuple[str, ...]
    commits: tuple[int, ...]
    newest: int | None
    model: bool


def verify_run(run: Run) -> Verification:
    """Check everything that can be checked offline. Raises nothing for what is wrong with the run."""
    faults: list[str] = []
    record = _tried(run.record, faults) or {}
    _tried(run.changes, faults)
    good, broken = _tried(lambda: run.examine(EVERY), faults) or ([], [])
    faults += [f"{fault.name}: {fault.said}" for fault in broken]
    missing = _tried(lambda: run.check_chain(good[:3]), faults) or []
    faults += missing
    faults += _ledger_faults(good, record)
    part_faults, unjudged = _part_faults(good, record)
    faults += part_faults
    _check_sums(run, good, faults)
    with run.model_folder() as path:
        has_model = path.exists()
        model = _tried(lambda: load_model(path), faults) if has_model else None
    if model is not None:
        faults += _model_faults(model, good, record)
    return Verification(
        tuple(faults),
        tuple(_remarks(run, good, model, has_model=has_model)),
        (*NOT_CHECKED, *unjudged),
        tuple(commit.number for commit in reversed(good)),
        good[0].number if good else None,
        model is not None,
    )


def _tried(action: Callable[[], T], faults: list[str]) -> T | None:
    try:
        return action()
    except (StreamGMMError, OSError) as error:
        faults.append(str(error))
        return None


def _check_sums(run: Run, newest_first: Sequence[Commit], faults: list[str]) -> None:
    """Those of the newest commit that ends a fit; one whose sums are gone is whole."""
    ended = next((commit.state for commit in newest_first if commit.state.outcome in DONE), None)
    if ended is not None:
        _tried(lambda: load_sums(run.storage, ended.passes), faults)


def _ledger_faults(newest_first: Sequence[Commit], record: Mapping[str, Any]) -> Iterator[str]:
    """Rows counted against rows there are; passes against histories, and against the commit before."""
    rows = _table(record.get("source")).get("n_rows")
    for commit in newest_first:
        state, name = commit.state, f"commit {commit.number}"
        counted = state.rows + state.skipped
        if state.passes and type(rows) is int and counted != rows:
            yield f"{name}: pass {state.passes} counted {counted} rows, the run was started on {rows}"
        longest = max((len(contender.log_likelihoods) for contender in state.contenders), default=0)
        if longest > state.passes:
            yield f"{name}: {longest} log-likelihoods after {state.passes} passes"
    for child, older in pairwise(newest_first):
        if child.state.passes < older.state.passes:
            yield f"commit {child.number} is after {child.state.passes} passes, commit {older.number} before it after {older.state.passes}"


def _part_faults(newest_first: Sequence[Commit], record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What a resume would say of the saved parts of passes; and which of them cannot be judged without the rows."""
    commits = [commit for commit in newest_first if commit.state.progress is not None or commit.state.step]
    problem = _problem_of(record) if commits else None
    if problem is None:
        return [], [f"the saved part of a pass in commit {commit.number}" for commit in commits]
    said = [(commit.number, _said_of_part(_at_work_on(problem, record, commit.state), commit.state)) for commit in commits]
    return [f"commit {number}: {one}" for number, several in said for one in several], []


def _at_work_on(problem: FitProblem, record: Mapping[str, Any], state: FitState) -> FitProblem:
    """An exact update makes its one pass over all blocks, whatever schedule the run goes on with."""
    by_update = _table(record.get("update")).get("how") == "exact" and state.passes == state.step == 0
    return replace(problem, schedule=FullBatch()) if by_update else problem


def _said_of_part(problem: FitProblem, state: FitState) -> list[str]:
    said: list[Event] = []
    try:
        check_saved_part(turn_of(problem, state).problem, state, said.append)
    except (StreamGMMError, ValueError) as error:
        return [str(error)]
    read, there = state.tally.rows + state.tally.skipped, problem.source.n_rows or 0
    more = [f"the rounds of pass {state.passes + 1} counted {read} rows, the table has {there}"] if read > there else []
    return [event.message for event in said] + more


def _problem_of(record: Mapping[str, Any]) -> FitProblem | None:
    """The run's problem over a table of its size without rows; None where the record does not say enough."""
    source, options = _table(record.get("source")), _table(record.get("configuration"))
    known: dict[str, Any] = {name: options[name] for name in ("schedule", "assignment", "arithmetic", "seed") if name in options}
    try:
        configuration = FitConfiguration.checked({**known, "n_components": 1, "block_rows": source["block_rows"]})
        schedule = implementation("schedules", configuration.schedule_name)()
        rows = _without_rows(source, tuple(source["feature_names"]))
        if source["weighted"] or options.get("hold_out"):
            rows = rows.with_sample_weight(_without_rows(source, ("sample_weight",)))
    except (StreamGMMError, KeyError, TypeError, ValueError):
        return None
    hard = configuration.assignment == "hard"
    return FitProblem(rows, schedule, hard=hard, arithmetic=configuration.arithmetic, seed=configuration.seed)


def _without_rows(source: Mapping[str, Any], columns: tuple[str, ...]) -> NumpyArraySource:
    """Raises ValueError where nobody knows how many rows there are."""
    n_rows, n_blocks = source["n_rows"], source["n_blocks"]
    if type(n_rows) is not int or n_rows < 1 or n_blocks != -(-n_rows // source["block_rows"]) or n_blocks > MOST_BLOCKS:
        raise ValueError("a table of unknown length")
    empty = np.empty((0, len(columns)))
    return NumpyArraySource(
        feature_names=columns, units=("",) * len(columns), block_rows=source["block_rows"], missing="raise", array=empty, table_rows=n_rows
    )


def _model_faults(model: SavedModel, newest_first: Sequence[Commit], record: Mapping[str, Any]) -> Iterator[str]:
    if model.provenance.get("source") != record.get("source"):
        yield "model.zarr: it was fitted to other rows than those of the run"
    ours, theirs = _table(record.get("configuration")), _table(model.provenance.get("configuration"))
    for key in sorted(ours.keys() & theirs.keys() - set(MAY_CHANGE)):
        if not _same(ours[key], theirs[key]):
            yield f"model.zarr: {key} is {theirs[key]!r}, of the run {ours[key]!r}"
    state = newest_first[0].state if newest_first else None
    if state is not None and state.outcome in DONE and model.provenance.get("passes") == state.passes and not _is_best(model, state):
        yield f"model.zarr: its numbers are not those of commit {newest_first[0].number}"


def _is_best(model: SavedModel, state: FitState) -> bool:
    """Whether it is the contender of largest likelihood or, of a ladder, the one that it says it is."""
    start = model.provenance.get("start") if "ladder" in model.provenance else state.best.start
    chosen = next((contender for contender in state.contenders if contender.start == start), state.best)
    configuration = model.provenance.get("configuration")
    name = configuration.get("schedule") if isinstance(configuration, dict) else None
    schedule = implementation("schedules", name if name in names("schedules") else "full_batch")()
    mixture: Mixture = schedule.result(chosen.mixture, chosen.memory, converged=chosen.converged)
    return mixture.is_same(model.mixture)


def _remarks(run: Run, good: Sequence[Commit], model: SavedModel | None, *, has_model: bool) -> Iterator[str]:
    for name in run.set_aside():
        yield f"{name} was found broken before, and is set aside"
    if any(not commit.link.run for commit in good):
        yield "some commits are of the first release: they name no run and have no seal"
    if good and good[0].state.outcome in DONE and not has_model:
        yield "the fit is complete and its model is not written yet: streamgmm resume writes it"
    if model is not None and _not_looked_at(model):
        yield "the model has no figures of the rows held out yet: streamgmm resume looks at them"
    yield "unsigned"


def _not_looked_at(model: SavedModel) -> bool:
    configuration = _table(model.provenance.get("configuration"))
    return bool(configuration.get("hold_out")) and not {"held_out", "ladder"} & set(model.provenance)


def _same(a: Any, b: Any) -> bool:
    return bool((list(a) if isinstance(a, tuple) else a) == (list(b) if isinstance(b, tuple) else b))


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
