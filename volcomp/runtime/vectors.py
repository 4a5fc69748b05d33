"""Vector instructions for loops that numba compiles, where LLVM does not find them by itself.

`Lanes` is a vector of integers during code generation. Its operators append instructions to LLVM's builder, so that a
kernel reads like the formula that it computes. A vector may have any width; LLVM splits it into registers of the
processor. Only `dot` and `add_pairs` depend on the instruction set, which has its own instruction for each.
`instructions` returns the set that numba compiles for.
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
SIGNED = (DOTPROD,)  # sets whose `dot` multiplies signed bytes by signed bytes


@cache
def instructions() -> str:
    """Return the set of vector instructions for `dot`, of the processor that numba compiles for: this one, unless
    NUMBA_CPU_NAME or NUMBA_CPU_FEATURES name another."""
    triple, name, stated = cpu_target.target_context.codegen().magic_tuple()
    has = {feature[1:] for feature in stated.split(",") if feature.startswith("+")}
    if triple.startswith(("aarch64", "arm64")):  # Linux's features lack dot products even if the name implies them
        return DOTPROD if _has_dot(triple, name, stated) else NONE
    if not triple.startswith("x86_64"):
        return NONE
    if not has:  # only a name: LLVM's code for a sum of bytes shows the width of its vectors
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
    """Return how many bytes the processor of this name adds in one instruction."""
    code = "define <64 x i8> @f(<64 x i8> %x) {\n %y = add <64 x i8> %x, %x\n ret <64 x i8> %y\n}"
    text = _assembly(triple, name, "", code)
    return 64 if re.search(r"vpadd[bw].*%zmm", text) else 32 if re.search(r"vpadd[bw].*%ymm", text) else 16


def _has_dot(triple: str, name: str, features: str) -> bool:
    """Return whether LLVM sums products of bytes with a dot instruction. LLVM ends the process when told to emit an
    instruction that it thinks the processor lacks, so this looks at its own choice."""
    code = (
        "define i32 @f(<16 x i8> %x, <16 x i8> %y) {\n %a = sext <16 x i8> %x to <16 x i32>\n"
        " %b = sext <16 x i8> %y to <16 x i32>\n %c = mul <16 x i32> %a, %b\n"
        " %d = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %c)\n ret i32 %d\n}\n"
        "declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)"
    )
    return re.search(r"\bsdot\b", _assembly(triple, name, features, code)) is not None


def _assembly(triple: str, name: str, features: str, code: str) -> str:
    """Compile LLVM code to assembly for a processor. The code has no pointers, whose syntax differs between LLVMs."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features, opt=2)
    return str(machine.emit_assembly(llvm.parse_assembly(code)))


def units() -> int:
    """Return how many 32-bit numbers the kernels of this instruction set process at a time."""
    return 16 if instructions() in (AVX512_VNNI, AVX512) else 8


class Lanes:
    """A vector of integers during code generation. Operands are Lanes of the same type, or Python's integers."""

    def __init__(self, builder: Builder, value: Any) -> None:
        self.b, self.value = builder, value

    @property
    def count(self) -> int:
        """Number of lanes."""
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
        """Take the larger of both, lane by lane."""
        o = self._of(other)
        return Lanes(self.b, self.b.select(self.b.icmp_signed(">", self.value, o), self.value, o))

    def at_most(self, other: Lanes | int) -> Lanes:
        """Take the smaller of both, lane by lane."""
        o = self._of(other)
        return Lanes(self.b, self.b.select(self.b.icmp_signed("<", self.value, o), self.value, o))

    def within(self, low: Lanes | int, high: Lanes | int) -> Lanes:
        """Clip to low … high."""
        return self.at_least(low).at_most(high)

    def widened(self, kind: Any = I32) -> Lanes:
        """Sign-extend to more bits."""
        return Lanes(self.b, self.b.sext(self.value, ir.VectorType(kind, self.count)))

    def narrowed(self, kind: Any) -> Lanes:
        """Keep the low bits."""
        return Lanes(self.b, self.b.trunc(self.value, ir.VectorType(kind, self.count)))

    def picked(self, lanes: Sequence[int], other: Lanes | None = None) -> Lanes:
        """Select lanes by number. Numbers continue into `other`."""
        second = ir.Constant(self.value.type, ir.Undefined) if other is None else other.value
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return Lanes(self.b, self.b.shuffle_vector(self.value, second, mask))

    def chosen(self, condition: Any, other: Lanes) -> Lanes:
        """Take these lanes where a condition, an LLVM value, holds, and the others elsewhere."""
        return Lanes(self.b, self.b.select(condition, self.value, other.value))

    def reaches(self, other: Lanes) -> Lanes:
        """Return 1 where these are at least the others, else 0."""
        return Lanes(self.b, self.b.zext(self.b.icmp_signed(">=", self.value, other.value), self.value.type))

    def masked(self, kept: Sequence[bool]) -> Lanes:
        """Set all lanes that are not kept to 0."""
        mask = ir.Constant(self.value.type, [-1 if keep else 0 for keep in kept])
        return Lanes(self.b, self.b.and_(self.value, mask))

    def total(self) -> Any:
        """Sum all lanes, as a scalar LLVM value."""
        kind = self.value.type
        name = f"llvm.vector.reduce.add.v{self.count}i{kind.element.width}"
        function = cgutils.get_or_insert_function(self.b.module, ir.FunctionType(kind.element, [kind]), name)
        return self.b.call(function, [self.value])


