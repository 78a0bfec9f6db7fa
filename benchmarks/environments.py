"""Environments of peers whose libraries do not get along with ours, made by the command when they are first needed.

The pins stand in benchmarks/peers/<name>.txt. A folder is named after Python and a hash of the pins: other pins make another one,
peers with the same pins share one. It counts as made when the list of what was installed is in it. Not for two commands at once.
"""

__all__ = ["NoEnvironment", "default_folder", "interpreter_of"]

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import ROOT

PEERS = ROOT / "benchmarks" / "peers"
MADE = "installed.txt"


class NoEnvironment(Exception):
    """It could not be made; the text says why, in one line."""


def default_folder() -> Path:
    """In the user's folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamgmm-benchmarks"


def interpreter_of(peer: str, folder: Path) -> str:
    """The Python that runs this peer: ours unless it has pins."""
    pins = PEERS / f"{peer}.txt"
    if not pins.exists():
        return sys.executable
    home = folder / _name(pins.read_text(encoding="utf-8"))
    if not (home / MADE).exists():
        _make(home, pins)
    return str(home / "bin" / "python")


def _name(pins: str) -> str:
    lines = [line for line in pins.splitlines() if line and not line.startswith("#")]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
    return f"py{sys.version_info.major}{sys.version_info.minor}-{digest}"


def _make(home: Path, pins: Path) -> None:
    """pip comes from outside the environment: Debian's Python has none to put into it."""
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    print(f"making the environment {home} (once)", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)])
    pip = [*_pip(), "--python", str(home / "bin" / "python")]
    _run([*pip, "install", "--quiet", "--disable-pip-version-check", "--requirement", str(pins)])
    (home / MADE).write_text(_run([*pip, "freeze"]), encoding="utf-8")


def _pip() -> list[str]:
    """The pip of this Python, or of the one that its environment was made from."""
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, str(base)):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return [python, "-m", "pip"]
    raise NoEnvironment(f"neither {sys.executable} nor {base} has pip to install it with")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip().startswith("ERROR")] or [done.stderr.strip()[-200:]]
        raise NoEnvironment(f"its environment could not be made: {said[-1]}")
    return done.stdout
