"""Sufficient statistics: additive numbers about a reference. Floor 0.

A statistics class is a frozen dataclass whose fields declare how they merge; merging, scaling and the way to and from plain
arrays follow from the declarations. The reference is part of the object: sums about different references refuse to merge.
Everything is float64 or int64, whatever the dtype of the rows.
"""

__all__ = ["Statistics", "counted", "nested", "reference", "summed"]

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Self, cast, get_type_hints

import numpy as np

from streamgmm.arrays import FloatArray

_LAW = "law"


def summed() -> Any:
    """A float array or number that merges by addition and scales with the weight of the rows."""
    return field(metadata={_LAW: "summed"})


def counted() -> Any:
    """An integer that merges by addition and does not scale: rows are rows."""
    return field(metadata={_LAW: "counted"})


def reference() -> Any:
    """What the sums are taken about; equal in all that merge."""
    return field(metadata={_LAW: "reference"})


def nested() -> Any:
    """A statistics object inside this one."""
    return field(metadata={_LAW: "nested"})


@dataclass(frozen=True, eq=False)
class Statistics:
    """Base: zero is all sums 0 about the same reference; merge is associative and commutative up to rounding."""

    def merge(self, other: Self) -> Self:
        """The statistics of both sets of rows. Raises ValueError when the references differ."""
        return self._combine(_merge_field, other)

    def scale(self, factor: float) -> Self:
        """The statistics as if every row's weight had been multiplied by `factor`."""
        return self._combine(lambda law, a, _: _scale_field(law, a, factor), self)

    def _combine(self, rule: Any, other: Self) -> Self:
        if type(self) is not type(other):
            raise TypeError(f"cannot merge {type(self).__name__} with {type(other).__name__}")
        values = {f.name: rule(_law(f), getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return type(self)(**values)

    def to_arrays(self, prefix: str = "") -> dict[str, FloatArray]:
        """Plain arrays by name, nested ones with a dotted prefix."""
        arrays: dict[str, FloatArray] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if _law(f) == "nested":
                arrays |= value.to_arrays(f"{prefix}{f.name}.")
            else:
                arrays[prefix + f.name] = np.asarray(value)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray], prefix: str = "", **nested: "type[Statistics]") -> Self:
        """Inverse of `to_arrays`. `nested` names the class of a nested field that is declared abstract."""
        hints = get_type_hints(cls) | nested
        return cls(**{f.name: _restore(f, hints[f.name], arrays, prefix) for f in fields(cls)})

    def misfit(self, like: "Statistics") -> str:
        """Why these numbers do not merge with others: class, shape, dtype or reference; "" where they do."""
        if type(self) is not type(like):
            return f"{type(self).__name__} in place of {type(like).__name__}"
        for f in fields(self):
            a, b = getattr(self, f.name), getattr(like, f.name)
            unlike = a.misfit(b) if _law(f) == "nested" else _unlike(_law(f), np.asarray(a), np.asarray(b))
            if unlike:
                return f"{f.name}: {unlike}" if _law(f) != "nested" else unlike
        return ""

    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return all(bool(np.isfinite(value).all()) for value in self.to_arrays().values())


def _law(f: "Field[Any]") -> str:
    return cast(str, f.metadata[_LAW])


def _unlike(law: str, a: FloatArray, b: FloatArray) -> str:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{a.dtype} of shape {a.shape} in place of {b.dtype} of shape {b.shape}"
    return "sums about another reference" if law == "reference" and not np.array_equal(a, b) else ""


def _merge_field(law: str, a: Any, b: Any) -> Any:
    if law == "nested":
        return a.merge(b)
    if law == "reference":
        if not np.array_equal(a, b):
            raise ValueError("statistics about different references do not merge; rebase one of them first")
        return a
    return a + b


def _scale_field(law: str, a: Any, factor: float) -> Any:
    if law == "nested":
        return a.scale(factor)
    return a * factor if law == "summed" else a


def _restore(f: "Field[Any]", hint: Any, arrays: Mapping[str, FloatArray], prefix: str) -> Any:
    if _law(f) == "nested":
        if hint is Statistics:
            raise TypeError(f"the class of the nested field {f.name!r} is not known: pass {f.name}=its class to from_arrays")
        return hint.from_arrays(arrays, f"{prefix}{f.name}.")
    value = arrays[prefix + f.name]
    return hint(value) if hint in (int, float) else value
