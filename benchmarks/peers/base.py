"""What a peer is: one file `<name>_peer.py` in this folder with the three names below, found by its name.

A peer's file is imported in a process of its own, maybe by an interpreter of its own (`--python NAME=PATH`), with the number of
threads already set in the environment: it imports its library and NumPy, nothing else of this repository but this module.
"""

__all__ = ["Array", "Parameters", "Peer"]

from typing import Protocol

from benchmarks.standard import Array, Parameters


class Peer(Protocol):
    """A module that fits a mixture with full covariances, in float64, with nothing added to the diagonal."""

    TITLE: str  # what the table calls it

    @staticmethod
    def version() -> str:
        """Version of the library."""
        ...

    @staticmethod
    def fit(rows: Array, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
        """The parameters after exactly `n_passes` passes of EM over all rows from `start`, whether converged or not."""
        ...
