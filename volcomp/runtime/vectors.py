"""Vector instructions for loops that numba compiles: what LLVM does not find by itself.

`Lanes` is a vector of integers while code is being generated: its operators append instructions to LLVM's builder, so
that a kernel reads like the formula which it computes. Lanes are of any width; LLVM cuts them into the registers that
the processor has. Nothing here depends on an instruction set but `dot` and `add_pairs`, for which every set has its
own instruction. `instructions` says which set numba compiles for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
Builder = Any  # of LLVM's instructions

AVX512_VNNI, AVX_VNNI, AVX512, AVX2, DOTPROD, NONE = "avx512_vnni", "avx_vnni", "avx512", "avx2", "dotprod", "none"
SIGNED = (DOTPROD,)  # sets whose `dot` takes signed bytes on both sides


@cache
def instructions() -> str:
    """The set of vector instructions that `dot` uses, of the processor that numba compiles for: this one, unless
    NUMBA_CPU_NAME or NUMBA_CPU_FEATURES say another."""
    triple, name, stated = cpu_target.target_context.codegen().magic_tuple()
    has = {feature[1:] for feature in stated.split(",") if feature.startswith("+")}
    if triple.startswith(("aarch64", "arm64")):  # features may lack what the name implies: Linux's lack dot products
        return DOTPROD if _has_dot(triple, name, stated) else NONE
    if not triple.startswith("x86_64"):
        return NONE
    if not has:  # a processor's name alone: what LLVM makes of a sum of bytes tells the width of its vectors
        width = _width_of(triple, name)
        return AVX512 if width == 64 else AVX2 if width == 32 else NONE
    if {"avx512vnni", "avx512bw", "avx512vl"} <= has:
        return AVX512_VNNI
    if "avxvnni" in has:
        return AVX_VNNI
    if {"avx512bw", "avx512vl"} <= has:
        return AVX512
    return AVX2 if "avx2" in has else NONE


def _width_of(triple: str, name: str) -> int:
    """Bytes that the processor of this name adds at once."""
    code = "define <64 x i8> @f(<64 x i8> %x) {\n %y = add <64 x i8> %x, %x\n ret <64 x i8> %y\n}"
    text = _assembly(triple, name, "", code)
    return 64 if re.search(r"vpadd[bw].*%zmm", text) else 32 if re.search(r"vpadd[bw].*%ymm", text) else 16


def _has_dot(triple: str, name: str, features: str) -> bool:
    """Whether LLVM sums products of bytes in the instruction for that. It may not be asked for one that it thinks
    missing: that ends the process."""
    code = (
        "define i32 @f(<16 x i8> %x, <16 x i8> %y) {\n %a = sext <16 x i8> %x to <16 x i32>\n"
        " %b = sext <16 x i8> %y to <16 x i32>\n %c = mul <16 x i32> %a, %b\n"
        " %d = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %c)\n ret i32 %d\n}\n"
        "declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)"
    )
    return re.search(r"\bsdot\b", _assembly(triple, name, features, code)) is not None


def _assembly(triple: str, name: str, features: str, code: str) -> str:
    """What LLVM makes of code for a processor. The code has no pointers, which LLVM has written in two ways."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features, opt=2)
    return str(machine.emit_assembly(llvm.parse_assembly(code)))


def units() -> int:
    """How many numbers of 32 bits the kernels of this instruction set work on at a time."""
    return 16 if instructions() in (AVX512_VNNI, AVX512) else 8