def constant(b: Builder, kind: Any, numbers: Sequence[int]) -> Lanes:
    """Make constant lanes."""
    return Lanes(b, ir.Constant(ir.VectorType(kind, len(numbers)), [int(n) for n in numbers]))


def spread(b: Builder, number: Any, count: int) -> Lanes:
    """Repeat one number in `count` lanes."""
    kind = ir.VectorType(number.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    first = b.insert_element(undefined, number, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, count), [0] * count)
    return Lanes(b, b.shuffle_vector(first, undefined, zeros))


def place(b: Builder, address: Any, at: Any, kind: Any) -> Any:
    """Make a pointer to a number of type `kind`, `at` bytes after an address."""
    pointer = b.inttoptr(address, I8.as_pointer())
    at = ir.Constant(I64, at) if isinstance(at, int) else at
    return b.bitcast(b.gep(pointer, [at]), kind.as_pointer())


def load(b: Builder, address: Any, at: Any, kind: Any, count: int) -> Lanes:
    """Load `count` numbers from `at` bytes after an address of any alignment."""
    value = b.load(place(b, address, at, ir.VectorType(kind, count)))
    value.align = 1
    return Lanes(b, value)


def load_one(b: Builder, address: Any, at: Any, kind: Any) -> Any:
    """Load one number, as a scalar LLVM value."""
    value = b.load(place(b, address, at, kind))
    value.align = 1
    return value


def store(b: Builder, lanes: Lanes, address: Any, at: Any) -> None:
    """Store lanes `at` bytes after an address of any alignment."""
    b.store(lanes.value, place(b, address, at, lanes.value.type)).align = 1


def _call(b: Builder, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), arguments)


def dot(sums: Lanes, four: Any, weights: Lanes) -> Lanes:
    """Add to each of `sums` int32 the products of four bytes with four weights int8.

    four      a 32-bit number of four bytes, the same for every sum: uint8, or int8 if the set is one of SIGNED
    weights   int8 [4 · lanes], within ±64, so that pairs of products fit 16 bits in sets without wider sums
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
    """Concatenate vectors."""
    while len(parts) > 1:
        both = zip(parts[::2], parts[1::2], strict=True)
        parts = [a.picked(range(a.count + c.count), c) for a, c in both]
    return parts[0]


def add_pairs(x: Lanes, y: Lanes) -> Lanes:
    """Multiply int16 lanes, and add neighbouring products: int32 [lanes / 2]."""
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


def kernel(arguments: int, result: Any = None, **groups: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a numba intrinsic from a function (builder, arguments as LLVM int64 …) that appends code. The function
    returns an LLVM value of `result`, an integer type of numba, or nothing. The arguments named in `groups` are named
    tuples of integers, of the given classes."""

    def decorate(generate: Callable[..., Any]) -> Any:
        returned = types.void if result is None else result
        kinds = [groups.get(name) for name in [*inspect.signature(generate).parameters][1:]]

        @wraps(generate)
        def typed(typing_context: Any, *given: Any) -> Any:
            def code(context: Any, b: Builder, signature: Any, values: Sequence[Any]) -> Any:
                grouped = []
                for kind, own, value in zip(kinds, signature.args, values, strict=True):
                    if kind is None:
                        grouped.append(value)
                    else:
                        fields = zip(cgutils.unpack_tuple(b, value), own.types, strict=True)
                        grouped.append(kind(*(context.cast(b, field, of, types.int64) for field, of in fields)))
                found = generate(b, *grouped)
                return context.get_dummy_value() if result is None else found

            pairs = zip(kinds, given, strict=True)
            return returned(*(types.int64 if kind is None else own for kind, own in pairs)), code

        generate.groups = groups  # type: ignore[attr-defined]  # for tests, which call the function otherwise
        names = ["typing_context", *(f"argument_{k}" for k in range(arguments))]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate
