"""Fresh processes: every measurement runs in one of its own, with its number of threads in the environment, and answers in JSON."""

__all__ = ["peak_bytes", "run_module", "thread_environment"]

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


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


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    From /proc where there is one: the ru_maxrss of a process that was started by another begins with the resident memory of that one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