class Lanes:
    """A vector of integers while code is generated. Operands are Lanes of the same type, or Python's integers."""

    def __init__(self, builder: Builder, value: Any) -> None:
        self.b, self.value = builder, value

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return int(self.value.type.count)

    def _of(self, other: Lanes | int) -> Any:
        if isinstance(other, Lanes):
            return other.value
        return ir.Constant(self.value.type, [other] * self.count)

    def __add__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.add(self.value, self._of(other)))

    def __sub__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.sub(self.value, self._of(other)))

    def __rsub__(self, other: int) -> Lanes:
        return Lanes(self.b, self.b.sub(self._of(other), self.value))

    def __mul__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.mul(self.value, self._of(other)))

    def __xor__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.xor(self.value, self._of(other)))

    def __rshift__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.ashr(self.value, self._of(other)))

    def __lshift__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.b, self.b.shl(self.value, self._of(other)))

    def __abs__(self) -> Lanes:
        return self.at_least(0 - self)

    def at_least(self, other: Lanes | int) -> Lanes:
        """The larger of both."""
        o = self._of(other)
        return Lanes(self.b, self.b.select(self.b.icmp_signed(">", self.value, o), self.value, o))

    def at_most(self, other: Lanes | int) -> Lanes:
        """The smaller of both."""
        o = self._of(other)
        return Lanes(self.b, self.b.select(self.b.icmp_signed("<", self.value, o), self.value, o))

    def within(self, low: Lanes | int, high: Lanes | int) -> Lanes:
        """Clipped."""
        return self.at_least(low).at_most(high)

    def widened(self, kind: Any = I32) -> Lanes:
        """The same numbers in more bits."""
        return Lanes(self.b, self.b.sext(self.value, ir.VectorType(kind, self.count)))

    def narrowed(self, kind: Any) -> Lanes:
        """The low bits."""
        return Lanes(self.b, self.b.trunc(self.value, ir.VectorType(kind, self.count)))

    def picked(self, lanes: Sequence[int], other: Lanes | None = None) -> Lanes:
        """Lanes of these numbers, counted on through `other`."""
        second = ir.Constant(self.value.type, ir.Undefined) if other is None else other.value
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return Lanes(self.b, self.b.shuffle_vector(self.value, second, mask))

    def chosen(self, condition: Any, other: Lanes) -> Lanes:
        """These lanes where a condition of LLVM's holds, else the others."""
        return Lanes(self.b, self.b.select(condition, self.value, other.value))

    def reaches(self, other: Lanes) -> Lanes:
        """1 where these are as large as the others, else 0."""
        return Lanes(self.b, self.b.zext(self.b.icmp_signed(">=", self.value, other.value), self.value.type))

    def masked(self, kept: Sequence[bool]) -> Lanes:
        """0 in all lanes that are not kept."""
        mask = ir.Constant(self.value.type, [-1 if keep else 0 for keep in kept])
        return Lanes(self.b, self.b.and_(self.value, mask))

    def total(self) -> Any:
        """The sum of all lanes, as a number of LLVM's."""
        kind = self.value.type
        name = f"llvm.vector.reduce.add.v{self.count}i{kind.element.width}"
        function = cgutils.get_or_insert_function(self.b.module, ir.FunctionType(kind.element, [kind]), name)
        return self.b.call(function, [self.value])


def constant(b: Builder, kind: Any, numbers: Sequence[int]) -> Lanes:
    """Lanes of these numbers."""
    return Lanes(b, ir.Constant(ir.VectorType(kind, len(numbers)), [int(n) for n in numbers]))


def spread(b: Builder, number: Any, count: int) -> Lanes:
    """So many lanes of one number."""
    kind = ir.VectorType(number.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    first = b.insert_element(undefined, number, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, count), [0] * count)
    return Lanes(b, b.shuffle_vector(first, undefined, zeros))


def place(b: Builder, address: Any, at: Any, kind: Any) -> Any:
    """A pointer to a number of this type, `at` bytes after an address."""
    pointer = b.inttoptr(address, I8.as_pointer())
    at = ir.Constant(I64, at) if isinstance(at, int) else at
    return b.bitcast(b.gep(pointer, [at]), kind.as_pointer())


def load(b: Builder, address: Any, at: Any, kind: Any, count: int) -> Lanes:
    """So many numbers from `at` bytes after an address, wherever that lies."""
    value = b.load(place(b, address, at, ir.VectorType(kind, count)))
    value.align = 1
    return Lanes(b, value)


def load_one(b: Builder, address: Any, at: Any, kind: Any) -> Any:
    """One number, as LLVM's."""
    value = b.load(place(b, address, at, kind))
    value.align = 1
    return value


