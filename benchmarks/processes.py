"""Fresh processes: every measurement runs in one of its own, with its number of threads in the environment, and answers in JSON."""

__all__ = [
    "ROOT",
    "ModuleFailed",
    "answer_of",
    "peak_bytes",
    "run_module",
    "thread_environment",
    "tree_peak_bytes",
    "tree_processor_seconds",
]

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


class ModuleFailed(Exception):
    """A process ended without an answer; the text says why, in one line."""


def thread_environment(n_threads: int) -> dict[str, str]:
    """This environment with so many threads for every library that asks it."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(n_threads))}


def run_module(module: str, arguments: Sequence[object], n_threads: int, python: str = sys.executable) -> dict[str, Any]:
    """Run `python -m module` from the repository's root; what it prints last is its answer. Its error is shown and ends this one."""
    command = [python, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=thread_environment(n_threads), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def answer_of(module: str, arguments: Sequence[object], n_threads: int, python: str, limit_seconds: float) -> dict[str, Any]:
    """As run_module, of a program that may fail: ModuleFailed with the last line of its messages, which are kept from the screen."""
    command = [python, "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=thread_environment(n_threads), capture_output=True, text=True, check=False, timeout=limit_seconds
        )
    except subprocess.TimeoutExpired as error:
        raise ModuleFailed(f"no answer within {limit_seconds:.0f} s") from error
    except OSError as error:
        raise ModuleFailed(f"{python} cannot be started: {error}") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ModuleFailed(f"ended with status {done.returncode}: {said[-1] if said else 'no message'}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    From /proc where there is one: the ru_maxrss of a process that was started by another begins with the resident memory of that one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return _peak_of(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def tree_peak_bytes() -> int:
    """The same of this process and those that it started and that still run, added up; without /proc, of this process alone."""
    return peak_bytes() + sum(_peak_of(folder / "status") for folder in _descendants())


def tree_processor_seconds() -> float:
    """Processor time of all threads of this process and of those that it started and that still run."""
    ticks = sum(sum(map(int, _stat(folder)[11:13])) for folder in _descendants())
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _peak_of(status: Path) -> int:
    try:
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
    except OSError:  # it has ended meanwhile
        return 0
    return int(fields.get("VmHWM", "0").split()[0]) * 1024


def _stat(folder: Path) -> list[str]:
    """Fields of /proc/N/stat from the third on: the second, a name in brackets, may hold anything. Zeros for a process that has ended."""
    try:
        return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50


def _descendants() -> Iterator[Path]:
    """Folders in /proc of the processes below this one."""
    parents = {folder: int(_stat(folder)[1]) for folder in Path("/proc").glob("[0-9]*")}
    known = {os.getpid()}
    while found := [folder for folder, parent in parents.items() if parent in known and int(folder.name) not in known]:
        known.update(int(folder.name) for folder in found)
        yield from found
