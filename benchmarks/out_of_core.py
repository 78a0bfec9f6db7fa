"""Is a pass over a Zarr store as fast as over rows in memory? Codecs, chunks, shards, one 2-d array or a column store.

    python -m benchmarks.out_of_core --json out_of_core.json                    the usual layouts, one or two changed at a time
    python -m benchmarks.out_of_core --layouts all                              every combination
    python -m benchmarks.out_of_core --layouts columns-lz4-262144 array-zstd-65536-sharded

Rows come from the standard mixture, rounded to `--digits` decimals as catalogues are (a negative number leaves them as drawn: random
doubles, which no codec makes much smaller). Every measurement is a process of its own; memory, store and "read and decode only" (the
same blocks through the same executor, nothing computed) take turns, ratios are taken within a turn, the median is shown. The peak of
a whole fit of the store, k-means start included, stands beside what `plan` says. Exits 1 where

- K >= 16: a pass from the store takes more than 1.10 of a pass from memory;
- K < 16: it takes more than 1.20 of the larger of computing (memory) and read-and-decode;
- the peak is further than 15 % from the plan's.

Each store is written into a temporary folder (--folder says where), measured and removed.
"""

__all__ = ["main"]

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from benchmarks.processes import run_module
from benchmarks.reporting import machine, markdown, say, write_json
from benchmarks.standard import Array, standard_mixture, standard_rows
from streamgmm.commands.planning import plan
from streamgmm.commands.where import Where

CHUNKS_A_SHARD = 4
SHAPES = {16: 6, 8: 2}  # K: D
LARGEST_D = max(SHAPES.values())
VERBS = ("memory", "store", "read")
OF_MEMORY, OF_LARGER, OF_PLAN = 1.10, 1.20, 0.15
USUAL = (
    "columns-lz4-262144",  # what `ingest` writes
    "columns-zstd-262144",
    "columns-none-262144",
    "columns-lz4-65536",
    "columns-lz4-65536-sharded",
    "array-lz4-65536",
    "array-zstd-65536",
    "array-none-65536",
    "array-lz4-262144",
    "array-lz4-65536-sharded",
)
HEAD = (
    "K x D",
    "threads",
    "layout",
    "MB on disk",
    "s, store",
    "s, memory",
    "s, read only",
    "/ memory",
    "/ max(memory, read)",
    "CPU s, store - memory",
    "fit's peak, MB",
    "plan, MB",
)


@dataclass(frozen=True)
class Layout:
    """How a table is stored. kind: "array" (2-d) or "columns". codec: zstd, lz4 or none."""

    kind: str
    codec: str
    chunk_rows: int
    sharded: bool

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.kind}-{self.codec}-{self.chunk_rows}{'-sharded' if self.sharded else ''}"


def all_layouts() -> dict[str, Layout]:
    """Every combination, by name."""
    found = (
        Layout(kind, codec, rows, sharded)
        for kind in ("columns", "array")
        for codec in ("lz4", "zstd", "none")
        for rows in (65_536, 262_144)
        for sharded in (False, True)
    )
    return {layout.name: layout for layout in found}


def options() -> argparse.Namespace:
    """The command line."""
    known = all_layouts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of 6 columns; three times as many of 2")
    parser.add_argument("--components", type=int, nargs="+", default=list(SHAPES), choices=list(SHAPES), help="16 (D = 6), 8 (D = 2)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layouts", nargs="+", default=list(USUAL), choices=[*known, "all"], metavar="LAYOUT")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--digits", type=int, default=4, help="decimals that are kept; negative: as drawn")
    parser.add_argument("--no-plan", action="store_true", help="leave out the whole fit whose peak is compared with the plan's")
    parser.add_argument("--folder", type=Path, help="where stores are written; default: the system's temporary folder")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    given = parser.parse_args()
    given.layouts = list(known) if "all" in given.layouts else given.layouts
    return given


def compressors(codec: str) -> Any:
    """Zarr's codecs, with the checksum that a column store has."""
    if codec == "zstd":
        return [ZstdCodec(level=1), Crc32cCodec()]
    return [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()] if codec == "lz4" else [Crc32cCodec()]


def write_array(path: Path, rows: Array, layout: Layout, **more: Any) -> None:
    """One Zarr array, 1-d or 2-d, chunked along its rows."""
    rest = rows.shape[1:]
    zarr.create_array(
        str(path),
        data=rows,
        chunks=(layout.chunk_rows, *rest),
        shards=(CHUNKS_A_SHARD * layout.chunk_rows, *rest) if layout.sharded else None,
        compressors=compressors(layout.codec),
        fill_value=np.nan,
        zarr_format=3,
        **more,
    )


