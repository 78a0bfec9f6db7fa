"""Seconds per exact EM pass, side by side with peers, and whether they all give the same answer.

    python -m benchmarks.exact_pass --json exact_pass.json

Every measurement is a process of its own (benchmarks/peer_process.py); peers take turns, A B C A B C, so that a neighbour on the
machine disturbs them alike; ratios are taken within a turn and their median is shown. The log-likelihood of every result is
computed by one judge (benchmarks/evaluator.py). A peer is a file in benchmarks/peers/. Exits 1 where answers differ.
"""

__all__ = ["main"]

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.evaluator import log_likelihood
from benchmarks.processes import run_module
from benchmarks.standard import Array, load_parameters, save_parameters, standard_mixture, standard_rows, standard_start

AGREEMENT = 1e-10  # relative, of the log-likelihood
Measurement = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One row of the table before it is measured."""

    n_components: int
    n_threads: int
    peer: str


def dense_operations(d: int) -> float:
    """Floating point operations per row and component of a dense E-step with moments.

    Differences d, triangular product d(d+1), squares 2d, exponential 25, moments 2d + 1.5 d(d+1).
    """
    return d + d * (d + 1) + 2 * d + 25 + 2 * d + 1.5 * d * (d + 1)


def known_peers() -> list[str]:
    """Names of the files in benchmarks/peers."""
    return sorted(path.name.removesuffix("_peer.py") for path in (Path(__file__).parent / "peers").glob("*_peer.py"))


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=6)
    parser.add_argument("--components", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peers", nargs="+", default=known_peers(), choices=known_peers())
    parser.add_argument("--reference", default="sklearn", help="the peer that the others are compared with")
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PATH", help="interpreters of peers that have their own")
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    given = parser.parse_args()
    if given.reference not in given.peers:
        parser.error(f"--reference {given.reference} is not among --peers {given.peers}")
    return given


def prepare(given: argparse.Namespace, folder: Path) -> Array:
    """Rows and starts on disk, the same for everybody. K of the generating mixture: the first of --components."""
    rows = standard_rows(standard_mixture(given.components[0], given.features, given.seed), given.rows, given.seed)
    np.save(folder / "rows.npy", rows)
    for k in given.components:
        save_parameters(folder / f"start-{k}.npz", standard_start(rows, k, given.seed))
    return rows


def measure(case: Case, given: argparse.Namespace, folder: Path, turn: int) -> Measurement:
    """One process of one peer."""
    interpreters = dict(pair.split("=", 1) for pair in given.python)
    out = folder / f"{case.peer}-{case.n_components}-{case.n_threads}-{turn}.npz"
    arguments = (case.peer, folder, case.n_components, given.passes, case.n_threads, out)
    found = run_module("benchmarks.peer_process", arguments, case.n_threads, interpreters.get(case.peer, sys.executable))
    say(f"turn {turn + 1}: K={case.n_components}, {case.n_threads} thread(s), {case.peer}: {found['seconds_per_pass']:.3f} s per pass")
    return {**found, "parameters": out}


def judge(measured: Mapping[Case, list[Measurement]], rows: Array) -> None:
    """Put the judge's log-likelihood into every measurement; equal parameters are judged once."""
    known: dict[bytes, float] = {}
    for found in (one for turns in measured.values() for one in turns):
        parameters = load_parameters(found.pop("parameters"))
        key = b"".join(array.tobytes() for array in parameters)
        if key not in known:
            known[key] = log_likelihood(rows, parameters)
        found["log_likelihood"] = known[key]


def summary(case: Case, measured: Mapping[Case, list[Measurement]], given: argparse.Namespace) -> Measurement:
    """One row of the table."""
    mine, reference = measured[case], measured[Case(case.n_components, case.n_threads, given.reference)]
    seconds = median(one["seconds_per_pass"] for one in mine)
    ratios = [ref["seconds_per_pass"] / one["seconds_per_pass"] for ref, one in zip(reference, mine, strict=True)]
    target = reference[0]["log_likelihood"]
    return {
        **asdict(case),
        "title": mine[0]["title"],
        "version": mine[0]["version"],
        "seconds_per_pass": seconds,
        "processor_seconds_per_pass": median(one["processor_seconds_per_pass"] for one in mine),
        "rows_per_second": given.rows / seconds,
        "times_reference": median(ratios),
        "times_reference_range": [min(ratios), max(ratios)],
        "flops": given.rows * case.n_components * dense_operations(given.features) / seconds,
        "peak_bytes": max(one["peak_bytes"] for one in mine),
        "log_likelihood": mine[0]["log_likelihood"],
        "deviation": max(abs(one["log_likelihood"] - target) / abs(target) for one in mine),
        "turns": mine,
    }


