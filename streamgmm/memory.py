"""Whether the blocks that are in memory at the same time fit into it: told before anything is read. Floor 5."""

__all__ = ["memory_limit", "refuse_large_blocks"]

import os
from pathlib import Path

from streamgmm.errors import ConfigError
from streamgmm.sources.base import AbstractSource
from streamgmm.wording import human_bytes

CONTROL_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_limit() -> int | None:
    """Bytes that this process may use: the machine's memory or its control group's share; None where nobody tells."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limits += [found for path in CONTROL_GROUPS if (found := _number_in(path)) is not None]
    return min(limits, default=None)


def _number_in(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None


def refuse_large_blocks(source: AbstractSource, blocks_in_memory: int, limit: int | None = None) -> None:
    """Raise ConfigError where the blocks alone (as read, and as float64 with their weights) take more than the limit."""
    limit = memory_limit() if limit is None else limit
    rows = source.block_rows if source.n_rows is None else min(source.block_rows, source.n_rows)
    blocks = blocks_in_memory if source.n_blocks is None else min(blocks_in_memory, source.n_blocks)
    row = source.n_features * (source.dtype.itemsize + 8) + 8
    needed = rows * blocks * row
    if limit is not None and needed > limit:
        raise ConfigError(
            f"block_rows={source.block_rows}: {blocks} blocks of {rows} rows and {source.n_features} columns take"
            f" {needed} bytes ({human_bytes(needed)}), and this process may use {limit} ({human_bytes(limit)});"
            f" the largest block_rows allowed is {max(1, limit // (blocks * row))}"
        )
