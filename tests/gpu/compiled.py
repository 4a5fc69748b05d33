"""Compile the kernels for sm_90 without a GPU, as `gpu/launch.py` and `gpu/paper/launch.py` launch them; print what
each takes, and fail where registers are spilled. Run by `test_kernels.py`; `python -m
tests.gpu.compiled` prints the table."""

import re
import subprocess
import sys
import tempfile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from volcomp.gpu.paper import kernels as paper
from volcomp.gpu.row import kernels
from volcomp.learn import kernels as training
from volcomp.torchops import kernels as parts

_TYPES = {
    "*i8": "matrix inputs alongs passed hidden slopes",
    "*u8": "classes context",
    "*i16": "weights cell metric",
    "*i32": "clock depth sets sources start last back flat bounds seen active scales shift head bias error mean"
    " predictions",
    "*i64": "fronts slabs base reciprocals slope count exact places",
}
# Of training's kernels, where a name means another array.
_TRAINING = {
    "cells": "*i16", "z": "*i16", "d_seen": "*fp32", "recurrent": "*bf16", "dz": "*bf16", "d_hidden": "*fp32",
    "d_cell": "*fp32", "d_passed": "*fp32", "residual": "*i32", "error": "*fp32", "scale": "*i32", "depth": "i32",
}  # fmt: skip
_TYPE = {name: kind for kind, names in _TYPES.items() for name in names.split()}
# Nor are those of `paper` the others'.
_PAPER_TYPE = dict.fromkeys(["known", "shift", "bias", "head_bias", "predicted"], "*i32") | {
    "matrix": "*i8", "entrance": "*i16", "table": "*i16", "head": "*i16", "steps": "*i64", "places": "*i64",
}  # fmt: skip
_SHARED = 113 << 10  # bytes: so that two programs fit on a processor
_FEW = 16  # bytes of a thread that training's passes may spill, of 255 registers


def build(
    kernel: JITFunction, kinds: dict[str, str], options: dict[str, object], constants: dict[str, int]
) -> tuple[int, int, int]:
    """Registers of a thread, bytes of them that are spilled, bytes of shared memory."""
    names = kernel.arg_names
    kinds = kinds | dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(options))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        dump = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    stack, local, registers = (int(re.findall(rf"\b{what}:(\d+)", usage)[0]) for what in ("STACK", "LOCAL", "REG"))
    return registers, stack + local, built.metadata.shared


def main() -> int:
    """The table; 1 where a kernel spills."""
    bad = 0
    for hidden, passed in ((32, 0), (128, 0), (32, 32), (128, 64)):
        sizes = {"H": hidden, "P": passed, "BLOCK": kernels.BLOCK, "UNITS": kernels.UNITS}
        n = 64 + passed + hidden
        room = triton.next_power_of_2(n)
        for kernel, known, constants in (
            (kernels.predict, "*i16", {**sizes, "K": parts.depth_of(hidden)}),
            (kernels.predict, "*i32", {**sizes, "K": parts.depth_of(hidden)}),
            (kernels.perceive, "*i16", {**sizes, "ENCODES": True, "LEARNS": True}),
            (kernels.perceive, "*i16", {**sizes, "ENCODES": False, "LEARNS": True}),
            (kernels.perceive, "*i32", {**sizes, "ENCODES": False, "LEARNS": False}),
            (kernels.learn, "*i16", {"N": n, "PADDED": room, "ROWS": kernels.ROWS, "LEARNS": True}),
        ):
            bad += not fits(kernel, _TYPE | {"known": known, "voxel": known}, kernels.OPTIONS, constants)
    # Two blocks of a fit, one of training, a band that candidates are compared on.
    for hidden, passed, rows, blocks in ((128, 64, 16, 2), (128, 64, 32, 1), (128, 64, 64, 1), (32, 32, 16, 2)):
        units = min(parts.depth_of(hidden), training.UNIT_ELEMENTS // rows)
        sizes = {"H": hidden, "P": passed, "PER": blocks, "ROWS": rows, "UNITS": units}
        depth = {"COLUMNS": min(64, parts.depth_of(passed + hidden)), "K": parts.depth_of(4 * hidden)}
        forwards = sizes | {"K": parts.depth_of(hidden)}
        bad += not fits(training.forward, _TYPE | _TRAINING, training.OPTIONS, forwards, _FEW)
        bad += not fits(training.backward, _TYPE | _TRAINING, training.OPTIONS, sizes | depth, _FEW)
    sizes = {"PLACES": training.PLACES, "BLOCK": training.BLOCK}
    bad += not fits(training.observe, _TYPE | _TRAINING | {"known": "*i16"}, training.OBSERVING, sizes)
    bad += not fits(paper.predict, _PAPER_TYPE, paper.OPTIONS, {"BLOCK": paper.BLOCK})
    return min(bad, 1)


def fits(
    kernel: JITFunction, kinds: dict[str, str], options: dict[str, object], constants: dict[str, int], most: int = 0
) -> bool:
    """Whether it spills so many bytes at most, and leaves room for another program; prints what it takes."""
    registers, spilled, shared = build(kernel, kinds, options, constants)
    name = f"{kernel.fn.__module__}.{kernel.fn.__name__} {kinds.get('known', '')} {constants}"
    print(f"{name}: {registers} registers, {spilled} bytes spilled, {shared} bytes shared")
    return spilled <= most and shared <= _SHARED


if __name__ == "__main__":
    sys.exit(main())
