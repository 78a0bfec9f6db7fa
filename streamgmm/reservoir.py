"""Rows of a stream that nobody learns from: which they are, and a uniform sample of them in constant memory. Floor 0.

A row is held out by a hash of its number in the stream (splitmix64: Steele, Lea & Flood 2014), whatever batch it comes in. Of the rows
held out Vitter's (1985) algorithm R keeps each with the same probability; its generator is part of the state.
"""

__all__ = ["Reservoir", "held_out"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamgmm.arrays import ArrayN, ArrayND, FloatArray


def held_out(first: int, n: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of the rows `first` .. `first + n - 1` of a stream are held out (n)."""
    with np.errstate(over="ignore"):
        z = (np.arange(first, first + n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = _mixed(z ^ _mixed(np.array([seed], np.uint64)))
    return z.astype(np.float64) < share * 2.0**64


def _mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Reservoir:
    """At most `size` rows x (m d) with their weights (m), out of `seen`; generator: the state of a PCG64."""

    size: int
    x: ArrayND
    weight: ArrayN
    seen: int
    generator: Any

    @classmethod
    def empty(cls, size: int, n_features: int, seed: int) -> "Reservoir":
        """Before the first row."""
        return cls(size, np.empty((0, n_features)), np.empty(0), 0, np.random.PCG64(seed).state)

    def emptied(self) -> "Reservoir":
        """To begin anew; the generator goes on."""
        return Reservoir(self.size, self.x[:0], self.weight[:0], 0, self.generator)

    def with_rows(self, x: ArrayND, weight: ArrayN) -> "Reservoir":
        """After more rows (n d) of positive weight (n), in this order."""
        room = min(self.size - len(self.x), len(x))
        kept, weights = np.concatenate((self.x, x[:room])), np.concatenate((self.weight, weight[:room]))
        bits = np.random.PCG64()
        bits.state = self.generator
        places = np.random.Generator(bits).integers(0, self.seen + np.arange(room, len(x)) + 1)
        for row, place in zip(range(room, len(x)), places, strict=True):
            if place < self.size:
                kept[place], weights[place] = x[row], weight[row]
        return Reservoir(self.size, kept, weights, self.seen + len(x), bits.state)

    def to_record(self) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        """(arrays, strict JSON); the generator's numbers of 128 bits as texts."""
        state = self.generator["state"]
        described = {
            "size": self.size,
            "seen": self.seen,
            "generator": [str(state["state"]), str(state["inc"]), self.generator["has_uint32"], self.generator["uinteger"]],
        }
        return {"reservoir.x": self.x, "reservoir.weight": self.weight}, described

    @classmethod
    def from_record(cls, arrays: Mapping[str, FloatArray], record: Mapping[str, Any]) -> "Reservoir":
        """Inverse of `to_record`. Raises ValueError, TypeError, KeyError."""
        state, inc, has_half, half = record["generator"]
        generator: Any = {
            "bit_generator": "PCG64",
            "state": {"state": int(state), "inc": int(inc)},
            "has_uint32": int(has_half),
            "uinteger": int(half),
        }
        np.random.PCG64().state = generator  # refuses what is none
        x, weight = arrays["reservoir.x"], arrays["reservoir.weight"]
        size, seen = int(record["size"]), int(record["seen"])
        if x.ndim != 2 or weight.shape != x.shape[:1] or len(x) != min(size, seen):
            raise ValueError(f"a reservoir of {size} rows that has seen {seen} does not hold rows {x.shape} with weights {weight.shape}")
        return cls(size, x, weight, seen, generator)
