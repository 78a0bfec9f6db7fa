"""What a large symmetric matrix does to one vector: eigenpairs of its projection on the vector's Krylov space. Floor 0.

Lanczos with full reorthogonalisation. A function of the matrix, applied to that vector, needs a tenth of the work of all eigenpairs.
"""

__all__ = ["ritz_pairs"]

import numpy as np

from streamgmm.arrays import FloatArray

WHOLE = 300  # rows of a matrix up to which all eigenpairs cost next to nothing
FIRST = 8  # steps before the first look at what is left; the next ones come after an eighth more
ENOUGH = 1e-3  # of the vector: what of it the solution may leave
MOST = 500  # steps, and half as many as the matrix has rows


def ritz_pairs(matrix: FloatArray, vector: FloatArray, floor: float) -> tuple[FloatArray, FloatArray]:
    """Values (m), rising, and orthonormal vectors (p m) that hold the vector itself.

    Enough of them for the matrix, its eigenvalues taken as at least `floor`, to be inverted on the vector with a residual of ENOUGH. All
    eigenpairs of a small matrix, and of one that takes too many steps.
    """
    length, p = float(np.linalg.norm(vector)), len(vector)
    if p <= WHOLE or not length > 0:
        return _eigh(matrix)
    most, due = min(MOST, p // 2), FIRST
    basis, projected = np.zeros((most + 1, p)), np.zeros((most + 1, most + 1))
    basis[0] = vector / length
    for m in range(1, most + 1):
        image = matrix @ basis[m - 1]
        projected[m - 1, m - 1] = image @ basis[m - 1]
        for _ in range(2):  # once leaves what rounding has made
            image -= basis[:m].T @ (basis[:m] @ image)
        beyond = float(np.linalg.norm(image))
        if m >= due or beyond <= ENOUGH * floor:
            due = m + max(FIRST, m // 8)
            values, inner = _eigh(projected[:m, :m])
            if beyond * abs(inner[-1] @ (inner[0] / np.maximum(np.abs(values), floor))) <= ENOUGH:
                return values, basis[:m].T @ inner
        projected[m, m - 1] = beyond
        basis[m] = image / beyond
    return _eigh(matrix)


def _eigh(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    values, vectors = np.linalg.eigh(matrix)  # reads the lower triangle
    return values, vectors
