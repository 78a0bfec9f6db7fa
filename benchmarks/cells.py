"""The cells of the benchmark of exact passes: a number of rows, columns and components, and a kind of covariance, under one name.

It imports the standard library only.
"""

__all__ = ["CELLS", "Cell", "dense_operations"]

from dataclasses import dataclass
from typing import Literal

CovarianceType = Literal["full", "diag"]
ROWS_PER_PARAMETER = 20


@dataclass(frozen=True)
class Cell:
    """One problem."""

    name: str
    n_rows: int
    n_features: int
    n_components: int
    covariance_type: CovarianceType

    def __str__(self) -> str:
        """What a heading says."""
        return f"{self.name}: {self.n_rows:,} x {self.n_features}, K = {self.n_components}, {self.covariance_type}"

    @property
    def fewest_rows(self) -> int:
        """Rows that keep the covariances of all components far from singular."""
        return ROWS_PER_PARAMETER * self.n_components * (self.n_features + 1)

    def shrunk(self, share: float) -> "Cell":
        """The same with a part of the rows, for trying things out."""
        return Cell(self.name, max(int(share * self.n_rows), self.fewest_rows), self.n_features, self.n_components, self.covariance_type)

    def operations_per_pass(self) -> float:
        """Floating point operations of a dense pass."""
        return self.n_rows * self.n_components * dense_operations(self.n_features, self.covariance_type)


CELLS = {
    cell.name: cell
    for cell in (
        Cell("A", 1_000_000, 6, 16, "full"),
        Cell("B", 1_000_000, 6, 64, "full"),
        Cell("C", 1_000_000, 6, 64, "diag"),
        Cell("D", 200_000, 32, 64, "full"),
        Cell("E", 1_000_000, 2, 8, "full"),
    )
}


def dense_operations(d: int, covariance_type: CovarianceType) -> float:
    """Floating point operations per row and component of a dense E-step with moments.

    Full: differences d, triangular product d(d+1), squares 2d, exponential 25, moments 2d + 1.5 d(d+1).
    Diagonal: differences d, scaling d, squares 2d, exponential 25, moments 2d + 2d.
    """
    if covariance_type == "diag":
        return d + d + 2 * d + 25 + 2 * d + 2 * d
    return d + d * (d + 1) + 2 * d + 25 + 2 * d + 1.5 * d * (d + 1)
