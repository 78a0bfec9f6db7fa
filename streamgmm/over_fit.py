"""From far too many components down to fewer, pair by pair: starts for every number of components on the way. Floor 5.

Seeds alone miss small groups and put two components into one; a mixture of more components than are wanted holds them all, and merging
the pairs that cost least (Runnalls 2007, merging.py) leaves what the rows tell apart.
"""

__all__ = ["merged_path", "too_many"]

from collections.abc import Iterable
from dataclasses import replace

from streamgmm.block import Block
from streamgmm.errors import StreamGMMError
from streamgmm.merging import least_costly_pairs, merged
from streamgmm.mixture import Mixture
from streamgmm.regularisation import Regularisation
from streamgmm.sample_em import fit_on_sample

OVER_FIT = 3.0  # times the components, to begin with
MERGE_STEPS = 4  # of EM after some merges
ROWS_A_COMPONENT = 10  # and column, with one more: of the sample at least


def too_many(largest_k: int, sample: Block) -> int:
    """Components that the way down begins with: no more than the sample can hold."""
    return max(1, min(int(OVER_FIT * largest_k), sample.n_rows // (ROWS_A_COMPONENT * (int(sample.x.shape[1]) + 1))))


def merged_path(
    start: Mixture, sample: Block, counts: Iterable[int], regularisation: Regularisation, *, hard: bool = False
) -> dict[int, Mixture]:
    """A mixture for each number of components below the start's, by merging; none for those on the way to which one collapses."""
    careful, found = replace(regularisation, on_singular="floor"), dict[int, Mixture]()
    try:
        mixture = fit_on_sample(start, sample, careful, hard=hard).mixture
        for k in sorted((k for k in counts if k < start.n_components), reverse=True):
            while mixture.n_components > k and (pairs := least_costly_pairs(mixture, max(1, (mixture.n_components - k) // 4))):
                mixture = fit_on_sample(merged(mixture, pairs), sample, careful, hard=hard, steps=MERGE_STEPS).mixture
            if mixture.n_components == k:
                found[k] = mixture
    except StreamGMMError:  # what ails the rows themselves is said where they are fitted to
        return found
    return found
