"""Seconds per exact EM pass, side by side with peers, how near to the machine's limit, and whether all give the same answer.

    python -m benchmarks.exact_pass --json exact_pass.json                  everything: long
    python -m benchmarks.exact_pass --cells B --types float64 --peers streamgmm onedal --repeats 1
    python -m benchmarks.exact_pass --peers streamgmm                       share of the roof only: GFLOP/s beside dgemm, GB/s beside copies
    python -m benchmarks.exact_pass --rows-share 0.01 --repeats 1           tries everything
    python -m benchmarks.exact_pass --from exact_pass.json --readme         README's table of what was measured before

Every measurement is a process of its own (benchmarks/peer_process.py); peers take turns, A B C A B C, so that a neighbour on the
machine disturbs them alike; ratios are taken within a turn and their median is shown, and the machine's limits (benchmarks/roof.py)
are measured in each turn too. What every peer finds is compared with the answer of one judge (benchmarks/evaluator.py). A peer is a
file in benchmarks/peers/; some run in an environment of their own, which is made when it is first needed (--environments). A peer that
cannot be had is named with the reason and left out. Exits 1 where an answer in float64 differs, or streamgmm gives none.
"""

__all__ = ["main"]

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import CELLS, Cell
from benchmarks.environments import NoEnvironment, default_folder, interpreter_of
from benchmarks.evaluator import exact_passes, felt_share, largest_difference, log_likelihood
from benchmarks.pass_floors import AGREEMENT, floors_of, floors_text
from benchmarks.pass_summary import OURS, Case, Measurement, Roof, lines_of
from benchmarks.pass_table import cell_text, readme_table
from benchmarks.processes import ModuleFailed, answer_of, run_module
from benchmarks.standard import BLOCK_ROWS, Array, load_parameters, rows_start, save_parameters, standard_mixture, standard_rows, true_start

ONLY_IF_NAMED = ("spark_rdd", "streamgmm_float32")  # the first takes minutes for a measurement, the second is no rival
STARTS = {"true": "the generating mixture", "rows": "K of the rows, the covariance of all of them"}


@dataclass
class Turns:
    """What was measured of one cell so far, and what was left out, each with its reason."""

    measured: dict[Case, list[Measurement]] = field(default_factory=dict)
    roofs: dict[tuple[str, int], list[Roof]] = field(default_factory=dict)
    left_out: dict[Case, str] = field(default_factory=dict)

    def leave_out(self, case: Case, reason: str) -> None:
        """For good: turns before do not count either."""
        self.measured.pop(case, None)
        self.left_out[case] = reason


def known_peers() -> list[str]:
    """Names of the files in benchmarks/peers."""
    return sorted(path.name.removesuffix("_peer.py") for path in (Path(__file__).parent / "peers").glob("*_peer.py"))


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS, help="; ".join(map(str, CELLS.values())))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--types", nargs="+", default=["float64", "float32"], choices=["float64", "float32"], help="types of the rows")
    usual = [peer for peer in known_peers() if peer not in ONLY_IF_NAMED]
    parser.add_argument("--peers", nargs="+", default=usual, choices=known_peers(), help=f"default: all but {', '.join(ONLY_IF_NAMED)}")
    parser.add_argument("--start", default="true", choices=STARTS, help="; ".join(f"{name}: {text}" for name, text in STARTS.items()))
    parser.add_argument("--rows-share", type=float, default=1.0, help="part of every cell's rows, for trying things out")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--passes", type=int, default=0, help="timed passes of everybody; default: as many as fill --seconds")
    parser.add_argument("--seconds", type=float, default=2.0, help="what a measurement should last")
    parser.add_argument("--judged-passes", type=int, default=2, help="passes after which answers are compared")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a peer's process is given up")
    parser.add_argument("--environments", type=Path, default=default_folder(), help="where peers' own environments are")
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PATH", help="interpreters to use instead of those")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything that was measured, after every cell")
    parser.add_argument("--from", type=Path, dest="source", help="measure nothing: show what such a file holds")
    parser.add_argument("--readme", action="store_true", help="print README's table at the end")
    return parser.parse_args(arguments)


