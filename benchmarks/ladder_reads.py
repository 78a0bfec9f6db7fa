"""A ladder of 96 contenders reads no more than one fit, from a store larger than its memory, and finds the number of components.

    python -m benchmarks.ladder_reads --folder /somewhere/with/1/GB --json ladder.json

Rows (4 columns, float64) are drawn from a mixture of 8 components into a column store. Two processes of their own: K = 1..32 with 3
starts each, all of which go over the table, and one start of K = 8 with as many passes. Counted are the blocks and the bytes of every
pass, with the read at the end in which all are compared; the peak of memory; and the K of BIC's winner. Exits 1 where a block is read
twice in a pass, bytes differ from those of one fit by more than 1 %, memory exceeds the budget or the store fits into it, or the
winner is another K. The budget is what the process may take beyond its imports.
"""

__all__ = ["complaints", "main"]

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import run_module
from benchmarks.reporting import machine, markdown, say, write_json
from benchmarks.standard import BLOCK_ROWS, draw_block, standard_mixture
from streamgmm.column_store import ColumnStoreWriter

K, COLUMNS = 8, ("x0", "x1", "x2", "x3")
HEAD = (
    "",
    "contenders",
    "passes",
    "blocks a pass",
    "most reads of one",
    "MB a pass",
    "MB in all",
    "peak above imports, MB",
    "s",
    "BIC's K",
)
TOLERANCE = 0.01


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the store is kept; default: a temporary folder")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--ladder", default="1:32")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=int, default=300_000_000, help="bytes of memory beyond the imports")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args(arguments)


def store_of(folder: Path, n_rows: int, seed: int = 0) -> Path:
    """The store, drawn now unless it is there; it appears whole or not at all."""
    path = folder / f"ladder-{n_rows}.zarr"
    if not path.exists():
        say(f"drawing {n_rows:,} rows into {path}")
        mixture = standard_mixture(K, len(COLUMNS), seed)
        with ColumnStoreWriter(path, dict.fromkeys(COLUMNS, "float64")) as writer:
            for index, start in enumerate(range(0, n_rows, BLOCK_ROWS)):
                rows = draw_block(mixture, min(BLOCK_ROWS, n_rows - start), seed, index)
                writer.append(dict(zip(COLUMNS, rows.T, strict=True)))
    return path


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Both processes, after a small one that compiles."""
    small, store = store_of(folder, 2 * BLOCK_ROWS), store_of(folder, given.rows)
    rest = (given.passes, given.threads)
    run_module("benchmarks.ladder_process", [small, "1:2", 1, 1, given.threads], given.threads)
    one = run_module("benchmarks.ladder_process", [store, K, 1, *rest, "--all"], given.threads)
    say(f"one fit: {one['seconds']:.0f} s")
    many = run_module("benchmarks.ladder_process", [store, given.ladder, given.starts, *rest, "--all"], given.threads)
    say(f"{many['contenders']} contenders: {many['seconds']:.0f} s")
    stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    return {"one": one, "many": many, "stored_bytes": stored, "table_bytes": given.rows * len(COLUMNS) * 8}


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    return markdown(HEAD, [_line(name, found[key]) for name, key in (("one fit", "one"), ("the ladder", "many"))])


def _line(name: str, one: dict[str, Any]) -> tuple[object, ...]:
    per_pass = max(turn["bytes"] for turn in one["reads"]) / 1e6
    most = max(turn["most"] for turn in one["reads"])
    read = (one["blocks"], most, f"{per_pass:.1f}", f"{_bytes(one) / 1e6:.0f}")
    return name, one["contenders"], one["passes"], *read, f"{_above(one) / 1e6:.0f}", f"{one['seconds']:.0f}", one["winner"]


def _bytes(one: dict[str, Any]) -> int:
    return sum(turn["bytes"] for turn in one["reads"])


def _above(one: dict[str, Any]) -> int:
    return int(one["peak_bytes"] - one["peak_bytes_of_imports"])


def complaints(found: dict[str, Any], given: argparse.Namespace) -> list[str]:
    """What does not hold."""
    one, many, said = found["one"], found["many"], []
    turns = {(turn["blocks"], turn["most"], turn["least"]) for turn in many["reads"]}
    if turns != {(many["blocks"], 1, 1)} or len(many["reads"]) != many["passes"] + 1:
        said.append(f"a pass did not read each of {many['blocks']} blocks once (blocks, most, fewest reads of one): {sorted(turns)}")
    if abs(_bytes(many) - _bytes(one)) > TOLERANCE * _bytes(one):
        said.append(f"the ladder read {_bytes(many):,} bytes, one fit {_bytes(one):,}")
    if _above(many) > given.budget:
        said.append(f"{_above(many) / 1e6:.0f} MB beyond the imports; the budget is {given.budget / 1e6:.0f} MB")
    if min(found["stored_bytes"], found["table_bytes"]) < given.budget:
        said.append(f"the store of {found['stored_bytes'] / 1e6:.0f} MB is not larger than the budget: nothing is shown")
    if many["winner"] != K:
        said.append(f"BIC chooses K = {many['winner']}, the rows were drawn from {K}")
    return said


def main() -> int:
    """Measure, print the table, judge."""
    given, before = options(), machine()
    with tempfile.TemporaryDirectory(prefix="ladder-") as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        found = measure(folder, given)
    print(table(found))
    size = f"{found['table_bytes'] / 1e6:.0f} MB in memory, {found['stored_bytes'] / 1e6:.0f} MB on disk"
    print(f"\n{given.rows:,} rows, {size}; budget {given.budget / 1e6:.0f} MB beyond the imports")
    write_json(given.json, {"options": vars(given), "before": before, "after": machine(), **found})
    wrong = complaints(found, given)
    for line in wrong:
        say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
