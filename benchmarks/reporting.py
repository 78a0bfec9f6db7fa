"""What the benchmarks say: progress on stderr, tables in Markdown on stdout, everything measured in a JSON file."""

__all__ = ["machine", "markdown", "say", "write_json"]

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def markdown(head: Sequence[str], lines: Iterable[Sequence[object]], n_words: int = 1) -> str:
    """A table whose first `n_words` columns hold words (left) and whose others hold numbers (right)."""
    rule = "|" + "---|" * n_words + "---:|" * (len(head) - n_words)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(map(str, line))} |" for line in lines)])


def machine() -> dict[str, Any]:
    """What it was measured on, and how busy that was."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def write_json(path: Path | None, found: Any) -> None:
    """Into the file, where one was asked for."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