def interpreters(given: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    """The Python of every peer, and why some have none."""
    found: dict[str, str] = dict(pair.split("=", 1) for pair in given.python)
    missing: dict[str, str] = {}
    for peer in (name for name in given.peers if name not in found):
        try:
            found[peer] = interpreter_of(peer, given.environments)
        except NoEnvironment as error:
            missing[peer] = str(error)
    return found, missing


def prepare(cell: Cell, given: argparse.Namespace, folder: Path) -> dict[str, Array]:
    """Rows of every type and the start, on disk and in memory, the same for everybody."""
    mixture = standard_mixture(cell.n_components, cell.n_features, given.seed)
    rows = standard_rows(mixture, cell.n_rows, given.seed)
    if given.start == "true":
        start = true_start(mixture, cell.covariance_type)
    else:
        start = rows_start(rows, cell.n_components, cell.covariance_type, given.seed)
    save_parameters(folder / "start.npz", start)
    tables = {rows_type: rows.astype(rows_type) for rows_type in given.types}
    for rows_type, table in tables.items():
        np.save(folder / f"{rows_type}.npy", table)
    return tables


def take_turn(cell: Cell, given: argparse.Namespace, folder: Path, pythons: dict[str, str], turns: Turns, turn: int) -> None:
    """One measurement of every case that is still in."""
    for rows_type in given.types:
        for n_threads in given.threads:
            turns.roofs.setdefault((rows_type, n_threads), []).append(run_module("benchmarks.roof", [n_threads], n_threads))
            for case in (Case(rows_type, n_threads, peer) for peer in given.peers):
                if case not in turns.left_out:
                    take_measurement(cell, case, given, folder, pythons[case.peer], turns, turn)


def take_measurement(cell: Cell, case: Case, given: argparse.Namespace, folder: Path, python: str, turns: Turns, turn: int) -> None:
    """One process of one peer; where it gives no answer, its case is left out from now on."""
    out = folder / f"{case.peer}-{case.rows_type}-{case.n_threads}-{turn}.npz"
    arguments: list[object] = [case.peer, folder / f"{case.rows_type}.npy", folder / "start.npz", out]
    for name in ("passes", "seconds", "judged_passes"):
        arguments += [f"--{name.replace('_', '-')}", getattr(given, name)]
    arguments += ["--threads", case.n_threads, "--warm-rows", max(cell.fewest_rows, 8192)]
    where = f"turn {turn + 1}: {cell.name}, {case.rows_type}, {case.n_threads} thread(s), {case.peer}"
    try:
        found = answer_of("benchmarks.peer_process", arguments, case.n_threads, python, given.limit)
    except ModuleFailed as error:
        found = {"refused": str(error)}
    if "refused" in found:
        say(f"{where}: left out: {found['refused']}")
        turns.leave_out(case, found["refused"])
        return
    say(f"{where}: {found['seconds_per_pass']:.4f} s per pass ({found['passes']} passes)")
    turns.measured.setdefault(case, []).append({**found, "parameters": out})


def judge(turns: Turns, tables: dict[str, Array], start_path: Path, judged_passes: int) -> None:
    """Put likelihoods, and differences from the judge's own answer, into every measurement; equal answers are judged once."""
    start = load_parameters(start_path)
    for rows_type, rows in tables.items():
        mine = [one for case, found in turns.measured.items() if case.rows_type == rows_type for one in found]
        expected = exact_passes(rows, start, judged_passes)
        target = log_likelihood(rows, expected)
        known: dict[bytes, dict[str, float]] = {}
        for found in mine:
            parameters = load_parameters(found.pop("parameters"))
            key = b"".join(array.tobytes() for array in parameters)
            if key not in known:
                value = log_likelihood(rows, parameters)
                apart = largest_difference(parameters, expected)
                known[key] = {"log_likelihood": value, "deviation": abs(value - target) / abs(target), "parameters_deviation": apart}
            found.update(known[key])


def part_of(cell: Cell, given: argparse.Namespace, pythons: dict[str, str], missing: dict[str, str]) -> dict[str, Any]:
    """Everything about one cell."""
    load, turns = os.getloadavg()[0], Turns()
    for case in (Case(t, n, peer) for t in given.types for n in given.threads for peer in given.peers if peer in missing):
        turns.leave_out(case, missing[case.peer])
    with tempfile.TemporaryDirectory(prefix="exact-pass-") as name:
        folder = Path(name)
        tables = prepare(cell, given, folder)
        for turn in range(given.repeats):
            take_turn(cell, given, folder, pythons, turns, turn)
        felt = felt_share(next(iter(tables.values()))[:BLOCK_ROWS], load_parameters(folder / "start.npz"))
        judge(turns, tables, folder / "start.npz", given.judged_passes)
    return {
        "cell": asdict(cell),
        "repeats": given.repeats,
        "start": STARTS[given.start],
        "judged_passes": given.judged_passes,
        "felt_share": felt,
        "load": [load, os.getloadavg()[0]],
        "roofs": [[list(key), found] for key, found in turns.roofs.items()],
        "left_out": list(dict.fromkeys(f"{case.peer}, {case.rows_type}: {reason}" for case, reason in turns.left_out.items())),
        "lines": lines_of(cell, turns.measured, turns.roofs),
    }


def measured_parts(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One cell after the other."""
    pythons, missing = interpreters(given)
    for name in given.cells:
        yield part_of(CELLS[name].shrunk(given.rows_share) if given.rows_share < 1 else CELLS[name], given, pythons, missing)


def report_of(given: argparse.Namespace, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file holds."""
    of_no_interest = ("json", "source", "readme", "python", "environments")
    return {
        "options": {name: value for name, value in vars(given).items() if name not in of_no_interest},
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "parts": parts,
        "floors": floors_of([line for part in parts for line in part["lines"]]),
    }


def measure(given: argparse.Namespace, show: Callable[[str], None]) -> dict[str, Any]:
    """Measure, show every cell when it is done, and write the file."""
    parts: list[dict[str, Any]] = []
    for part in measured_parts(given):
        parts.append(part)
        show(cell_text(part) + "\n")
        if given.json:
            given.json.write_text(json.dumps(report_of(given, parts), indent=1) + "\n", encoding="utf-8")
    return report_of(given, parts)


def complaints(report: dict[str, Any]) -> list[str]:
    """Answers that differ, and answers of ours that are missing."""
    found = []
    for part in report["parts"]:
        found += [f"{part['cell']['name']}: {text}" for text in part["left_out"] if text.startswith(f"{OURS},")]
        for line in part["lines"]:
            if line["arithmetic"] == "float64" and not line["own_start"] and not line["deviation"] <= AGREEMENT:
                found.append(f"{line['cell']}, {line['rows_type']}: {line['title']} gives another answer, by {line['deviation']:.1e}")
    return list(dict.fromkeys(found))


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure or read, print, judge."""
    given = options()
    if given.source:
        report = json.loads(given.source.read_text(encoding="utf-8"))
        print(*map(cell_text, report["parts"]), sep="\n\n", end="\n\n")
    else:
        report = measure(given, lambda text: print(text, flush=True))
    print("## Floors", floors_text(report["floors"]), sep="\n\n")
    if given.readme:
        print("", readme_table(report["parts"]), sep="\n")
    wrong = complaints(report)
    for text in wrong:
        say(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
