"""What the benchmark of reads found: two tables, what does not hold, and the picture."""

__all__ = ["best_of", "draw", "is_resolvable", "report", "traces_of"]

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks.reads_traces import PEERS, Trace
from benchmarks.reporting import markdown
from streamgmm.configuration import MOST_PASSES

NEAR, READS = (1.0, 0.01), (5, 8)  # nats, and the reads that a resolvable problem may need in the median
RESOLVED = 0.1  # standard errors
SLACK = 1e-6  # of a log-likelihood: what rounding and scikit-learn's reg_covar may differ by
SMALLEST = 1e-3  # nats, in the picture
COLOURS = dict(zip(PEERS, ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple"), strict=True))

Found = dict[str, Any]


def traces_of(problem: Found, rows: int | None = None) -> list[Trace]:
    """Fits to so many rows, or to all."""
    made = [Trace(**{**trace, "values": tuple(trace["values"])}) for trace in problem["traces"]]
    return [trace for trace in made if trace.rows == (rows or problem["rows"])]


def best_of(problem: Found, rows: int | None = None) -> float:
    """The best likelihood that anybody found on so many rows."""
    return max((max(trace.values) for trace in traces_of(problem, rows)), default=-np.inf)


def is_resolvable(problem: Found) -> bool:
    """Whether `auto` found the remaining error below a tenth of a standard error when it ended by itself."""
    own = _peer(traces_of(problem), "auto")
    return own is not None and own.remaining is not None and own.remaining < RESOLVED


def _peer(traces: Sequence[Trace], peer: str) -> Trace | None:
    return next((trace for trace in traces if trace.peer == peer), None)


def report(problems: Sequence[Found]) -> str:
    """Markdown."""
    heads = ("problem", "D", "K", "p", "rows", "resolvable"), ("problem", "D", "K", "rows")
    reads = markdown((*heads[0], "peer", "reads to 1 nat", "to 0.01 nat", "reads at its end", "nats short then", "s"), _reads(problems), 1)
    tens = markdown((*heads[1], "reads of ten starts", "s", "reads of auto", "s", "nats gained by auto"), _tens(problems), 1)
    return "\n".join([reads, "", *_medians(problems), "", tens, "", *_verdicts(problems)])


def _reads(problems: Sequence[Found]) -> Iterator[tuple[object, ...]]:
    for problem in problems:
        best = best_of(problem)
        known = "yes" if is_resolvable(problem) else "no"
        facts = (problem["name"], problem["d"], problem["k"], problem["p"], f"{problem['rows']:,}", known)
        for trace in traces_of(problem):
            near = [trace.reads_to(best, gap) or "never" for gap in NEAR]
            yield *facts, trace.peer, *near, _ended(trace), f"{best - trace.value:,.2f}", f"{trace.seconds:.1f}"


def _ended(trace: Trace) -> str:
    said = "" if trace.converged or trace.peer != "auto" else " (not resolved, it says)"
    return f"{trace.reads_before + trace.ended}{said}"


def _pairs(problems: Sequence[Found]) -> Iterator[tuple[Found, Trace, Trace]]:
    """The fits of `auto` and of ten starts of scikit-learn to the same rows."""
    for problem in problems:
        traces = traces_of(problem, problem["ten_rows"])
        own, ten = _peer(traces, "auto"), _peer(traces, "sklearn10")
        if own and ten:
            yield problem, own, ten


def _tens(problems: Sequence[Found]) -> Iterator[tuple[object, ...]]:
    for problem, own, ten in _pairs(problems):
        reads = (ten.ended, f"{ten.seconds:.0f}", own.reads_before + own.ended, f"{own.seconds:.0f}")
        yield problem["name"], problem["d"], problem["k"], f"{ten.rows:,}", *reads, f"{own.value - ten.value:,.1f}"


def _medians(problems: Sequence[Found]) -> Iterator[str]:
    for peer in PEERS:
        for word, chosen in (("resolvable", [one for one in problems if is_resolvable(one)]), ("all", problems)):
            if numbers := _numbers(chosen, peer):
                said = ", ".join(f"{median(reads):g} to {gap:g} nat" for reads, gap in zip(zip(*numbers, strict=True), NEAR, strict=True))
                yield f"{peer}: median reads over {len(numbers)} problems ({word}): {said}"


def _numbers(problems: Sequence[Found], peer: str) -> list[list[float]]:
    found = [(best_of(problem), _peer(traces_of(problem), peer)) for problem in problems]
    return [[trace.reads_to(best, gap) or np.inf for gap in NEAR] for best, trace in found if trace]


def _verdicts(problems: Sequence[Found]) -> Iterator[str]:
    """What was asked, and whether it holds."""
    if numbers := _numbers([one for one in problems if is_resolvable(one)], "auto"):
        for reads, gap, most in zip(zip(*numbers, strict=True), NEAR, READS, strict=True):
            holds = "holds" if median(reads) <= most else "DOES NOT HOLD"
            yield f"median reads of auto to {gap:g} nat on resolvable problems at most {most}: {median(reads):g}, {holds}"
    pairs = list(_pairs(problems))
    below = [f"{one['name']} D={one['d']} K={one['k']}" for one, own, ten in pairs if own.value < ten.value - SLACK * abs(ten.value)]
    yield f"auto at least at the best of ten starts of scikit-learn: on {len(pairs) - len(below)} of {len(pairs)}; below: {below or 'none'}"
    own = [(one, _peer(traces_of(one), "auto")) for one in problems if not is_resolvable(one)]
    capped = [trace for _, trace in own if trace and not trace.converged and trace.ended == MOST_PASSES["auto"]]
    yield f"unresolvable: {len(own)}, of which auto stopped at its {MOST_PASSES['auto']} passes and said so: {len(capped)}"


def draw(problems: Sequence[Found], path: str) -> None:
    """The gap against reads, a line for every fit to all rows; faint where the rows do not determine the mixture."""
    import matplotlib as mpl  # noqa: PLC0415  (an extra)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for problem in problems:
        best = best_of(problem)
        for trace in traces_of(problem):
            gaps = best - np.maximum.accumulate(trace.values)
            reads = trace.reads_before + 1 + np.arange(len(gaps))
            alpha = 0.6 if is_resolvable(problem) else 0.2
            axes.plot(reads, np.maximum(gaps, SMALLEST), color=COLOURS[trace.peer], alpha=alpha, lw=1)
    for peer in [peer for peer in PEERS if any(trace.peer == peer for problem in problems for trace in traces_of(problem))]:
        axes.plot([], [], color=COLOURS[peer], label=peer)
    axes.set(xscale="log", yscale="log", xlabel="reads of all rows", ylabel="nats short of the best optimum known")
    axes.legend()
    figure.savefig(path, dpi=110)