def write_store(path: Path, rows: Array, layout: Layout) -> int:
    """The table in this layout; bytes on disk."""
    if layout.kind == "array":
        write_array(path, rows, layout)
    else:
        zarr.create_group(str(path), zarr_format=3, attributes={"columns": [f"x{j}" for j in range(rows.shape[1])]})
        for j, column in enumerate(rows.T):
            write_array(path / f"x{j}", np.ascontiguousarray(column), layout, dimension_names=["row"])
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def measure(store: Path, rows: Path, k: int, n_threads: int, given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Turns of the three verbs."""
    found: dict[str, list[dict[str, Any]]] = {verb: [] for verb in VERBS}
    for _ in range(given.repeats):
        for verb in VERBS:
            arguments = (verb, rows if verb == "memory" else store, k, given.passes, n_threads)
            found[verb].append(run_module("benchmarks.out_of_core_process", arguments, n_threads))
    return found


def peaks(store: Path, k: int, n_threads: int, given: argparse.Namespace) -> dict[str, int | None]:
    """Peak of a whole fit in a process of its own, and what the plan says (bytes)."""
    if given.no_plan:
        return {"peak_bytes": None, "planned_bytes": None}
    fit = run_module("benchmarks.store_process", ["fit", store, k, 2, n_threads], n_threads)
    planned = plan(store, n_components=k, where=Where(executor="threads", threads=n_threads))["memory_per_worker"]["bound"]
    return {"peak_bytes": fit["peak_bytes"], "planned_bytes": planned}


def summary(turns: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the turns; ratios within a turn."""
    seconds = {verb: [one["seconds_per_pass"] for one in turns[verb]] for verb in VERBS}
    worked = {verb: [one["processor_seconds_per_pass"] for one in turns[verb]] for verb in VERBS}
    triples = list(zip(*(seconds[verb] for verb in VERBS), strict=True))
    return {
        **{f"seconds_{verb}": median(seconds[verb]) for verb in VERBS},
        "of_memory": median(store / memory for memory, store, _ in triples),
        "of_larger": median(store / max(memory, read) for memory, store, read in triples),
        "added_processor_seconds": median(b - a for a, b in zip(worked["memory"], worked["store"], strict=True)),
        "same_bits": len({one["log_likelihood"] for verb in ("memory", "store") for one in turns[verb]}) == 1,
        "turns": turns,
    }


def complaints(line: Mapping[str, Any]) -> list[str]:
    """What does not hold of one line."""
    place = f"K={line['n_components']}, {line['n_threads']} thread(s), {line['layout']}"
    found = [] if line["same_bits"] else [f"{place}: memory and store give different log-likelihoods"]
    if line["n_components"] >= 16 and line["of_memory"] > OF_MEMORY:
        found.append(f"{place}: {line['of_memory']:.2f} of a pass in memory, {OF_MEMORY} is the limit")
    if line["n_components"] < 16 and line["of_larger"] > OF_LARGER:
        found.append(f"{place}: {line['of_larger']:.2f} of the larger of computing and reading, {OF_LARGER} is the limit")
    if line["planned_bytes"] and abs(line["peak_bytes"] / line["planned_bytes"] - 1) > OF_PLAN:
        found.append(f"{place}: peak {line['peak_bytes'] / 1e6:.0f} MB, the plan says {line['planned_bytes'] / 1e6:.0f} MB")
    return found


def table_line(x: Mapping[str, Any]) -> tuple[object, ...]:
    """One row of the table."""
    megabytes = ["" if x[name] is None else f"{x[name] / 1e6:.0f}" for name in ("stored_bytes", "peak_bytes", "planned_bytes")]
    return (
        f"{x['n_components']} x {x['n_features']}",
        x["n_threads"],
        x["layout"],
        megabytes[0],
        *(f"{x[f'seconds_{verb}']:.3f}" for verb in ("store", "memory", "read")),
        f"{x['of_memory']:.2f}",
        f"{x['of_larger']:.2f}",
        f"{x['added_processor_seconds']:.3f}",
        *megabytes[1:],
    )


def run(given: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the table as they are measured."""
    for k in given.components:
        d = SHAPES[k]
        n_rows = given.rows * LARGEST_D // d  # equal bytes: a table of under 64 MiB would stay decoded in memory between passes
        rows = standard_rows(standard_mixture(k, d, 0), n_rows, 0)
        rows = rows if given.digits < 0 else rows.round(given.digits)
        in_memory = folder / f"rows-{d}.npy"
        np.save(in_memory, rows)
        for layout in (all_layouts()[name] for name in given.layouts):
            store = folder / f"{layout.name}-{d}.zarr"
            stored = write_store(store, rows, layout)
            for n_threads in given.threads:
                line = {"n_components": k, "n_features": d, "n_threads": n_threads, "layout": layout.name, **asdict(layout)}
                line |= {"stored_bytes": stored, **summary(measure(store, in_memory, k, n_threads, given))}
                line |= peaks(store, k, n_threads, given)
                say(
                    f"K={k}, {n_threads} thread(s), {layout.name}: {line['of_memory']:.2f} of memory, {line['of_larger']:.2f} of the larger"
                )
                yield line
            shutil.rmtree(store)


def main() -> int:
    """Measure, print the table, judge."""
    given, before = options(), machine()
    with tempfile.TemporaryDirectory(prefix="out-of-core-", dir=given.folder) as name:
        lines = list(run(given, Path(name)))
    rounded = "as drawn: random doubles, which compress badly" if given.digits < 0 else f"rounded to {given.digits} decimals"
    print(markdown(HEAD, map(table_line, lines), 3))
    shape = f"{given.rows:,} rows of 6 columns, {3 * given.rows:,} of 2"
    print(f"\n{shape}, {rounded}; medians of {given.repeats} turns of {given.passes} passes; files in the page cache.")
    write_json(given.json, {"options": vars(given), "before": before, "after": machine(), "lines": lines})
    wrong = [text for line in lines for text in complaints(line)]
    for text in wrong:
        say(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
