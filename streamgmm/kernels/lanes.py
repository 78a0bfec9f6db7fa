"""Vector code written out: rows side by side in lanes of fixed number, for the loops in which nearly all time is spent. Floor 0.

Numba's loops leave it to the compiler whether and how a loop becomes vector code. Here `Lanes` spells the vector operations out in
LLVM's language, as methods that a kernel's author calls while the kernel is being compiled: loops over columns are ordinary Python
loops at that time, so that every number of columns gets code of its own, and sums over rows are added lane by lane in one order,
whatever the processor's registers hold. The product-and-sum `fma` is one instruction where the processor has it.

Lanes hold doubles or floats; numbers of the other kind are converted on their way from and to memory. Sums leave the lanes as doubles.
"""

__all__ = ["DOUBLE", "Lanes", "column_count", "pointers"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

DOUBLE, FLOAT, INT32, INT64 = ir.DoubleType(), ir.FloatType(), ir.IntType(32), ir.IntType(64)
BYTES = {DOUBLE: 8, FLOAT: 4}
REGISTER = 32  # bytes of a vector register of most processors


def pointers(context, builder, signature, arguments) -> list[Any]:
    """The arguments of an intrinsic: of arrays the address of their first element (they must be contiguous), the others as they are."""
    return [
        context.make_array(kind)(context, builder, value).data if hasattr(kind, "layout") else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


def column_count(dims) -> int:
    """Number of columns, which the type of `dims` holds."""
    return len(dims)


class Lanes:
    """Vectors of `n` doubles or floats, through an LLVM builder."""

    def __init__(self, builder, n: int, element=DOUBLE) -> None:
        self.b, self.n, self.element = builder, n, element
        self.kind = ir.VectorType(element, n)
        self.integer_element = ir.IntType(8 * BYTES[element])
        self.integers = ir.VectorType(self.integer_element, n)

    @classmethod
    def of(cls, builder, n: int, address) -> "Lanes":
        """Vectors of `n` numbers of the kind that stands at `address`."""
        return cls(builder, n, address.type.pointee)

    @classmethod
    def as_wide(cls, builder, n: int, address) -> "Lanes":
        """Vectors of the kind that stands at `address`, as wide as `n` doubles: floats are twice as many."""
        return cls.of(builder, n * BYTES[DOUBLE] // BYTES[address.type.pointee], address)

    @property
    def single(self) -> bool:
        """Whether the lanes hold floats."""
        return bool(self.element == FLOAT)

    # ---- memory ------------------------------------------------------------------------------------------------------

    def load(self, address, offset):
        """n numbers from `address + offset` on."""
        return self._as(self.kind, self.b.load(self._vector_at(address, offset), align=BYTES[address.type.pointee]))

    def store(self, value, address, offset) -> None:
        """n numbers to `address + offset`."""
        element = address.type.pointee
        self.b.store(self._as(ir.VectorType(element, self.n), value), self._vector_at(address, offset), align=BYTES[element])

    def _vector_at(self, address, offset):
        return self.b.bitcast(self.b.gep(address, [offset]), ir.VectorType(address.type.pointee, self.n).as_pointer())

    def _as(self, kind, value):
        """A number, or a vector of them, as another kind."""
        if value.type == kind:
            return value
        return self.b.fpext(value, kind) if getattr(kind, "element", kind) == DOUBLE else self.b.fptrunc(value, kind)

    def double_at(self, address, offset):
        """One number of memory, as a double."""
        return self._as(DOUBLE, self.b.load(self.b.gep(address, [offset])))

    def as_element(self, scalar):
        """A scalar as the kind that lanes hold."""
        return self._as(self.element, scalar)

    def gathered(self, address, offsets):
        """One double from each of n places."""
        vector = ir.Constant(self.kind, ir.Undefined)
        for lane, offset in enumerate(offsets):
            vector = self.b.insert_element(vector, self.b.load(self.b.gep(address, [offset])), ir.Constant(INT32, lane))
        return vector

    def transposed(self, rows):
        """Four vectors of four lanes turned over: the columns of the square that they are the rows of."""
        a, b, c, d = rows
        low, high = ((self._picked(p, q, [0, 4, 2, 6]), self._picked(p, q, [1, 5, 3, 7])) for p, q in ((a, b), (c, d)))
        pairs = list(zip(low, high, strict=True))
        return [self._picked(*pair, [0, 1, 4, 5]) for pair in pairs] + [self._picked(*pair, [2, 3, 6, 7]) for pair in pairs]

    def _picked(self, a, b, lanes):
        return self.b.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))

    def same(self, address, offset):
        """One number of memory in all lanes."""
        return self.spread(self.b.load(self.b.gep(address, [offset])))

    def spread(self, scalar):
        """A scalar in all lanes."""
        nothing = ir.Constant(self.kind, ir.Undefined)
        first = self.b.insert_element(nothing, self._as(self.element, scalar), ir.Constant(INT32, 0))
        return self.b.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, self.n), [0] * self.n))

    def constant(self, value: float):
        """A number in all lanes."""
        return ir.Constant(self.kind, [ir.Constant(self.element, float(value))] * self.n)

    # ---- arithmetic --------------------------------------------------------------------------------------------------

    def fma(self, a, b, c):
        """a b + c."""
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, f"llvm.fmuladd.{self._suffix}"), [a, b, c])

    def larger(self, a, b):
        """The larger of two; b where a is NaN."""
        return self.b.select(self.b.fcmp_ordered(">", a, b), a, b)

    def maximum(self, a, b):
        """The larger of two; neither may be NaN. Unlike `larger` it never becomes a masked store, which is slow on many processors."""
        kind = ir.FunctionType(self.kind, [self.kind] * 2)
        function = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.maxnum.{self._suffix}")
        return self.b.call(function, [a, b], fastmath=("nnan", "nsz"))

    def magnitude(self, scalar):
        """|x| of a double."""
        kind = ir.FunctionType(DOUBLE, [DOUBLE])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, "llvm.fabs.f64"), [scalar])

    @property
    def _suffix(self) -> str:
        return f"v{self.n}f{8 * BYTES[self.element]}"

    def largest(self, vector):
        """Of all lanes; none may be NaN."""
        width = self.n
        while width > 1:
            a, b = self._halves(vector, width)
            width //= 2
            vector = Lanes(self.b, width, self.element).maximum(a, b)
        return self.b.extract_element(vector, ir.Constant(INT32, 0))

    def sum(self, vector):
        """Of all lanes, a double: the upper half added to the lower one until one is left."""
        vector = self._doubles(vector)
        width = self.n
        while width > 1:
            vector = self.b.fadd(*self._halves(vector, width))
            width //= 2
        return self.b.extract_element(vector, ir.Constant(INT32, 0))

    def sums_of(self, vectors):
        """The sums of a power of two of vectors, at most as many as there are lanes, side by side in one vector of doubles."""
        count, width = len(vectors), self.n
        while len(vectors) > 1:
            vectors = [self._pairwise_sums(a, b, width) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        sums = self._doubles(vectors[0])
        while width > count:
            width //= 2
            sums = self._pairwise_sums(sums, sums, width)
        return sums

    def _pairwise_sums(self, a, b, width: int):
        """`width` sums out of (a0+a1, a2+a3, ..., b0+b1, b2+b3, ...)."""
        even, odd = (list(range(first, 2 * width, 2)) for first in (0, 1))
        return self.b.fadd(self._picked(a, b, even), self._picked(a, b, odd))

    def _doubles(self, vector):
        return self._as(ir.VectorType(DOUBLE, self.n), vector)

    def any(self, truths):
        """Whether a vector of comparisons holds one that is true."""
        width = self.n
        while width > REGISTER // BYTES[self.element]:  # a longer vector of truths is slow to turn into bits
            truths = self.b.or_(*self._halves(truths, width))
            width //= 2
        bits = ir.IntType(width)
        return self.b.icmp_unsigned("!=", self.b.bitcast(truths, bits), ir.Constant(bits, 0))

    def _halves(self, vector, width: int):
        nothing = ir.Constant(vector.type, ir.Undefined)
        half = width // 2
        kind = ir.VectorType(INT32, half)
        return [self.b.shuffle_vector(vector, nothing, ir.Constant(kind, list(range(a, a + half)))) for a in (0, half)]

    def bits(self, vector):
        """The same bits as integers."""
        return self.b.bitcast(vector, self.integers)

    def numbers(self, integers):
        """The same bits as floating-point numbers."""
        return self.b.bitcast(integers, self.kind)

    def integer(self, value: int):
        """An integer in all lanes."""
        return ir.Constant(self.integers, [ir.Constant(self.integer_element, value)] * self.n)

    # ---- indices and loops -------------------------------------------------------------------------------------------

    def index(self, value: int):
        """An integer constant for offsets."""
        return ir.Constant(INT64, value)

    def plus(self, offset, value: int):
        """offset + value."""
        return self.b.add(offset, self.index(value))

    def times(self, offset, value: int):
        """offset * value."""
        return self.b.mul(offset, self.index(value))

    @contextmanager
    def loop(self, stop, step: int = 1) -> Iterator[Any]:
        """For i from 0 in steps below `stop` (an int or a value)."""
        last = self.index(stop) if isinstance(stop, int) else stop
        with cgutils.for_range_slice(self.b, self.index(0), last, self.index(step), intp=INT64) as (i, _):
            yield i

    def variable(self, value: float) -> Any:
        """A variable that holds a double."""
        variable = cgutils.alloca_once(self.b, DOUBLE)
        self.b.store(ir.Constant(DOUBLE, value), variable)
        return variable

    def counter(self) -> Any:
        """A variable that holds the integer 0."""
        variable = cgutils.alloca_once(self.b, INT64)
        self.b.store(self.index(0), variable)
        return variable

    def zeros(self, count: int) -> list[Any]:
        """Variables that hold vectors of zeros, to be added to in loops."""
        variables = [cgutils.alloca_once(self.b, self.kind) for _ in range(count)]
        self.clear(variables)
        return variables

    def clear(self, variables) -> None:
        """Set them to zero."""
        for variable in variables:
            self.b.store(self.constant(0.0), variable)

    def add_to(self, variable, value) -> None:
        """variable += value."""
        self.b.store(self.b.fadd(self.b.load(variable), value), variable)

    def add_product_to(self, variable, a, b) -> None:
        """variable += a b."""
        self.b.store(self.fma(a, b, self.b.load(variable)), variable)

    def add_sum_at(self, address, offset, variable) -> None:
        """memory[offset] += sum of a variable's lanes; the memory holds doubles."""
        place = self.b.gep(address, [offset])
        self.b.store(self.b.fadd(self.b.load(place), self.sum(self.b.load(variable))), place)
