"""Reads of the data until a fit is near the best optimum known: the schedule "auto", plain EM, and scikit-learn.

    python -m benchmarks.reads --tycho tycho2.zarr --gaia FOLDER --json reads.json --picture reads.png     an hour or two
    python -m benchmarks.reads --problems 4 --peers auto full_batch
    python -m benchmarks.reads --json reads.json --problems 0                                              the tables of what is there

Random mixtures (columns, components and overlap vary; 400,000 rows each), the Tycho-2 stars of the store that pipelines/tycho2.py makes
and three pixels of Gaia DR2, the same rows for all. A read of all rows for the sample that starts are made from counts as one. The gap is
in nats, of the total log-likelihood, to the best value that any of the fits here has found; the best look so far counts. `auto` is timed
to its own end and then goes on beyond it. A problem is resolvable where it finds the remaining error below a tenth of a standard
error when it ends, within its 30 passes. scikit-learn has the rows in memory, and one thread; its looks are counted all the same, and
those of its k-means are not. Its ten starts, and a fit of `auto` to be put beside them, take 100,000 of the rows, 50,000 where K is 32
or more.

With --json everything is written after every fit, and what the file holds is not measured again.
"""

__all__ = ["main", "measure"]

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.reads_problems import ROWS, Problem, problems_of
from benchmarks.reads_table import draw, report
from benchmarks.reads_traces import PEERS, trace_of
from benchmarks.reporting import say

DEFAULT_PEERS = ("auto", "full_batch", "sklearn", "sklearn10")


def fits_of(problem: Problem, peers: Sequence[str]) -> list[tuple[str, int]]:
    """Peers and how many rows each is fitted to."""
    wanted = [(peer, problem.ten_rows if peer == "sklearn10" else problem.rows) for peer in peers]
    also = [("auto", problem.ten_rows)] if {"auto", "sklearn10"} <= set(peers) else []
    return list(dict.fromkeys([*wanted, *also]))


def measure(problem: Problem, peers: Sequence[str], found: dict[str, Any], save: Callable[[], None]) -> None:
    """Add to `found` the fits that are missing there."""
    known = {(trace["peer"], trace["rows"]) for trace in found["traces"]}
    for peer, rows in fits_of(problem, peers):
        if (peer, rows) not in known:
            trace = trace_of(peer, problem.table(rows), problem.k, 0)
            found["traces"].append(asdict(trace))
            save()
            said = f"{trace.seconds:.1f} s, {len(trace.values)} looks, {trace.value:.3f} nats"
            say(f"{problem.name} D={problem.d} K={problem.k} {rows:,} rows, {peer}: {said}")


def entry_of(problem: Problem, problems: list[dict[str, Any]]) -> dict[str, Any]:
    """Its place among those that are known; a new one at the end."""
    facts = {name: getattr(problem, name) for name in ("name", "d", "k", "rows", "ten_rows", "seed")}
    for one in problems:
        if facts.items() <= one.items():
            return one
    problems.append({**facts, "p": problem.n_parameters, "traces": []})
    return problems[-1]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, help="only the first so many")
    parser.add_argument("--rows", type=int, default=ROWS, help="of a problem, at most")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=DEFAULT_PEERS)
    parser.add_argument("--seed", type=int, default=0, help="of the random problems")
    parser.add_argument("--tycho", metavar="STORE", help="the Tycho-2 catalogue as pipelines/tycho2.py stores it")
    parser.add_argument("--gaia", metavar="FOLDER", help="of CSV files with the columns of Gaia DR2")
    parser.add_argument("--json", type=Path, help="everything measured; a second run goes on there")
    parser.add_argument("--picture")
    return parser.parse_args()


def main() -> None:
    """The command."""
    given = options()
    problems: list[dict[str, Any]] = json.loads(given.json.read_text("utf-8")) if given.json and given.json.exists() else []

    def save() -> None:
        if given.json:
            new = given.json.with_suffix(".new")
            new.write_text(json.dumps(problems), encoding="utf-8")
            new.replace(given.json)

    for problem in problems_of(given.rows, given.seed, given.tycho, given.gaia)[: given.problems]:
        measure(problem, given.peers, entry_of(problem, problems), save)
    print(report(problems))
    if given.picture:
        draw(problems, given.picture)


if __name__ == "__main__":
    main()
