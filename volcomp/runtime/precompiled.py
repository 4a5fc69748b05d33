"""Code that was compiled before it is needed: for classes of processors, in a folder of the package.

Numba keeps code for the one processor that it was compiled on, so that every container, worker and machine compiles
for itself. A wheel, or whoever builds a container, brings code for a class instead (`volcomp precompile`), and a first
run begins at once. Nothing depends on it: what is absent, or made from other sources or by another numba, is compiled.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
from numba.core.caching import FunctionCache
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from . import vectors

_key: Any = FunctionCache._index_key
PACKAGE = Path(__file__).parents[1]
FOLDER = PACKAGE / "precompiled"
_V3 = "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sahf,+sse4.2,+xsave"
_V4 = _V3 + ",+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl"


class Target(NamedTuple):
    """A class of processors, as LLVM has it: code for it runs on all that have these features."""

    processor: str
    features: str

    def fits(self, stated: str) -> bool:
        """Whether a processor with the stated features, "+avx,-avx2…", has all of these."""
        return set(self.features.split(",")) <= set(stated.split(","))


# By the set of vector instructions that kernels are written in, since code with another set's would not be found.
TARGETS = {
    vectors.AVX2: Target("x86-64-v3", _V3),
    vectors.AVX_VNNI: Target("x86-64-v3", _V3 + ",+avxvnni"),
    vectors.AVX512: Target("x86-64-v4", _V4),
    vectors.AVX512_VNNI: Target("x86-64-v4", _V4 + ",+avx512vnni"),
}


def runnable() -> list[str]:
    """The classes, by their vector instructions, of which this processor is one."""
    stated = cpu_target.target_context.codegen().magic_tuple()[2]
    return [name for name, target in TARGETS.items() if target.fits(stated)]


def own() -> str | None:
    """The class whose code serves here: with the vector instructions that kernels take."""
    name = vectors.instructions()
    return name if name in runnable() else None


def place(name: str) -> Path:
    """The folder for a class: of these sources, this Python and this numba."""
    return FOLDER / f"{series(name)}{_sources()[:16]}"


def series(name: str) -> str:
    """What the names of a class's folders begin with, for this Python, whatever they were made from."""
    return f"{name}.py{sys.version_info[0]}{sys.version_info[1]}."


def load(loop: Any, types: Any, context: Any) -> CompileResult | None:
    """The code of a Python function for these types of numba's; None if there is none."""
    name = own()
    if name is None or not FOLDER.exists():
        return None
    try:
        data = (place(name) / _file(loop, types)).read_bytes()
    except OSError:
        return None
    return CompileResult._rebuild(context, *pickle.loads(data))


def save(folder: Path, loop: Any, types: Any, result: CompileResult) -> None:
    """Keep what a process that compiles for a class has made."""
    (folder / _file(loop, types)).write_bytes(dumps(result._reduce()))


def _file(loop: Any, types: Any) -> str:
    """A file's name: the loop's, and a digest of the rest that its code depends on."""
    codegen = cpu_target.target_context.codegen()
    # Numba's own key, of which the processor is the one part that differs: types, what loop it is.
    types, _, body = _key(_Keyed(loop), types, codegen)
    digest = hashlib.sha256(repr((types, codegen.magic_tuple()[0], body)).encode()).hexdigest()[:32]
    return f"{loop.__module__}.{loop.__name__}.{digest}"


class _Keyed:
    """What numba reads of a cache when it makes a key."""

    def __init__(self, loop: Any) -> None:
        self._py_func = loop


@cache
def _sources() -> str:
    """Digest of numba's version and of the package's code, any of which may have been compiled into a loop."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        digest.update(f" {path.relative_to(PACKAGE).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()
