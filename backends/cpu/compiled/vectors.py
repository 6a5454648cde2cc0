"""Words for what intrinsics are made of: vectors of float32 in registers, and addresses, which are integers in bytes.

A vector has 16 lanes with AVX-512, else 8 (which a processor with shorter registers takes as two).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .compiler import Intrinsic


def lanes(context: Any) -> int:
    """Of a vector, on the processor that code is made for."""
    _, _, features = context.codegen().magic_tuple()
    return 16 if "+avx512f" in features.split(",") else 8


def _lanes(typing: Any) -> Any:
    """`lanes`, as a kernel sees it: a constant."""
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.int64, lanes(context))

    return types.int64(), generate


vector_lanes = Intrinsic(_lanes, __name__)


class Vectors:
    """Writes instructions on vectors of ``lanes`` floats with a code builder of llvmlite."""

    def __init__(self, context: Any, builder: Any) -> None:
        from llvmlite import ir

        self.builder = builder
        self.lanes = lanes(context)
        self.bytes = 4 * self.lanes
        self.integer = ir.IntType(64)
        self.real = ir.FloatType()
        self.kind = ir.VectorType(self.real, self.lanes)
        self.zero = ir.Constant(self.kind, [0.0] * self.lanes)
        name = f"llvm.fma.v{self.lanes}f32"
        known = builder.module.globals.get(name)
        self._fma = known or ir.Function(builder.module, ir.FunctionType(self.kind, [self.kind] * 3), name)
        self._undefined = ir.Constant(self.kind, ir.Undefined)
        self._everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        self._first = ir.Constant(ir.IntType(32), 0)

    def number(self, value: int) -> Any:
        return self.integer(value)

    def constant(self, value: float) -> Any:
        return self.kind([value] * self.lanes)

    def place(self, start: Any, step: Any, times: int) -> Any:
        """The address ``start + times step``."""
        if times == 0:
            return start
        return self.builder.add(start, self.builder.mul(step, self.number(times)))

    def beyond(self, address: Any, offset: int) -> Any:
        return self.builder.add(address, self.number(offset))

    def load(self, address: Any) -> Any:
        return self.builder.load(self.builder.inttoptr(address, self.kind.as_pointer()), align=4)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, self.kind.as_pointer()), align=4)

    def store_beside_caches(self, value: Any, address: Any) -> None:
        """To memory, at an address that is a multiple of the vector's bytes; what is there is not read first."""
        stored = self.builder.store(value, self.builder.inttoptr(address, self.kind.as_pointer()), align=self.bytes)
        stored.set_metadata("nontemporal", self.builder.module.add_metadata([self._first.type(1)]))

    def prefetch(self, address: Any, to_write: bool = False) -> None:
        """Begin to bring what lies there, if anything does, into the second cache; ``to_write``: into the first, as one's own."""
        from llvmlite import ir

        byte, small, name = ir.IntType(8).as_pointer(), ir.IntType(32), "llvm.prefetch"
        known = self.builder.module.globals.get(name)
        kind = ir.FunctionType(ir.VoidType(), [byte, small, small, small])
        function = known or ir.Function(self.builder.module, kind, name)
        how = (1, 3) if to_write else (0, 2)
        self.builder.call(function, [self.builder.inttoptr(address, byte), *map(small, how), small(1)])

    def load_integer(self, address: Any) -> Any:
        return self.builder.load(self.builder.inttoptr(address, self.integer.as_pointer()))

    def load_everywhere(self, address: Any) -> Any:
        """One float, in every lane."""
        value = self.builder.load(self.builder.inttoptr(address, self.real.as_pointer()))
        one = self.builder.insert_element(self._undefined, value, self._first)
        return self.builder.shuffle_vector(one, self._undefined, self._everywhere)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def weighted_sum(self, factors: Sequence[float], values: Sequence[Any]) -> Any:
        """The sum of ``factors[i] values[i]``, the factors known beforehand and not all of them 0."""
        total = None
        for factor, value in zip(factors, values, strict=True):
            if factor == 0:
                continue
            if total is None:
                total = value if factor == 1 else self.builder.fmul(self.constant(factor), value)
            elif factor == 1:
                total = self.builder.fadd(total, value)
            elif factor == -1:
                total = self.builder.fsub(total, value)
            else:
                total = self.multiply_add(self.constant(factor), value, total)
        return total

    def product(self, matrix: Sequence[Sequence[float]], values: Sequence[Any]) -> list[Any]:
        """The matrix, known beforehand, times a column of vectors.

        Two neighbouring rows that differ in signs alone are the sum and the difference of what they share; so are columns.
        """
        rows, inputs = [list(row) for row in matrix], list(values)
        results: list[Any] = []
        for i in range(len(inputs) - 1):
            pair = [row[i] for row in rows], [row[i + 1] for row in rows]
            if _differ_in_signs(*pair):
                inputs[i : i + 2] = self._sum_and_difference(*inputs[i : i + 2])
                for row in rows:
                    row[i : i + 2] = (row[i], 0) if row[i] == row[i + 1] else (0, row[i])
        while len(results) < len(rows):
            row, *others = rows[len(results) :]
            if others and _differ_in_signs(row, others[0]):
                shared = [a if a == b else 0 for a, b in zip(row, others[0], strict=True)]
                opposed = [a if a != b else 0 for a, b in zip(row, others[0], strict=True)]
                results += self._sum_and_difference(*(self.weighted_sum(part, inputs) for part in (shared, opposed)))
            else:
                results.append(self.weighted_sum(row, inputs))
        return results

    def _sum_and_difference(self, a: Any, b: Any) -> list[Any]:
        return [self.builder.fadd(a, b), self.builder.fsub(a, b)]


def _differ_in_signs(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether they have the same magnitudes, some with the same sign and some with the other."""
    signs = {p == q for p, q in zip(a, b, strict=True) if p}
    return [abs(p) for p in a] == [abs(q) for q in b] and signs == {True, False}
