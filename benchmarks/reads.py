"""Reads of the data until a fit is near the best optimum known: the schedule "auto", plain EM, and scikit-learn.

    python -m benchmarks.reads --json reads.json --picture reads.png
    python -m benchmarks.reads --problems 4 --peers auto full_batch
    python -m benchmarks.reads --peers auto full_batch sklearn sklearn10       hours: ten starts of scikit-learn on every problem

Random mixtures (columns, components and overlap vary; 400,000 rows each), the same for all. A read of all rows for the sample that starts
are made from counts as one. The gap is in nats, of the total log-likelihood, to the best value that any of the fits here has found;
the best look so far counts. A problem is resolvable where `auto` finds the remaining error below a tenth of a standard error within its
30 passes. scikit-learn has the rows in memory; its passes are counted all the same, and those of its k-means are not.
"""

import argparse
import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import sklearn.mixture

from benchmarks.reporting import markdown
from streamgmm.arrays import ArrayND
from streamgmm.configuration import FitConfiguration
from streamgmm.events import Event
from streamgmm.executors.threads import Threads
from streamgmm.job import Job
from streamgmm.sources import as_source

ROWS = 400_000
SHAPES = ((2, 4), (3, 8), (5, 10), (4, 6), (6, 8), (8, 8), (3, 5), (4, 12), (2, 6), (10, 6), (5, 16), (16, 4), (6, 12), (3, 12), (8, 16))
NEAR = (1.0, 0.01)
PEERS = ("auto", "full_batch", "anderson", "sklearn", "sklearn10")


@dataclass(frozen=True)
class Trace:
    """A fit: log-likelihood (nats) of every look at all rows, reads before the first of them, seconds, whether it says it is done."""

    peer: str
    values: tuple[float, ...]
    reads_before: int
    seconds: float
    converged: bool
    remaining: float | None = None

    def reads_to(self, best: float, gap: float) -> int | None:
        """Reads until a look was within `gap` of the best."""
        for number, value in enumerate(np.maximum.accumulate(self.values)):
            if best - value <= gap:
                return self.reads_before + number + 1
        return None


def drawn(d: int, k: int, n: int, seed: int) -> ArrayND:
    """Rows of a random mixture; how far its components lie apart is drawn as well."""
    rng = np.random.default_rng([seed, d, k])
    apart = rng.uniform(1.0, 2.5)
    means = rng.normal(0, apart, (k, d))
    a = rng.normal(0, 0.4, (k, d, d))
    covariances = a @ a.transpose(0, 2, 1) + 0.3 * np.eye(d)
    labels = rng.choice(k, n, p=rng.dirichlet(np.full(k, 5.0)))
    x = rng.normal(size=(n, d))
    for j in range(k):
        x[labels == j] = means[j] + x[labels == j] @ np.linalg.cholesky(covariances[j]).T
    return x


def ours(x: ArrayND, k: int, schedule: str, seed: int, passes: int) -> Trace:
    """A fit of ours to its end, or to so many passes; `auto` goes on far beyond its own end, to see where it would come to."""
    said: list[str] = []

    def observe(event: Event) -> None:
        if event.kind == "schedule":
            said.append(event.message)

    tol = 1e-8 if schedule == "auto" else 1e-12
    given = {"n_components": k, "schedule": schedule, "seed": seed, "tol": tol, "max_iter": passes}
    began = time.perf_counter()
    result = Job(as_source(x), FitConfiguration.checked(given), Threads(), observe=observe).fit()
    best = result.state.best
    left = float(np.sqrt(best.memory["left"])) if "left" in best.memory else None
    values = tuple(value * len(x) for value in best.log_likelihoods)
    return Trace(schedule, values, 1, time.perf_counter() - began, best.converged, left)


