"""Code that is compiled ahead, for classes of processors, in a folder of the package.

Numba keeps code for the one processor that it was compiled on, so every container, worker and machine would compile its
own. A wheel, or the build of a container (`volcomp precompile`), provides code for a class of processors instead, so
that a first run starts at once. Nothing depends on it: code that is absent, or that was made from other sources or by
another numba, is compiled when it is needed.
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
    """A class of processors in LLVM's terms: its code runs on every processor with these features."""

    processor: str
    features: str

    def fits(self, stated: str) -> bool:
        """Return whether a processor with the stated features, "+avx,-avx2…", has all of these."""
        return set(self.features.split(",")) <= set(stated.split(","))


# By the set of vector instructions of the kernels, since code for another set would not be found.
TARGETS = {
    vectors.AVX2: Target("x86-64-v3", _V3),
    vectors.AVX_VNNI: Target("x86-64-v3", _V3 + ",+avxvnni"),
    vectors.AVX512: Target("x86-64-v4", _V4),
    vectors.AVX512_VNNI: Target("x86-64-v4", _V4 + ",+avx512vnni"),
}


def runnable() -> list[str]:
    """List the classes that this processor belongs to, by their vector instructions."""
    stated = cpu_target.target_context.codegen().magic_tuple()[2]
    return [name for name, target in TARGETS.items() if target.fits(stated)]


def own() -> str | None:
    """Return the class whose code runs here, with the vector instructions of the kernels; None if there is none."""
    name = vectors.instructions()
    return name if name in runnable() else None


def place(name: str) -> Path:
    """Return the folder of a class, for these sources, this Python and this numba."""
    return FOLDER / f"{series(name)}{_sources()[:16]}"


def series(name: str) -> str:
    """Return the prefix of the names of a class's folders, for this Python and any sources."""
    return f"{name}.py{sys.version_info[0]}{sys.version_info[1]}."


def load(loop: Any, types: Any, context: Any) -> CompileResult | None:
    """Load the code of a Python function for these numba types; None if there is none."""
    name = own()
    if name is None or not FOLDER.exists():
        return None
    try:
        data = (place(name) / _file(loop, types)).read_bytes()
    except OSError:
        return None
    return CompileResult._rebuild(context, *pickle.loads(data))


def save(folder: Path, loop: Any, types: Any, result: CompileResult) -> None:
    """Keep the code of a loop, in a process that compiles for a class."""
    (folder / _file(loop, types)).write_bytes(dumps(result._reduce()))


def _file(loop: Any, types: Any) -> str:
    """Name a file: the name of the loop, and a digest of everything else that its code depends on."""
    codegen = cpu_target.target_context.codegen()
    # Numba's own key has the types, the processor and the bytecode; the processor is left out.
    types, _, body = _key(_Keyed(loop), types, codegen)
    digest = hashlib.sha256(repr((types, codegen.magic_tuple()[0], body)).encode()).hexdigest()[:32]
    return f"{loop.__module__}.{loop.__name__}.{digest}"


class _Keyed:
    """The attributes of a cache that numba reads to make a key."""

    def __init__(self, loop: Any) -> None:
        self._py_func = loop


@cache
def _sources() -> str:
    """Compute a digest of numba's version and of all sources of the package, since a loop may contain code of any."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        digest.update(f" {path.relative_to(PACKAGE).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()
