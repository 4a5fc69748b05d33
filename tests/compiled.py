"""Compile the kernels for sm_90 without a GPU, as `gpu/launch.py` launches them; print what each takes, and fail where
registers are spilled. Run by `test_kernels.py`; `python -m tests.compiled` prints the table."""

import re
import subprocess
import sys
import tempfile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from volcomp.gpu import kernels
from volcomp.tensors import kernels as parts

_TYPES = {
    "*i8": "matrix inputs alongs passed hidden slopes",
    "*u8": "classes context",
    "*i16": "weights cell metric",
    "*i32": "clock depth sets sources start last back flat bounds seen active scales shift head bias error mean"
    " predictions",
    "*i64": "fronts slabs base reciprocals slope count exact",
}
_TYPE = {name: kind for kind, names in _TYPES.items() for name in names.split()}
_SHARED = 113 << 10  # bytes: so that two programs fit on a processor


def build(kernel: JITFunction, known: str, **constants: object) -> tuple[int, int, int]:
    """Registers of a thread, bytes of them that are spilled, bytes of shared memory."""
    names = kernel.arg_names
    kinds = _TYPE | dict.fromkeys(constants, "constexpr") | {"known": known, "voxel": known}
    signature = {name: kinds.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(kernels.OPTIONS))
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
            (kernels.perceive, "*i16", {**sizes, "GIVEN": True, "LEARNS": True}),
            (kernels.perceive, "*i16", {**sizes, "GIVEN": False, "LEARNS": True}),
            (kernels.perceive, "*i32", {**sizes, "GIVEN": False, "LEARNS": False}),
            (kernels.learn, "*i16", {"N": n, "ROOM": room, "ROWS": kernels.ROWS, "LEARNS": True}),
        ):
            registers, spilled, shared = build(kernel, known, **constants)
            name = f"{kernel.fn.__name__} {known[1:]} {constants}"
            print(f"{name}: {registers} registers, {spilled} bytes spilled, {shared} bytes shared")
            bad += spilled > 0 or shared > _SHARED
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
