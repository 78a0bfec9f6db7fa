"""What safety costs an undisturbed fit: checksums of rows, guarded reads and commits, side by side with a fit that has none of them.

    python -m benchmarks.overhead --json overhead.json

One column store, three ways to fit it from the same start, in turns A B C A B C within one process:

- bare: no run folder, no checksums, reads that are not guarded against stalls;
- checked: checksums and guarded reads, no run folder (what `fit` does without a run);
- saved: both, in a run folder with the default time between commits, and the model written at the end.

What a pass costs is the difference of a long and a short fit, so that start and end cancel. Ratios are taken within a turn; the median
is shown with its standard error, by the clock and by processor seconds, which a neighbour on the machine disturbs less; every second turn
goes backwards, so that a machine that grows slower weighs on all alike. A difference is seen only where it is more than twice its error:
take more --repeats where it is not. A second table has what checksums and guarded reads take by themselves, which noise hides less; a
commit after a pass waits for 200 times what the one before took, unless `checkpoint_every` has passed. Exits 1 where `saved` takes more
than --limit of `bare` by processor seconds.
"""

__all__ = ["main"]

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import overhead_parts
from benchmarks.reporting import machine, markdown, say, write_json
from benchmarks.standard import standard_mixture, standard_rows
from benchmarks.timed import mixture_of
from streamgmm.checkpoint import Run
from streamgmm.column_store import ColumnStoreWriter
from streamgmm.configuration import FitConfiguration
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.sources import open_source

WAYS = ("bare", "checked", "saved")
N_FEATURES = 6


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--components", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=12, help="that the long fit makes more than the short one")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=float, default=1.03)
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args()


def seconds_of_pass(way: str, job: Callable[[int], Job], n_passes: int, folder: Path) -> tuple[float, float]:
    """Seconds and processor seconds of one more pass."""
    short, long = (np.array(seconds_of(way, job(n), folder)) for n in (2, 2 + n_passes))
    clock, processor = (long - short) / n_passes
    return float(clock), float(processor)


def seconds_of(way: str, job: Job, folder: Path) -> tuple[float, float]:
    """Seconds and processor seconds of a fit."""
    began, worked = time.perf_counter(), time.process_time()
    if way == "bare":
        job.__dict__["guarded"] = job.source
        with patch("streamgmm.passes.checksum", lambda *_: 0):
            job.fit()
    elif way == "checked":
        job.fit()
    else:
        job.fit_in(Run(folder / "run"))
    taken = time.perf_counter() - began, time.process_time() - worked
    shutil.rmtree(folder / "run", ignore_errors=True)
    return taken


def found_of(n_components: int, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What each way took turn after turn, after a fit that warms up; and what the parts take by themselves."""
    mixture = standard_mixture(n_components, N_FEATURES, 0)
    names = [f"x{j}" for j in range(N_FEATURES)]
    store = folder / f"rows-{n_components}.zarr"
    rows = standard_rows(mixture, given.rows, 0)
    with ColumnStoreWriter(store, dict.fromkeys(names, np.dtype("f8"))) as writer:
        writer.append({name: rows[:, j] for j, name in enumerate(names)})
    del rows
    executor = Threads(given.threads)

    def job(n_passes: int) -> Job:
        configuration = FitConfiguration(schedule="full_batch", n_components=n_components, tol=0.0, max_iter=n_passes)
        return Job(open_source(store, features=names), configuration, executor, start=mixture_of(mixture))

    job(2).fit()
    orders = (WAYS, WAYS[::-1])
    turns = [{way: seconds_of_pass(way, job, given.passes, folder) for way in orders[turn % 2]} for turn in range(given.repeats)]
    parts = overhead_parts.parts_of(open_source(store, features=names), mixture_of(mixture), given.repeats)
    return {**summary(turns), "parts": parts}


def summary(turns: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Medians over turns, and their standard errors."""
    found: dict[str, Any] = {"seconds_per_pass": median(turn["bare"][0] for turn in turns), "turns": turns}
    for way in WAYS[1:]:
        for which, name in enumerate(("clock", "processor")):
            ratios = [turn[way][which] / turn["bare"][which] for turn in turns]
            found[f"{way}_{name}"], found[f"{way}_{name}_error"] = median(ratios), error_of_median(ratios)
    return found


def error_of_median(values: Sequence[float]) -> float:
    """Standard error of a median, from the median deviation: a turn that a neighbour disturbed does not blow it up. NaN for one value."""
    if len(values) < 2:
        return float("nan")
    middle = median(values)
    deviation = 1.4826 * median(abs(value - middle) for value in values)  # that of a normal law
    return float(1.2533 * deviation / np.sqrt(len(values)))


def line(n_components: int, found: Mapping[str, Any]) -> list[str]:
    """One row of the table."""
    names = [f"{way}_{name}" for way in WAYS[1:] for name in ("clock", "processor")]
    shares = [f"{found[name] - 1:+.1%} ± {found[f'{name}_error']:.1%}" for name in names]
    return [f"{n_components} x {N_FEATURES}", f"{found['seconds_per_pass']:.3f}", *shares]


def line_of_parts(n_components: int, parts: Mapping[str, float]) -> list[str]:
    """One row of the second table; shares are those of a bare pass."""
    bare, *others = (parts[name] for name in overhead_parts.NAMES)
    return [f"{n_components} x {N_FEATURES}", f"{bare:.1f}", *(f"{one:.2f} ({one / bare:.1%})" for one in others)]


def main() -> None:
    """Measure and print."""
    given = options()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        found = {k: found_of(k, given, Path(folder)) for k in given.components}
    head = ("K x D", "s per pass, bare", "checked, clock", "checked, processor", "saved, clock", "saved, processor")
    say(markdown(head, [line(k, one) for k, one in found.items()]))
    say("Milliseconds of processor time per million rows, one thread, least of all turns:\n")
    say(markdown(("K x D", *overhead_parts.NAMES), [line_of_parts(k, one["parts"]) for k, one in found.items()]))
    if given.json:
        write_json(given.json, {"machine": machine(), "rows": given.rows, "passes": given.passes, "found": found})
    worst = max(one["saved_processor"] for one in found.values())
    if worst > given.limit:
        sys.exit(f"safety takes {worst - 1:.1%} of a pass, {given.limit - 1:.0%} is the limit")


if __name__ == "__main__":
    main()
