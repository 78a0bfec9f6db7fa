"""Array aliases. Floor 0.

The letters are the same everywhere: n rows of a block, N rows in all, d observed and D latent dimensions, K components,
P = D(D+1)/2 entries of a packed lower triangle. Floating-point arrays are float64 unless a name says otherwise.
"""

__all__ = ["ArrayD", "ArrayDD", "ArrayK", "ArrayKD", "ArrayN", "ArrayND", "ArrayNK", "FloatArray", "IntArray"]

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

ArrayN = FloatArray
ArrayD = FloatArray
ArrayK = FloatArray
ArrayND = FloatArray
ArrayNK = FloatArray
ArrayKD = FloatArray
ArrayDD = FloatArray