def sklearns(x: ArrayND, k: int, n_init: int, seed: int) -> Trace:
    """scikit-learn's defaults; all passes of all starts are reads, and only the best start's end is known."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sklearn.mixture.GaussianMixture(k, n_init=n_init, random_state=seed).fit(x)
    values = tuple(value * len(x) for value in model.lower_bounds_)
    return Trace(
        "sklearn" if n_init == 1 else "sklearn10", values, (n_init - 1) * len(values), time.perf_counter() - began, bool(model.converged_)
    )


def one_problem(number: int, peers: list[str], rows: int, seed: int) -> dict[str, Any]:
    """All peers on one problem."""
    d, k = SHAPES[number % len(SHAPES)]
    x = drawn(d, k, rows, seed + number)
    traces = []
    for peer in peers:
        if peer.startswith("sklearn"):
            traces.append(sklearns(x, k, 10 if peer == "sklearn10" else 1, seed))
        else:
            traces.append(ours(x, k, peer, seed, 30 if peer == "auto" else 200))
        print(f"{number}: D={d} K={k} {peer}: {traces[-1].seconds:.1f} s, {len(traces[-1].values)} passes", flush=True)
    best = max(max(trace.values) for trace in traces)
    own = next((trace for trace in traces if trace.peer == "auto"), None)
    resolvable = own is not None and own.remaining is not None and own.remaining < 0.1
    return {"d": d, "k": k, "best": best, "resolvable": resolvable, "traces": [asdict(trace) for trace in traces]}


def table(problems: list[dict[str, Any]]) -> str:
    """What was found, in Markdown."""
    head = ("D", "K", "resolvable", "peer", "reads to 1 nat", "to 0.01 nat", "short at its end, nats", "seconds")
    lines = []
    for problem in problems:
        for trace in _traces(problem):
            reads = [trace.reads_to(problem["best"], near) for near in NEAR]
            shown = ["never" if number is None else str(number) for number in reads]
            short = problem["best"] - max(trace.values)
            known = "yes" if problem["resolvable"] else "no"
            lines.append((problem["d"], problem["k"], known, trace.peer, *shown, f"{short:,.2f}", f"{trace.seconds:.1f}"))
    return "\n".join([markdown(head, lines, 4), "", *_medians(problems)])


def _traces(problem: dict[str, Any]) -> list[Trace]:
    return [Trace(**{**found, "values": tuple(found["values"])}) for found in problem["traces"]]


def _medians(problems: list[dict[str, Any]]) -> list[str]:
    said = []
    for peer in PEERS:
        found = [(one["best"], trace) for one in problems if one["resolvable"] for trace in _traces(one) if trace.peer == peer]
        if found:
            near, nearer = (median([trace.reads_to(best, gap) or np.inf for best, trace in found]) for gap in NEAR)
            said.append(f"{peer}: median reads over {len(found)} resolvable problems: {near:g} to 1 nat, {nearer:g} to 0.01 nat")
    return said


def draw(problems: list[dict[str, Any]], path: str) -> None:
    """The gap against reads, a line for every fit."""
    import matplotlib as mpl  # noqa: PLC0415  (an extra)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    colours = dict(zip(PEERS, ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple"), strict=True))
    for problem in problems:
        for found in problem["traces"]:
            gaps = problem["best"] - np.maximum.accumulate(found["values"])
            reads = found["reads_before"] + 1 + np.arange(len(gaps))
            axes.plot(reads, np.maximum(gaps, 1e-3), color=colours[found["peer"]], alpha=0.6 if problem["resolvable"] else 0.25, lw=1)
    for peer in {found["peer"] for problem in problems for found in problem["traces"]}:
        axes.plot([], [], color=colours[peer], label=peer)
    axes.set(xscale="log", yscale="log", xlabel="reads of all rows", ylabel="nats short of the best optimum known")
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["auto", "full_batch", "sklearn"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    parser.add_argument("--picture")
    given = parser.parse_args()
    problems = []
    for number in range(given.problems):
        problems.append(one_problem(number, given.peers, given.rows, given.seed))
        if given.json:
            Path(given.json).write_text(json.dumps(problems), encoding="utf-8")
    print(table(problems))
    if given.picture:
        draw(problems, given.picture)


if __name__ == "__main__":
    main()
