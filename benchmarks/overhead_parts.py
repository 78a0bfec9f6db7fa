"""What checksums and guarded reads cost a pass, each by itself: a difference of whole fits drowns in the noise of a shared machine.

One block after the other, in processor seconds; a neighbour only ever adds to them, so the least of several turns counts.
"""

__all__ = ["NAMES", "parts_of"]

import time
from collections.abc import Callable

from streamgmm.block import Block
from streamgmm.checksums import checksum
from streamgmm.mixture import Mixture
from streamgmm.passes import BlockStatistics
from streamgmm.sources._waiting import within
from streamgmm.sources.base import AbstractSource

NAMES = ("a bare pass", "checksums", "guarded reads")
STALL = 300.0


def parts_of(source: AbstractSource, mixture: Mixture, turns: int) -> dict[str, float]:
    """Milliseconds of processor time per million rows, by name. All rows are held in memory meanwhile."""
    blocks = list(source.blocks())
    function = BlockStatistics((mixture,), source.block_rows, hard=False)

    def bare(block: Block) -> None:
        function(source.read(block.index))

    def check(block: Block) -> None:
        checksum(block.x, block.sample_weight)

    def guard(_: Block) -> None:
        within(STALL, lambda: None)

    rows = sum(block.n_rows for block in blocks)
    return {name: least(work, blocks, turns) / rows * 1e9 for name, work in zip(NAMES, (bare, check, guard), strict=True)}


def least(work: Callable[[Block], None], blocks: list[Block], turns: int) -> float:
    """Processor seconds of this process for all blocks in the quickest turn."""
    found = []
    for _ in range(turns):
        began = time.process_time()
        for block in blocks:
            work(block)
        found.append(time.process_time() - began)
    return min(found)
