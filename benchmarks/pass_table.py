"""The tables of the benchmark of exact passes, in Markdown: one for each cell, and the one that README shows."""

__all__ = ["cell_text", "readme_table"]

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.cells import Cell, dense_operations
from benchmarks.pass_summary import Measurement

HEAD = (
    "rows",
    "threads",
    "peer",
    "s per pass",
    "CPU s per pass",
    "million rows/s",
    "times scikit-learn",
    "times oneDAL",
    "times fastest peer",
    "GFLOP/s (of dgemm)",
    "GB/s (of copies)",
    "peak, MB",
    "log L differs by",
    "parameters by",
)
README_HEAD = (
    "cell",
    "peer",
    "s per pass, 1 thread",
    "s per pass, 2 threads",
    "million rows/s",
    "times scikit-learn",
    "times oneDAL",
    "GFLOP/s",
    "of dgemm",
    "peak memory, MB",
)
README_THREADS = (1, 2)


def cell_text(part: Mapping[str, Any]) -> str:
    """Heading, table and footnote of one cell."""
    cell = Cell(**part["cell"])
    rule = "|---|---:|---|" + "---:|" * (len(HEAD) - 3)
    left_out = [f"Left out: {reason}" for reason in part["left_out"]]
    table = [f"| {' | '.join(HEAD)} |", rule, *map(_line, part["lines"])]
    return "\n".join([f"## {cell}", "", *table, "", _footnote(cell, part), *left_out])


def readme_table(parts: Sequence[Mapping[str, Any]]) -> str:
    """Rows in float64: a line for each cell and peer with the seconds for 1 and 2 threads, everything else for 2."""
    table = [f"| {' | '.join(README_HEAD)} |", "|---|---|" + "---:|" * (len(README_HEAD) - 2)]
    for part in parts:
        lines = [line for line in part["lines"] if line["rows_type"] == "float64"]
        peers = dict.fromkeys(line["peer"] for line in lines)
        table += [_readme_line(Cell(**part["cell"]), {x["threads"]: x for x in lines if x["peer"] == peer}) for peer in peers]
    return "\n".join(table)


def _readme_line(cell: Cell, found: Mapping[int, Measurement]) -> str:
    x = found[max(found)]
    seconds = " | ".join(f"{found[n]['seconds_per_pass']:.3f}" if n in found else "-" for n in README_THREADS)
    return (
        f"| {cell} | {x['title']} {x['version']} | {seconds} | {x['rows_per_second'] / 1e6:.2f}"
        f" | {_short(x['times'].get('sklearn'))} | {_short(x['times'].get('onedal'))}"
        f" | {x['flops'] / 1e9:.1f} | {x['share_of_products'][0]:.0%} | {x['peak_bytes'] / 1e6:.0f} |"
    )


def _line(x: Measurement) -> str:
    times = " | ".join(_ratio(x["times"].get(name)) for name in ("sklearn", "onedal", "fastest"))
    arithmetic = "" if x["arithmetic"] == x["rows_type"] else f", in {x['arithmetic']}"
    return (
        f"| {x['rows_type']}{arithmetic} | {x['threads']} | {x['title']} {x['version']}"
        f" | {x['seconds_per_pass']:.4f} | {x['processor_seconds_per_pass']:.4f} | {x['rows_per_second'] / 1e6:.2f} | {times}"
        f" | {x['flops'] / 1e9:.1f} ({x['share_of_products'][0]:.0%}) | {x['bytes_per_second'] / 1e9:.2f} ({x['share_of_copies'][0]:.0%})"
        f" | {x['peak_bytes'] / 1e6:.0f} | {_difference(x['deviation'])} | {_difference(x['parameters_deviation'])} |"
    )


def _ratio(times: Sequence[float] | None) -> str:
    return f"{times[0]:.2f} ({times[1]:.2f} to {times[2]:.2f})" if times else "-"


def _short(times: Sequence[float] | None) -> str:
    return f"{times[0]:.1f}" if times else "-"


def _difference(deviation: float | None) -> str:
    return "own start" if deviation is None else f"{deviation:.0e}"


def _footnote(cell: Cell, part: Mapping[str, Any]) -> str:
    """What the table was measured on and with."""
    operations = dense_operations(cell.n_features, cell.covariance_type)
    roofs = "; ".join(
        f"{rows_type}, {n} thread(s): dgemm {median(r['flops'] for r in turns) / 1e9:.1f} GFLOP/s,"
        f" copies {median(r['copied_bytes_per_second'] for r in turns) / 1e9:.1f} GB/s"
        for (rows_type, n), turns in part["roofs"]
    )
    return (
        f"Medians of {part['repeats']} turn(s), ratios within a turn with their range. Start: {part['start']}; {part['felt_share']:.0%} of"
        f" the responsibilities are above e^-37 of the largest of their row there. GFLOP/s counts {operations:.0f} operations per row and"
        " component for everybody; GB/s counts each row once, copies count what is read and what is written. The last columns compare"
        f" with the judge's own EM in float64 after {part['judged_passes']} passes: log-likelihood relatively, parameters in units of the"
        f" mixture.\nThis machine in the same turns: {roofs}. Load before and after: {part['load'][0]:.1f}, {part['load'][1]:.1f}."
    )
