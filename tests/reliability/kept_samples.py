"""Damaged kept samples: what is used has the bits that were written, everything else is refused by a CheckpointError."""

import numpy as np

from streamgmm.errors import CheckpointError
from streamgmm.initialisers._sample import Sample
from streamgmm.kept_sample import pack_sample, unpack_sample
from tests.reliability.outcome import Outcome

ORIGIN = {"source": {"n_rows": 40}, "configuration": {"seed": 0}, "rows": 12}


def damaged(raw, rng):
    """Flipped bits, a cut, a piece that stands twice, or zeros, anywhere."""
    at, size = int(rng.integers(len(raw))), int(rng.integers(1, 200))
    kind = rng.integers(4)
    if kind == 0:
        return raw[:at] + bytes([raw[at] ^ (1 << int(rng.integers(8)))]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at]
    return raw[:at] + (raw[at : at + size] * 2 if kind == 2 else bytes(size)) + raw[at + size :]


def trials(n: int, seed: int) -> Outcome:
    """n damaged samples."""
    rng = np.random.default_rng(seed)
    sample = Sample(rng.normal(size=(12, 3)), rng.uniform(1, 2, 12), complete=False)
    raw, violations, refused = pack_sample(sample, ORIGIN), 0, 0
    for _ in range(n):
        try:
            found = unpack_sample(damaged(raw, rng), ORIGIN)
        except CheckpointError:
            refused += 1
        except Exception:  # noqa: BLE001  (whatever it is, it would end the fit)
            violations += 1
        else:
            violations += found.x.tobytes() != sample.x.tobytes() or found.weight.tobytes() != sample.weight.tobytes()
    return Outcome("P16", n, violations, {"refused": refused})