def store(b: Builder, lanes: Lanes, address: Any, at: Any) -> None:
    """The inverse of `load`."""
    b.store(lanes.value, place(b, address, at, lanes.value.type)).align = 1


def _call(b: Builder, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


def dot(sums: Lanes, four: Any, weights: Lanes) -> Lanes:
    """`sums` int32, to each of which the products of four bytes with four weights int8 are added.

    four      a number of 32 bits: bytes uint8, or int8 where the set is one of SIGNED; the same four for every sum
    weights   int8 [4 · lanes], within ±64: pairs of products then fit 16 bits, where the set has no wider sums
    """
    b, count, isa = sums.b, sums.count, instructions()
    if isa == NONE:
        raise TypeError("this processor has no instruction for products of bytes that is known here")
    part = {AVX512_VNNI: 16, AVX512: 16, DOTPROD: 4}.get(isa, 8)  # sums of one register
    if count > part:
        parts = []
        for k in range(0, count, part):
            lanes, own = range(k, k + part), range(4 * k, 4 * (k + part))
            parts.append(dot(sums.picked(lanes), four, weights.picked(own)))
        return joined(parts)
    bits = 32 * count
    x = spread(b, four, count)
    bytes_of = ir.VectorType(I8, 4 * count)
    if isa in (AVX512_VNNI, AVX_VNNI):
        words = [x.value, b.bitcast(weights.value, x.value.type)]
        return Lanes(b, _call(b, f"llvm.x86.avx512.vpdpbusd.{bits}", sums.value.type, [sums.value, *words]))
    if isa == DOTPROD:
        pair = [b.bitcast(x.value, bytes_of), weights.value]
        return Lanes(b, _call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", sums.value.type, [sums.value, *pair]))
    halves = ir.VectorType(I16, 2 * count)
    name = "llvm.x86.avx512.pmaddubs.w.512" if bits == 512 else "llvm.x86.avx2.pmadd.ub.sw"
    pairs = Lanes(b, _call(b, name, halves, [b.bitcast(x.value, bytes_of), weights.value]))
    return sums + add_pairs(pairs, constant(b, I16, [1] * pairs.count))


def joined(parts: Sequence[Lanes]) -> Lanes:
    """Side by side."""
    while len(parts) > 1:
        both = zip(parts[::2], parts[1::2], strict=True)
        parts = [a.picked(range(a.count + c.count), c) for a, c in both]
    return parts[0]


def add_pairs(x: Lanes, y: Lanes) -> Lanes:
    """Products of int16, neighbouring ones added: int32 [lanes / 2]."""
    b, isa, bits = x.b, instructions(), 16 * x.count
    if isa in (AVX512_VNNI, AVX512) and bits == 512:
        return Lanes(b, _call(b, "llvm.x86.avx512.pmaddw.d.512", ir.VectorType(I32, 16), [x.value, y.value]))
    if isa not in (NONE, DOTPROD) and bits == 256:
        return Lanes(b, _call(b, "llvm.x86.avx2.pmadd.wd", ir.VectorType(I32, 8), [x.value, y.value]))
    if isa not in (NONE, DOTPROD) and bits > 256:
        half = x.count // 2
        low, high = range(half), range(half, 2 * half)
        return joined([add_pairs(x.picked(part), y.picked(part)) for part in (low, high)])
    product = x.widened() * y.widened()
    even, odd = range(0, x.count, 2), range(1, x.count, 2)
    return product.picked(even) + product.picked(odd)


def kernel(arguments: int, result: Any = None) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of numba's from a function (builder, arguments as LLVM's int64 …) that appends code; it
    returns a number of LLVM's of type `result`, an integer type of numba's, or nothing."""

    def decorate(generate: Callable[..., Any]) -> Any:
        returned = types.void if result is None else result

        @wraps(generate)
        def typed(typing_context: Any, *given: Any) -> Any:
            def code(context: Any, b: Builder, signature: Any, values: Sequence[Any]) -> Any:
                found = generate(b, *values)
                return context.get_dummy_value() if result is None else found

            return returned(*[types.int64] * arguments), code

        names = ["typing_context", *(f"argument_{k}" for k in range(arguments))]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate
