"""Peer: streamgmm in float32 arithmetic, which is an option; statistics and parameters stay float64."""

from benchmarks.peers import streamgmm_peer
from benchmarks.peers.base import Array, Parameters
from benchmarks.peers.streamgmm_peer import OWN_START, WARM_PASSES, prepare, supports, version

__all__ = ["OWN_START", "TITLE", "WARM_PASSES", "arithmetic", "fit", "prepare", "supports", "version"]

TITLE = "streamgmm, float32 arithmetic"


def arithmetic(rows_type: str) -> str:
    """Whatever the rows are."""
    return "float32"


def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
    """See base.Peer."""
    return streamgmm_peer.fit(rows, start, n_passes, n_threads, arithmetic="float32")
