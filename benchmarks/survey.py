"""How long is a pass over 1.8e9 rows x 6 with K = 64 on this machine? Measured on the first rows, extrapolated with a fitted law.

    python -m benchmarks.survey --json survey.json

The table is virtual (benchmarks/virtual_source.py): its blocks are made when they are read, at a cost that is measured beside. Passes
over several prefixes, each in a process of its own, give time = a + b N by least squares on relative errors; the table shows the law's
error at every prefix, and the time of the whole table with the standard error of the fit and with the largest error of the law.
What reading a real store adds is measured by `benchmarks.out_of_core`.
"""

__all__ = ["main"]

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.laws import Law, fit_law
from benchmarks.pass_process import TABLE_ROWS
from benchmarks.processes import run_module
from benchmarks.reporting import machine, markdown, say, write_json

PARTS = (8, 4, 2, 1)  # prefixes, as parts of the rows that are processed
HEAD = ("rows", "seconds", "ns per row and component", "s of serving the rows", "law's error", "peak, MB")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000_000, help="rows really processed: the longest prefix")
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--features", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args()


def measure(rows: int, given: argparse.Namespace) -> dict[str, Any]:
    """One prefix: a pass, and serving its rows without computing."""
    shape = (rows, given.components, given.features, 1, "threads", given.threads)
    computed = run_module("benchmarks.pass_process", ["compute", *shape], given.threads)
    served = run_module("benchmarks.pass_process", ["serve", *shape], given.threads)
    say(f"{rows:,} rows: {computed['seconds_per_pass']:.2f} s, serving them {served['seconds_per_pass']:.2f} s")
    return {
        "rows": rows,
        "seconds": computed["seconds_per_pass"],
        "serving_seconds": served["seconds_per_pass"],
        "serving_processor_seconds": served["processor_seconds_per_pass"],
        "processor_seconds": computed["processor_seconds_per_pass"],
        "log_likelihood_per_row": computed["log_likelihood"] / rows,
        "peak_bytes": computed["peak_bytes"],
    }


def law_of(lines: Sequence[dict[str, Any]]) -> Law:
    """time = a + b N."""
    n = np.array([line["rows"] for line in lines], dtype=np.float64)
    return fit_law(("a", "b N"), np.stack([np.ones_like(n), n], axis=1), np.array([line["seconds"] for line in lines]))


def table(lines: Sequence[dict[str, Any]], law: Law, given: argparse.Namespace) -> str:
    """Markdown."""
    return markdown(
        HEAD,
        (
            (
                f"{x['rows']:,}",
                f"{x['seconds']:.2f}",
                f"{1e9 * x['seconds'] / x['rows'] / given.components:.3f}",
                f"{x['serving_seconds']:.2f}",
                f"{error:+.1%}",
                f"{x['peak_bytes'] / 1e6:.0f}",
            )
            for x, error in zip(lines, law.errors, strict=True)
        ),
        0,
    )


def main() -> int:
    """Measure, fit, extrapolate."""
    given, before = options(), machine()
    lines = [measure(given.rows // part, given) for _ in range(given.repeats) for part in PARTS]
    law = law_of(lines)
    whole = (1.0, float(TABLE_ROWS))
    seconds, spread = law.seconds(whole), law.standard_error(whole)
    largest = lines[len(PARTS) - 1]
    print(table(lines, law, given))
    print(
        f"\nK = {given.components}, D = {given.features}, {given.threads} threads. time = {law.coefficients[0]:.3g} s +"
        f" {1e9 * law.coefficients[1]:.4g} ns x rows, largest error {law.largest_error:.1%}. {TABLE_ROWS:,} rows:"
        f" {seconds:.0f} s +- {spread:.0f} s a pass ({seconds / 60:.1f} minutes), extrapolated {TABLE_ROWS / given.rows:.1f}-fold; with the"
        f" largest error, {seconds * (1 - law.largest_error):.0f} to {seconds * (1 + law.largest_error):.0f} s. Serving the rows took"
        f" {largest['serving_processor_seconds'] / largest['processor_seconds']:.1%} of the processor time of the longest pass."
    )
    answer = {"seconds": seconds, "standard_error": spread, "largest_error": law.largest_error, "coefficients": law.coefficients.tolist()}
    write_json(given.json, {"options": vars(given), "before": before, "after": machine(), "lines": lines, "whole_table": answer})
    return 0


if __name__ == "__main__":
    sys.exit(main())
