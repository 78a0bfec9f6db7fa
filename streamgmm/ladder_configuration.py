"""What a ladder is: the parameters of a fit, with a range of K, a share of rows held out, and defaults of its own. Floor 7."""

__all__ = ["LadderConfiguration", "counts_of"]

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from streamgmm.configuration import Count, FitConfiguration, Init, Share, Size
from streamgmm.errors import ConfigError

LARGEST_K = 10_000
RANGE = re.compile(r"(\d+):(\d+)(?::(\d+))?")


class LadderConfiguration(FitConfiguration):
    """Parameters of a ladder: those of a fit, with other defaults where one start and one K are not enough.

    ladder: numbers of components, rising; n_components is the largest. n_init: starts of each. hold_out: share of the rows that no
    contender is fitted to. tol: of the schedule "auto" the mean square of the remaining error in standard errors; 0.1 leaves a tenth of
    what estimation itself costs, p / 2 nats, and far less than any criterion asks for a parameter.
    """

    ladder: tuple[Count, ...]
    n_init: Count = 3
    init: Init = "kmeans_plus_plus"
    tol: Size = 0.1
    hold_out: Share = 0.01

    @classmethod
    def of(cls, k: Any, parameters: Mapping[str, Any]) -> "LadderConfiguration":
        """From what the user gives. Raises ConfigError listing every fault."""
        counts = counts_of(k)
        return cls.checked({**parameters, "ladder": counts, "n_components": counts[-1]})


def counts_of(k: Any) -> tuple[int, ...]:
    """Numbers of components, rising, each once: of 8, range(1, 33), [1, 2, 4], "1:32" (both ends included), "2:32:2" or "1,2,4"."""
    if isinstance(k, str):
        counts = [count for part in k.split(",") for count in _counts_in(part.strip(), k)]
    else:
        counts = list(k) if isinstance(k, Iterable) else [k]
    if not counts or any(isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= LARGEST_K for n in counts):
        raise ConfigError(f"k must name numbers of components from 1 to {LARGEST_K}, as in 1:32, 1,2,4 or range(1, 33); got {k!r}")
    return tuple(sorted({int(n) for n in counts}))


def _counts_in(part: str, whole: str) -> Iterable[int]:
    found = RANGE.fullmatch(part)
    if found is None and not part.isdecimal():
        raise ConfigError(f"k={whole!r} cannot be read at {part!r}; write 1:32 (both ends included), 2:32:2 or 1,2,4,8")
    if found is None:
        return [int(part)]
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if step == 0 or last < first or last > LARGEST_K:
        raise ConfigError(f"k={whole!r}: {part!r} is no rising range up to {LARGEST_K}; write 1:32 or 2:32:2")
    return range(first, last + 1, step)
