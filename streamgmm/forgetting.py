"""Blocks that are to be forgotten: the model of the table without them, from what a run holds. Floor 7.

The sums of spans and groups that hold none of these blocks are used as they are; of those that are cut, the other blocks are read.
Nothing is subtracted, so that nothing cancels and forgotten blocks need not be there. One EM step gives the model: up to rounding, that of
the table without them. It is NOT a run: the store still holds the blocks, and a fit of it would learn them again.
"""

__all__ = ["Forgetting", "forget", "forgetting_of", "model_without"]

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from streamgmm.checkpoint import Run
from streamgmm.chosen_executor import executor_for
from streamgmm.components._gaussian import GaussianMoments
from streamgmm.em import LostBlock, MixtureStatistics, Partial, m_step, merge_partials
from streamgmm.errors import CheckpointError, ConfigError, DataChangedError, DataError
from streamgmm.events import Event, ignore
from streamgmm.executors.base import AbstractExecutor
from streamgmm.implied import gaussian
from streamgmm.job import Job
from streamgmm.kept_sums import prefix_of
from streamgmm.mixture import Mixture
from streamgmm.model_file import SavedModel, save_model
from streamgmm.passes import BlockStatistics, Observer
from streamgmm.reduce import Span
from streamgmm.schedules.incremental import Incremental
from streamgmm.sources import as_source
from streamgmm.sources._row_range import row_range
from streamgmm.sources._selected import select
from streamgmm.sources.base import AbstractSource
from streamgmm.updating import Fitted, fitted_of, refuse_other_rows

MOMENTS = ("centre", "n", "first", "second")


@dataclass(frozen=True, eq=False)
class Forgetting:
    """What is known of the rest and what has to be read of it. mixture: the one that all sums are taken about.

    lost: blocks of what is known that the fit has left out. counts_skipped: whether what is known counts the rows that were left out.
    """

    first: int
    last: int
    mixture: Mixture
    known: tuple[MixtureStatistics, ...]
    to_read: tuple[int, ...]
    lost: tuple[LostBlock, ...]
    counts_skipped: bool = True

    def said(self) -> str:
        """One line, before anything is read."""
        return f"forgets blocks {self.first} to {self.last - 1}; {len(self.to_read):,} others beside them are read"


def forgetting_of(fitted: Fitted, n_blocks: int, first: int, last: int) -> Forgetting:
    """What a run knows of its table without blocks first .. last-1. Raises ConfigError where there are none, or nothing is kept."""
    if not 0 <= first < last <= n_blocks or last - first == n_blocks:
        raise ConfigError(f"blocks {first}:{last} are no part of the table's blocks 0:{n_blocks} that leaves others; name A:B with A < B")
    if fitted.sums is not None:
        return _from_spans(fitted, n_blocks, first, last)
    if "seen" in fitted.state.best.memory:
        return _from_groups(fitted, n_blocks, first, last)
    raise ConfigError(
        f"the run in {fitted.place} keeps no sums to forget blocks from; fit with schedule auto, full_batch, anderson or incremental"
    )


def _from_spans(fitted: Fitted, n_blocks: int, first: int, last: int) -> Forgetting:
    assert fitted.sums is not None and fitted.sums.progress is not None  # noqa: PT018
    prefix = prefix_of(fitted.sums)
    if prefix > n_blocks:
        raise CheckpointError(f"the sums that the run in {fitted.place} keeps are of {prefix} blocks, its table has {n_blocks}")
    kept = [(span, part) for span, part in fitted.sums.progress.done if not _overlap(_blocks(span), range(first, last))]
    known = tuple(part.statistics[0] for _, part in kept)
    blocks = _others(n_blocks, first, last, [_blocks(span) for span, _ in kept])
    lost = tuple(one for _, part in kept for one in part.lost)
    return Forgetting(first, last, fitted.sums.contenders[0].mixture, known, blocks, lost)


def _from_groups(fitted: Fitted, n_blocks: int, first: int, last: int) -> Forgetting:
    """Each group's sums are about the mixture of its last visit, as in the fit; blocks that are read now are looked at with its result."""
    memory, mixture = fitted.state.best.memory, fitted.mixture
    groups = [range(int(group[0]), int(group[-1]) + 1) for group in Incremental().batches(n_blocks, 0, 0)]
    if len(groups) != len(memory["seen"]):
        raise CheckpointError(f"the run in {fitted.place} keeps {len(memory['seen'])} groups of blocks, its table has {len(groups)}")
    kept = [g for g, group in enumerate(groups) if memory["seen"][g] and not _overlap(group, range(first, last))]
    components = gaussian(mixture)
    known = []
    for g in kept:
        moments = GaussianMoments(*(memory[name][g] for name in MOMENTS)).rebase(components.means, components.structure)
        skipped = sum(one.rows for one in fitted.state.lost if one.block in groups[g])
        measures = int(memory["rows"][g]), skipped, float(memory["weight"][g]), float(memory["log_likelihood"][g])
        known.append(MixtureStatistics(*measures, moments))
    blocks = _others(n_blocks, first, last, [groups[g] for g in kept])
    lost = tuple(one for one in fitted.state.lost if any(one.block in groups[g] for g in kept))
    nothing_else = fitted.state.skipped == sum(one.rows for one in fitted.state.lost)
    return Forgetting(first, last, mixture, tuple(known), blocks, lost, nothing_else)


