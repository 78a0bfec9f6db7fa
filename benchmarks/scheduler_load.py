"""What a Dask scheduler and the driver bear: the real executor, tasks that cost nothing, many spans and many workers.

    python -m benchmarks.scheduler_load --json scheduler_load.json                 a thousand workers, a hundred thousand spans
    python -m benchmarks.scheduler_load --workers 100 --spans 3000                 tries everything
    python -m benchmarks.scheduler_load --kind real --workers 20 --spans 1000      workers of distributed in the place of light ones

For every number of workers and of spans: a scheduler in a process of its own, all workers together in another, and the driver in a
third, which runs one pass through the executor of the package. The table shows tasks per second, what every process took of its
processor and of memory, and the bytes moved. What is real: the executor, the scheduler, the protocol, the sizes of parameters and
results. What is not: the network (loopback), the reading and computing, and the workers: light ones (benchmarks/light_workers.py) keep
the protocol and nothing else, so that a thousand fit. All three processes share this machine's cores: tasks per second of the table are
fewer than those of a cluster whose scheduler, driver and workers have cores of their own; processor time per task is what carries over.

Below the table: which of scheduler and driver is the first to need a whole core, at how many tasks a second, and how many workers that
is with spans of --seconds-a-span; then the load with --target workers.
"""

__all__ = ["main"]

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, run_module, thread_environment
from benchmarks.reporting import machine, markdown, say, write_json

HEAD = (
    "workers",
    "spans",
    "seconds",
    "tasks/s",
    "scheduler, ms a task",
    "driver, ms a task",
    "workers, ms a task",
    "scheduler, MB",
    "driver, MB",
    "moved, kB a task",
)
PATIENCE = 180


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1_000])
    parser.add_argument("--spans", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kind", choices=("light", "real"), default="light", help="of workers")
    parser.add_argument("--task-seconds", type=float, default=0.0, help="that a task of a light worker takes")
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--features", type=int, default=6)
    parser.add_argument("--target", type=int, default=1_000, help="workers that the load is extrapolated to")
    parser.add_argument("--seconds-a-span", type=float, default=0.4, help="that a real span takes a worker")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    return parser.parse_args()


def part(*arguments: object) -> "subprocess.Popen[str]":
    """A part of the cluster, running until its input is closed."""
    command = [sys.executable, "-m", "benchmarks.cluster_process", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=thread_environment(1), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What it used. A part that does not end is ended."""
    try:
        text, _ = process.communicate("", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
    found: dict[str, Any] = json.loads(text.splitlines()[-1]) if process.returncode == 0 and text else {}
    return found


def wait_for(file: Path, process: "subprocess.Popen[str]") -> None:
    """The scheduler says where it is."""
    while not file.exists():
        if process.poll() is not None:
            raise SystemExit(f"the scheduler ended with status {process.returncode}")
        time.sleep(0.05)


def measure(n_workers: int, spans: int, given: argparse.Namespace) -> dict[str, Any]:
    """One pass on a cluster of its own."""
    with tempfile.TemporaryDirectory(prefix="scheduler-load-") as name:
        file = Path(name) / "address"
        scheduler = part("scheduler", file)
        wait_for(file, scheduler)
        size = (given.components, given.features)
        workers = part("light", file, n_workers, *size, given.task_seconds) if given.kind == "light" else part("workers", file, n_workers)
        try:
            driver = run_module("benchmarks.cluster_process", ["driver", file, n_workers, spans, *size], 1)
        finally:
            used = {"workers_process": ended(workers), "scheduler": ended(scheduler)}
    say(f"{n_workers} workers, {spans:,} spans: {driver['seconds']:.1f} s, {spans / driver['seconds']:.0f} tasks/s")
    return {"n_workers": n_workers, "spans": spans, "driver": driver, **used}


def milliseconds(line: Mapping[str, Any], who: str) -> float:
    """Processor time of a part, per task. The scheduler's and the workers' start-up is in it: look at the longest pass."""
    name = "pass_processor_seconds" if who == "driver" else "processor_seconds"
    if name not in line[who]:
        raise SystemExit(f"the {who} of {line['n_workers']} workers did not end by itself: nothing is known of it")
    return 1e3 * float(line[who][name]) / int(line["spans"])


def table_line(x: Mapping[str, Any]) -> tuple[object, ...]:
    """One row."""
    driver = x["driver"]
    return (
        x["n_workers"],
        f"{x['spans']:,}",
        f"{driver['seconds']:.1f}",
        f"{x['spans'] / driver['seconds']:.0f}",
        *(f"{milliseconds(x, who):.2f}" for who in ("scheduler", "driver", "workers_process")),
        f"{x['scheduler'].get('peak_bytes', 0) / 1e6:.0f}",
        f"{driver['peak_bytes'] / 1e6:.0f}",
        f"{driver['moved_bytes'] / x['spans'] / 1e3:.1f}",
    )


def extrapolation(lines: Sequence[Mapping[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """Load at the target, and what breaks first: the most workers and spans measured give the cost of a task."""
    x = max(lines, key=lambda line: (line["n_workers"], line["spans"]))
    rate, costs = given.target / given.seconds_a_span, {who: milliseconds(x, who) for who in ("scheduler", "driver")}
    first = max(costs, key=lambda who: costs[who])
    return {
        "tasks_per_second": rate,
        "scheduler_busy": rate * costs["scheduler"] / 1e3,
        "driver_busy": rate * costs["driver"] / 1e3,
        "bytes_per_second": rate * x["driver"]["moved_bytes"] / x["spans"],
        "largest_rate_measured": max(line["spans"] / line["driver"]["seconds"] for line in lines),
        "breaks_first": first,
        "breaks_at": 1e3 / costs[first],
        "workers_at_break": given.seconds_a_span * 1e3 / costs[first],
    }


def main() -> int:
    """Measure, print the table and the load at the target."""
    given, before = options(), machine()
    lines = [measure(n, spans, given) for n in given.workers for spans in given.spans]
    load = extrapolation(lines, given)
    print(markdown(HEAD, map(table_line, lines), 0))
    print(
        f"\nMeasured on loopback with instant tasks, K = {given.components}, D = {given.features}: a result has"
        f" {lines[0]['driver']['result_bytes'] / 1e3:.1f} kB. The {load['breaks_first']} is the first to need a whole core:"
        f" at {load['breaks_at']:.0f} tasks/s, which {load['workers_at_break']:.0f} workers reach with spans of"
        f" {given.seconds_a_span:g} s each."
        f" {given.target:,} such workers: {load['tasks_per_second']:.0f} tasks/s, the scheduler {load['scheduler_busy']:.0%} and the driver"
        f" {load['driver_busy']:.0%} of a core, {load['bytes_per_second'] / 1e6:.1f} MB/s."
    )
    write_json(given.json, {"options": vars(given), "before": before, "after": machine(), "lines": lines, "at_target": load})
    return 0


if __name__ == "__main__":
    sys.exit(main())
