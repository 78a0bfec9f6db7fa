"""Peak memory of a fit does not grow with the table: 50 million rows beside 5 million, from disk.

    python -m benchmarks.memory --folder /somewhere/with/5/GB

Draws two column stores (6 columns, float64; 2.4 and 0.24 GB) block by block from the standard mixture, keeps them in --folder and
uses them again if they are there; without --folder they go with the temporary folder. Each is fitted with K = 16, full covariances,
in a process of its own; the same process without any computing gives the floor of reading and decoding. Exits 1 where the larger
fit needs more than the limit, or where the smaller one needs less than the given part of it: then memory would grow with rows.
"""

__all__ = ["main"]

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import run_module
from benchmarks.standard import BLOCK_ROWS, draw_block, standard_mixture
from streamgmm.column_store import ColumnStoreWriter

N_FEATURES = 6
WARM_ROWS = 2 * BLOCK_ROWS
COLUMNS = tuple(f"x{j}" for j in range(N_FEATURES))


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the stores are kept; default: a temporary folder")
    parser.add_argument("--rows", type=int, nargs=2, default=[5_000_000, 50_000_000], metavar=("FEWER", "MORE"))
    parser.add_argument("--components", type=int, default=16)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=700_000_000, help="bytes that the larger fit may need")
    parser.add_argument("--part", type=float, default=0.8, help="of the larger fit's peak that the smaller one must need")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args()


def store_of(folder: Path, n_rows: int, seed: int = 0) -> Path:
    """The column store of so many rows, drawn now unless it is there; it appears whole or not at all."""
    path = folder / f"standard-{n_rows}.zarr"
    if path.exists():
        return path
    check_room(folder, n_rows)
    say(f"drawing {n_rows:,} rows into {path}")
    mixture = standard_mixture(16, N_FEATURES, seed)
    with ColumnStoreWriter(path, dict.fromkeys(COLUMNS, "float64")) as writer:
        for index, start in enumerate(range(0, n_rows, BLOCK_ROWS)):
            rows = draw_block(mixture, min(BLOCK_ROWS, n_rows - start), seed, index)
            writer.append(dict(zip(COLUMNS, rows.T, strict=True)))
    return path


def check_room(folder: Path, n_rows: int) -> None:
    """Stop before the disk is full. Random numbers hardly compress."""
    needed, free = int(1.1 * n_rows * N_FEATURES * 8), shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; name another --folder")


def measure(store: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The fit and its floor."""
    arguments = (store, given.components, given.passes, given.threads)
    fit = run_module("benchmarks.store_process", ["fit", *arguments], given.threads)
    say(f"{fit['rows']:,} rows: peak {fit['peak_bytes'] / 1e6:.0f} MB, {fit['seconds_per_pass']:.2f} s per pass")
    read = run_module("benchmarks.store_process", ["read", *arguments], given.threads)
    return {"fit": fit, "read": read}


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    head = "| rows | peak of the fit, MB | of it imports, MB | s per pass | s to read and decode only | s of the whole fit |"
    body = [
        f"| {x['fit']['rows']:,} | {x['fit']['peak_bytes'] / 1e6:.0f} | {x['fit']['peak_bytes_of_imports'] / 1e6:.0f}"
        f" | {x['fit']['seconds_per_pass']:.2f} | {x['read']['seconds_per_pass']:.2f} | {x['fit']['seconds']:.1f} |"
        for x in found
    ]
    return "\n".join([head, "|---:|---:|---:|---:|---:|---:|", *body])


def complaints(fewer: int, more: int, given: argparse.Namespace) -> list[str]:
    """What does not hold of the two peaks (bytes)."""
    found = []
    if more > given.limit:
        found.append(f"{given.rows[1]:,} rows need {more / 1e6:.0f} MB, the limit is {given.limit / 1e6:.0f} MB")
    if fewer < given.part * more:
        found.append(f"{given.rows[0]:,} rows need {fewer / more:.0%} of what {given.rows[1]:,} need: memory grows with rows")
    return found


def run(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Both measurements. A small fit comes first: it compiles, so that both start from compiled code."""
    warm = store_of(folder, WARM_ROWS)
    run_module("benchmarks.store_process", ["fit", warm, given.components, 1, given.threads], given.threads)
    return [measure(store_of(folder, n_rows), given) for n_rows in given.rows]


def say(text: str) -> None:
    """Progress goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print the table, judge."""
    given = options()
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        found = run(given, given.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="memory-") as name:
            found = run(given, Path(name))
    print(table(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    fewer, more = (one["fit"]["peak_bytes"] for one in found)
    wrong = complaints(fewer, more, given)
    for line in wrong:
        say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
