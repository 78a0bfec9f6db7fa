"""Small dense linear algebra over K components at once: Cholesky that names the failing one, packed triangles. Floor 0.

A packed triangle holds the lower half of a symmetric or lower triangular matrix row by row: entry (j, i), i <= j, at j(j+1)/2 + i.
"""

__all__ = [
    "cholesky",
    "eigh",
    "from_eigen",
    "gram",
    "invert_lower",
    "is_positive_definite",
    "largest_eigenvalues",
    "log_det_lower",
    "pack",
    "packed_size",
    "times_transposed",
    "unpack_lower",
    "unpack_symmetric",
]

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from streamgmm.arrays import ArrayD, ArrayDD, ArrayK, FloatArray
from streamgmm.errors import SingularComponentError

PARALLEL = 64  # beyond, libraries of linear algebra use threads, and the number of threads shows in the last bits


def _one_thread(d: int) -> "AbstractContextManager[object, None]":
    return threadpool_limits(1) if d > PARALLEL else nullcontext()


@cache
def _triangle(d: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    rows, columns = np.tril_indices(d)
    return rows, columns


def packed_size(d: int) -> int:
    """Entries of a packed triangle of a d x d matrix."""
    return d * (d + 1) // 2


def pack(matrices: FloatArray) -> FloatArray:
    """(... d d) to (... P): the lower triangles."""
    rows, columns = _triangle(matrices.shape[-1])
    return np.ascontiguousarray(matrices[..., rows, columns])


def unpack_lower(packed: FloatArray, d: int) -> FloatArray:
    """(... P) to lower triangular (... d d)."""
    rows, columns = _triangle(d)
    matrices = np.zeros((*packed.shape[:-1], d, d))
    matrices[..., rows, columns] = packed
    return matrices


def unpack_symmetric(packed: FloatArray, d: int) -> FloatArray:
    """(... P) to symmetric (... d d)."""
    rows, columns = _triangle(d)
    matrices = np.zeros((*packed.shape[:-1], d, d))
    matrices[..., rows, columns] = packed
    matrices[..., columns, rows] = packed
    return matrices


def cholesky(covariances: FloatArray) -> FloatArray:
    """Lower Cholesky factors (K D D). Raises SingularComponentError naming the first component that is not positive definite."""
    try:
        with _one_thread(covariances.shape[-1]):
            factors: Any = np.linalg.cholesky(covariances)
        if np.isfinite(factors).all():
            return cast(FloatArray, factors)
    except np.linalg.LinAlgError:
        pass
    for k, matrix in enumerate(covariances):
        if not is_positive_definite(matrix):
            smallest = _smallest_eigenvalue(matrix)
            raise SingularComponentError(
                f"component {k}: its covariance is not positive definite (smallest eigenvalue {smallest:.3g});"
                " raise reg_covar or variance_floor, or use fewer components"
            )
    raise SingularComponentError("a covariance is not positive definite; raise reg_covar or variance_floor")


def is_positive_definite(matrices: FloatArray) -> bool:
    """Whether a symmetric matrix, or each of a stack, is, in double precision."""
    try:
        with _one_thread(matrices.shape[-1]):
            return bool(np.isfinite(np.linalg.cholesky(matrices)).all())
    except np.linalg.LinAlgError:
        return False


def _smallest_eigenvalue(matrix: ArrayDD) -> float:
    return float(np.linalg.eigvalsh(matrix)[0]) if np.isfinite(matrix).all() else float("nan")


def invert_lower(factors: FloatArray) -> FloatArray:
    """Inverses of lower triangular matrices (K D D)."""
    inverses = np.empty_like(factors)
    with _one_thread(factors.shape[-1]):
        for k, factor in enumerate(factors):
            inverses[k] = lapack.dtrtri(factor, lower=1)[0]
    return np.tril(inverses)


def eigh(matrix: ArrayDD) -> tuple[ArrayD, ArrayDD]:
    """Eigenvalues (D), rising, and eigenvectors (D D) of a symmetric matrix."""
    with _one_thread(len(matrix)):
        values, vectors = np.linalg.eigh(matrix)
    return values, vectors


def from_eigen(values: ArrayD, vectors: ArrayDD) -> ArrayDD:
    """The symmetric matrix (D D) of these eigenvalues and eigenvectors."""
    with _one_thread(len(values)):
        return (vectors * values) @ vectors.T


def gram(factors: FloatArray) -> FloatArray:
    """F^T F for every factor (K D D)."""
    with _one_thread(factors.shape[-1]):
        product: FloatArray = factors.transpose(0, 2, 1) @ factors
    return product


def largest_eigenvalues(matrices: FloatArray) -> ArrayK:
    """Largest eigenvalues (K) of symmetric matrices (K D D)."""
    with _one_thread(matrices.shape[-1]):
        values: Any = np.linalg.eigvalsh(matrices)[:, -1]
    return cast(ArrayK, values)


def times_transposed(rows: FloatArray, matrix: ArrayDD) -> FloatArray:
    """Rows (n D) times the transpose of a matrix (D D)."""
    with threadpool_limits(1):  # the number of rows, too, makes the algebra parallel
        product: FloatArray = rows @ matrix.T
    return product


def log_det_lower(factors: FloatArray) -> ArrayK:
    """log determinants (K) of lower triangular matrices (K D D) with positive diagonal."""
    result: ArrayK = np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
    return result
