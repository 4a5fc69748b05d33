"""The kernels of `volcomp.runtime.vectors` as functions that C can call, for other processors, and what they must
compute. `test_vectors.py` compiles them for each processor, and runs those of this one.

`python -m tests.runtime.emulated` runs those for AArch64 under emulation. It needs `aarch64-linux-gnu-gcc`, a static
libc for it, and `qemu-aarch64`.
"""

import ctypes
import inspect
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from tests.runtime.kernel_checks import DOTS, PAIRS, Argument, Array, check, compiling_for
from volcomp.encoder import normal_equations
from volcomp.runtime import products, sums, vectors
from volcomp.runtime.vectors import AVX2, AVX512, AVX512_VNNI, AVX_VNNI, DOTPROD, I8, I16, I32, I64, NONE
from volcomp.stages import linear_inputs
from volcomp.stages.lstm import vector

ARM, INTEL = "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"
MOST = 10  # arguments of a kernel


class Processor(NamedTuple):
    """What is compiled for, as numba names it there; the set of `vectors` that this is; and what must be in the
    assembly of the kernels, and what must not."""

    triple: str
    name: str
    features: str
    instructions: str
    holds: str
    lacks: str | None = None


_WIDE = "+avx2,+avx512bw,+avx512vl"
PROCESSORS = {
    "AArch64": Processor(ARM, "generic", "", NONE, r"\bsmull2?\b", r"\bsdot\b"),
    "AArch64 with dot products": Processor(ARM, "generic", "+dotprod", DOTPROD, r"\bsdot\b"),
    # LLVM says no more of one that runs Linux.
    "Neoverse N1": Processor(ARM, "neoverse-n1", "+aes,+crc,+fp-armv8,+lse,+neon,-sve", DOTPROD, r"\bsdot\b"),
    "Neoverse V1": Processor(ARM, "neoverse-v1", "+neon,+sve", DOTPROD, r"\bsdot\b"),
    "Mac": Processor("arm64-apple-darwin", "apple-m1", "", DOTPROD, r"\bsdot\b"),
    "x86-64": Processor(INTEL, "x86-64", "", NONE, r"\bpmaddwd\b", "%[yz]mm"),
    "Haswell": Processor(INTEL, "haswell", "+avx2", AVX2, r"\bvpmaddubsw\b.*%ymm", "%zmm"),
    "Skylake": Processor(INTEL, "skylake-avx512", _WIDE, AVX512, r"\bvpmaddubsw\b.*%zmm", "vpdpbusd"),
    "Cascade Lake": Processor(
        INTEL, "cascadelake", f"{_WIDE},+avx512vnni", AVX512_VNNI, r"\bvpdpbusd\b.*%zmm", "vpmaddubsw"
    ),
    # It has the instruction in the older encoding alone, which reaches sixteen registers of 256 bits.
    "Alder Lake": Processor(
        INTEL, "alderlake", "+avx2,+avxvnni", AVX_VNNI, r"\{vex\}\s+vpdpbusd\b.*%ymm",
        r"vpmaddubsw|%zmm|%[xy]mm(1[6-9]|2\d|3[01])\b|(?<!\{vex\})\s+vpdpbusd",
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ compiled


def _dots(count: int) -> Callable[..., None]:
    """`dot` of so many lanes, `times` times."""

    def generate(b: Any, sums: Any, fours: Any, weights: Any, times: Any) -> None:
        with cgutils.for_range(b, times, intp=I64) as loop:
            at = b.mul(loop.index, ir.Constant(I64, 4 * count))
            four = vectors.load_one(b, fours, b.mul(loop.index, ir.Constant(I64, 4)), I32)
            before, own = vectors.load(b, sums, at, I32, count), vectors.load(b, weights, at, I8, 4 * count)
            vectors.store(b, vectors.dot(before, four, own), sums, at)

    return generate


def _pairs(count: int) -> Callable[..., None]:
    """`add_pairs` of so many lanes, `times` times."""

    def generate(b: Any, x: Any, y: Any, out: Any, times: Any) -> None:
        with cgutils.for_range(b, times, intp=I64) as loop:
            at = b.mul(loop.index, ir.Constant(I64, 2 * count))
            factors = (vectors.load(b, array, at, I16, count) for array in (x, y))
            vectors.store(b, vectors.add_pairs(*factors), out, at)

    return generate


def _kernels() -> dict[str, Callable[..., Any]]:
    """What appends the code of each kernel, for the instructions that are being compiled for."""
    units = vectors.units()
    found: dict[str, Callable[..., Any]] = {f"pairs_{count}": _pairs(count) for count in PAIRS}
    if vectors.instructions() != NONE:
        rows = units // 4  # as `products.ROWS`
        found |= {f"dots_{count}": _dots(count) for count in DOTS}
        found |= {"multiply": products._storing(rows), "multiply_one": products._storing(1)}
        found |= {"advance": vector._tile(rows, units), "advance_one": vector._tile(1, units)}
    found |= {"head": vector._weigh, "tile": sums._tile, "differences": normal_equations._differences}
    found |= {"gather": linear_inputs._gather, "reached": linear_inputs._reached}
    found |= {"weigh": linear_inputs._weigh, "activities": linear_inputs._activities}
    found |= {"make_all": linear_inputs._make_all, "make_fewer": linear_inputs._make_fewer}
    found |= {"make_referring": linear_inputs._make_referring}
    return {name: inspect.unwrap(kernel) for name, kernel in found.items()}


def module(machine: Any, triple: str) -> tuple[Any, list[str]]:
    """The kernels, optimised as numba would for this machine, and their names."""
    code = ir.Module()
    code.triple, code.data_layout = triple, str(machine.target_data)
    kernels = _kernels()
    for name, generate in kernels.items():
        groups = getattr(generate, "groups", {})
        kinds = [groups.get(parameter) for parameter in [*inspect.signature(generate).parameters][1:]]
        count = sum(1 if kind is None else len(kind._fields) for kind in kinds)
        function = ir.Function(code, ir.FunctionType(I64, [I64] * count), name)
        b = ir.IRBuilder(function.append_basic_block())
        left = iter(function.args)
        found = generate(b, *(next(left) if kind is None else kind(*islice(left, len(kind._fields))) for kind in kinds))
        b.ret(ir.Constant(I64, 0) if found is None else found if found.type == I64 else b.zext(found, I64))
    parsed = llvm.parse_assembly(str(code))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(parsed, passes)
    return parsed, list(kernels)


def machine_of(processor: Processor) -> Any:
    """LLVM's; RuntimeError where it was built without this target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(processor.triple)
    return target.create_target_machine(cpu=processor.name, features=processor.features, opt=3, reloc="pic")


class Native:
    """A `Runner` of kernels compiled for this processor with these instructions."""

    def __init__(self, instructions: str) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        triple = llvm.get_process_triple()
        machine = llvm.Target.from_triple(triple).create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
        )
        with compiling_for(instructions):
            parsed, _ = module(machine, triple)
        self._engine = llvm.create_mcjit_compiler(parsed, machine)
        self._engine.finalize_object()

    def __call__(self, name: str, *arguments: Argument) -> int:
        function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(arguments))
        pairs = [a if isinstance(a, tuple) else (a, 0) for a in arguments]
        values = [array.ctypes.data + at if isinstance(array, Array) else int(array) for array, at in pairs]
        return int(function(self._engine.get_function_address(name))(*values))


# The number of a kernel, the size of memory; for each argument a number, and whether it is a place in memory; memory.
DRIVER = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
%s
static int64_t (*const kernels[])() = {%s};
int main(void) {
    int64_t head[22], a[10];
    if (fread(head, 8, 22, stdin) != 22) return 1;
    char *memory = malloc(head[1]);
    if (fread(memory, 1, head[1], stdin) != head[1]) return 2;
    for (int k = 0; k < 10; k++) a[k] = head[2 + 2 * k] + (head[3 + 2 * k] ? (int64_t)memory : 0);
    int64_t found = kernels[head[0]](a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
    fwrite(&found, 8, 1, stdout);
    fwrite(memory, 1, head[1], stdout);
    return 0;
}
"""


class Emulated:
    """A `Runner` of kernels compiled for another processor, each call a process under `emulator`."""

    def __init__(self, processor: Processor, compiler: str, emulator: Sequence[str], folder: Path) -> None:
        machine = machine_of(processor)
        with compiling_for(processor.instructions):
            parsed, self._names = module(machine, processor.triple)
        source, built, program = folder / "driver.c", folder / "kernels.o", folder / "driver"
        built.write_bytes(machine.emit_object(parsed))
        source.write_text(DRIVER % (" ".join(f"int64_t {n}();" for n in self._names), ", ".join(self._names)))
        subprocess.run([compiler, "-O1", "-static", "-o", program, source, built], check=True)
        self._command = [*emulator, str(program)]

    def __call__(self, name: str, *arguments: Argument) -> int:
        pairs = [a if isinstance(a, tuple) else (a, 0) for a in arguments]
        places, memory = {}, bytearray()
        for array, _ in pairs:
            if isinstance(array, Array) and id(array) not in places:
                assert array.flags.c_contiguous
                memory += bytes(-len(memory) % array.itemsize)
                places[id(array)] = len(memory)
                memory += array.tobytes()
        head = [self._names.index(name), len(memory)]
        for array, at in pairs:
            head += [places[id(array)] + at, 1] if isinstance(array, Array) else [int(array), 0]
        head += [0] * (2 + 2 * MOST - len(head))
        given = np.array(head, np.int64).tobytes() + memory
        out = subprocess.run(self._command, input=given, capture_output=True, check=True).stdout
        assert len(out) == 8 + len(memory)
        for array, _ in pairs:
            if isinstance(array, Array):
                here = 8 + places[id(array)]
                array[...] = np.frombuffer(out[here : here + array.nbytes], array.dtype).reshape(array.shape)
        return int(np.frombuffer(out[:8], np.int64)[0])


def main() -> int:
    """What is run, a line each."""
    for name, processor in PROCESSORS.items():
        if processor.triple == ARM:
            with tempfile.TemporaryDirectory() as folder:
                run = Emulated(processor, "aarch64-linux-gnu-gcc", ["qemu-aarch64", "-cpu", "max"], Path(folder))
                check(run, processor.instructions)
            print(f"{name}: as numpy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