def _blocks(span: Span) -> range:
    return range(span.first, (span.number + 1) << span.level)


def _overlap(a: range, b: range) -> bool:
    return a.start < b.stop and b.start < a.stop


def _others(n_blocks: int, first: int, last: int, known: Iterable[range]) -> tuple[int, ...]:
    """Blocks that are neither known nor to be forgotten."""
    left = np.ones(n_blocks, bool)
    left[first:last] = False
    for blocks in known:
        left[blocks.start : blocks.stop] = False
    return tuple(map(int, np.flatnonzero(left)))


def model_without(
    run: Run, source: AbstractSource, executor: AbstractExecutor, first: int, last: int, observe: Observer = ignore
) -> tuple[Forgetting, SavedModel]:
    """The model of a run's table without blocks first .. last-1; what was appended since takes no part.

    Raises ConfigError, DataChangedError (other rows than the run's), DataError (no row is left).
    """
    fitted = fitted_of(run)
    c = fitted.configuration
    source = source.with_block_rows(c.block_rows).with_missing(c.missing)
    guarded = Job(source, c, executor).guarded
    refuse_other_rows(run, fitted, guarded)
    table = row_range(guarded, 0, fitted.n_rows)
    plan = forgetting_of(fitted, table.n_blocks, first, last)
    observe(Event("start", plan.said(), {"blocks": len(plan.to_read)}))
    statistics = list(plan.known)
    if plan.to_read:
        look = BlockStatistics((plan.mixture,), c.block_rows, c.assignment == "hard", c.arithmetic, check=not table.in_memory)
        found = executor.map_reduce(look, merge_partials, select(table, plan.to_read))
        assert found is not None
        _refuse_changes(fitted, plan, found)
        statistics.append(found.statistics[0])
        plan = replace(plan, lost=tuple(sorted(plan.lost + found.lost)))
        for one in found.lost:
            message = f"block {one.block} is left out with its {one.rows:,} rows: {one.reason}"
            observe(Event("skipped", message, one._asdict()))
    if not statistics:
        raise DataError(f"without blocks {first} to {last - 1} no row of {run.place} is left")
    total = reduce(lambda a, b: a.merge(b), statistics)
    mixture, _ = m_step(total, plan.mixture, c.regularisation())
    return plan, _model(fitted, guarded, plan, total, mixture)


def _refuse_changes(fitted: Fitted, plan: Forgetting, found: Partial) -> None:
    """Blocks that are read must be those that the run has seen; nobody knows of those that it, or this look, has left out."""
    expected, left_out = fitted.state.checksums, fitted.state.lost_blocks | {one.block for one in found.lost}
    for block, checksum in zip(plan.to_read, found.checksums, strict=bool(len(found.checksums))):
        if block < len(expected) and block not in left_out and expected[block] != checksum:
            raise DataChangedError(
                f"the rows have changed since the run: block {block} had checksum {expected[block]:08x} and has {checksum:08x} now."
                " Fit the changed table anew, in a new run folder."
            )


def _model(fitted: Fitted, source: AbstractSource, plan: Forgetting, total: MixtureStatistics, mixture: Mixture) -> SavedModel:
    provenance = {
        "source": fitted.record["source"],
        "configuration": fitted.configuration.model_dump(exclude={"deadline", "checkpoint_every"}),
        "outcome": "forgotten",
        "rows": total.rows,
        **({"skipped": total.skipped} if plan.counts_skipped else {}),
        "weight": total.weight,
        "lost_blocks": [one._asdict() for one in plan.lost],
        "forgotten": {"run": fitted.identity, "blocks": [plan.first, plan.last], "said": "one EM step over the blocks that are left"},
    }
    return SavedModel(mixture, source.feature_names, source.units, (total.mean_log_likelihood,), provenance)


def forget(
    run: str | os.PathLike[str],
    table: Any,
    blocks: tuple[int, int],
    out: str | os.PathLike[str],
    *,
    executor: Any = None,
    sample_weight: Any = None,
    overwrite: bool = False,
    observe: Observer = ignore,
) -> Path:
    """Write the model of a finished run's table without blocks first .. last-1 to `out`; of the table only their neighbours are read.

    The blocks are those of the run: `block_rows` rows each. The store and the run stay as they are.
    """
    source = as_source(table, sample_weight=sample_weight)
    if Path(out).exists() and not overwrite:
        raise ConfigError(f"{out} exists already; use another path (overwrite=True)")
    with executor_for(executor, source) as chosen:
        _, model = model_without(Run(run), source, chosen, *blocks, observe)
    return save_model(out, model, overwrite=overwrite)