def best_roofs(roofs: Sequence[Mapping[int, Measurement]]) -> dict[int, Measurement]:
    """The best of several measurements of the machine, per number of threads."""
    return {n: {name: max(roof[n][name] for roof in roofs) for name in roofs[0][n]} for n in roofs[0]}


def table(lines: Iterable[Measurement], reference: str) -> str:
    """Markdown."""
    head = (
        "K",
        "threads",
        "peer",
        "s per pass",
        "CPU s per pass",
        "million rows/s",
        f"times {reference}",
        "GFLOP/s",
        "peak, MB",
        "differs by",
    )
    lines_of_head = [f"| {' | '.join(head)} |", "|---:|---:|---|" + "---:|" * (len(head) - 3)]
    return "\n".join([*lines_of_head, *map(table_line, lines)])


def table_line(x: Measurement) -> str:
    """One row: the ratio with its range over the turns."""
    low, high = x["times_reference_range"]
    return (
        f"| {x['n_components']} | {x['n_threads']} | {x['title']} {x['version']}"
        f" | {x['seconds_per_pass']:.3f} | {x['processor_seconds_per_pass']:.3f} | {x['rows_per_second'] / 1e6:.2f}"
        f" | {x['times_reference']:.1f} ({low:.1f} to {high:.1f})"
        f" | {x['flops'] / 1e9:.1f} | {x['peak_bytes'] / 1e6:.0f} | {x['deviation']:.0e} |"
    )


def footnote(report: Mapping[str, Any]) -> str:
    """What the table was measured on and with."""
    roofs = "; ".join(
        f"{n} thread(s): dgemm {roof['flops'] / 1e9:.1f} GFLOP/s, copy {roof['copied_bytes_per_second'] / 1e9:.1f} GB/s"
        for n, roof in report["roof"].items()
    )
    o = report["options"]
    return (
        f"{o['rows']:,} rows x {o['features']} columns, full covariances, float64, the same start; medians of {o['repeats']} turns of"
        f" {o['passes']} passes. GFLOP/s counts {dense_operations(o['features']):.0f} operations per row and component for everybody."
        " The last column compares log-likelihoods, computed by one judge, relatively."
        f"\nThis machine in the same run: {roofs}. Load before and after: {report['load'][0]:.1f}, {report['load'][1]:.1f}."
    )


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that was measured."""
    load = [os.getloadavg()[0]]
    cases = [Case(k, n, peer) for k in given.components for n in given.threads for peer in given.peers]
    measured: dict[Case, list[Measurement]] = {case: [] for case in cases}
    roofs = [{n: run_module("benchmarks.roof", [n], n) for n in given.threads}]
    with tempfile.TemporaryDirectory(prefix="exact-pass-") as name:
        folder = Path(name)
        rows = prepare(given, folder)
        for turn in range(given.repeats):
            for case in cases:
                measured[case].append(measure(case, given, folder, turn))
        roofs.append({n: run_module("benchmarks.roof", [n], n) for n in given.threads})
        judge(measured, rows)
    return {
        "options": {name: value for name, value in vars(given).items() if name not in ("json", "python")},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "load": [*load, os.getloadavg()[0]],
        "roof": best_roofs(roofs),
        "lines": [summary(case, measured, given) for case in cases],
    }


def main() -> int:
    """Measure, print the table, write the file."""
    given = options()
    report = run(given)
    reference = next(line["title"] for line in report["lines"] if line["peer"] == given.reference)
    print(table(report["lines"], reference), footnote(report), sep="\n\n")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    apart = [line for line in report["lines"] if not line["deviation"] <= AGREEMENT]
    for line in apart:
        say(f"K={line['n_components']}, {line['n_threads']} thread(s): {line['title']} gives another answer, by {line['deviation']:.1e}")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
