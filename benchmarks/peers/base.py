"""What a peer is: one file `<name>_peer.py` in this folder with the names below, found by its name.

A peer's file is imported in a process of its own, with the number of threads already set in the environment: it imports its library
and NumPy, nothing else of this repository but this module. Where its library does not get along with ours, the pins of an environment
of its own stand beside it in `<name>.txt`, and the command makes that environment (benchmarks/environments.py).
"""

__all__ = ["Array", "Parameters", "Peer"]

from typing import Any, Protocol

from benchmarks.standard import Array, Parameters


class Peer(Protocol):
    """A module that fits a mixture, with nothing added to the diagonal."""

    TITLE: str  # what the table calls it
    OWN_START: bool  # True if it cannot be given a start: it is timed, its answer is not compared
    WARM_PASSES: int  # over a few rows, before anything is timed

    @staticmethod
    def version() -> str:
        """Version of the library."""
        ...

    @staticmethod
    def supports(covariance_type: str, rows_type: str) -> str:
        """Why it cannot do this, or nothing."""
        ...

    @staticmethod
    def arithmetic(rows_type: str) -> str:
        """In which type it computes with rows of this type: 'float64' or 'float32'."""
        ...

    @staticmethod
    def prepare(rows: Array, n_threads: int) -> Any:
        """The rows as its `fit` takes them: not timed."""
        ...

    @staticmethod
    def fit(rows: Any, start: Parameters, n_passes: int, n_threads: int) -> Parameters:
        """The parameters after exactly `n_passes` passes of EM over all rows from `start`, whether converged or not.

        The covariances of `start` tell what is fitted: (K D D) full, (K D) diagonal.
        """
        ...
