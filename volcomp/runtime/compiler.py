"""How numba compiles our loops in half of the time that it takes by itself (numbers: docs/decisions/compiled-code.md).

- A `part` is machine code only within the entries that it is linked into. By itself numba optimises it, makes machine
  code of it and loads that, although nobody calls it, and then does the same again for each of the entries.
- LLVM works through functions one by one and then through all of them at once; the first changes nothing that lasts.
- Numba links what counts the holders of arrays into everything. Loops that make no arrays need none of it.
- Some of numba's passes look for what our loops have not: closures, array expressions, `with`.
- Whenever numba looks up a function, it compares all its options, one by one.
- Nothing of what compilation makes is garbage before its end, and looking for some takes time.

None of this decides what a loop computes. It was tried with the releases of numba in TRIED; with others, numba's own
ways will do.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import PassManager
from numba.core.environment import lookup_environment

TRIED = ("0.68.",)
NEEDLESS = (
    "WithLifting", "InlineClosureLikes", "RewriteDynamicRaises", "MakeFunctionToJitFunction", "InlineInlinables",
    "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass", "NopythonRewrites",
    "NoPythonSupportedFeatureValidation", "AnnotateTypes", "DumpParforDiagnostics",
)  # fmt: skip


class _Flags(compiler.Flags):
    """Numba's options, compared at once."""

    def __hash__(self) -> int:
        return _HASH

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Flags) and self._values == other._values)


_HASH = hash(compiler.Flags())


class _Library(JITCodeLibrary):
    """The code of a loop on its way through LLVM."""

    links_runtime = True

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def add_linking_library(self, library: Any) -> None:
        """As numba's own, but for what counts the holders of arrays."""
        if self.links_runtime or library.name != "nrt":
            super().add_linking_library(library)


class _NoEnvironment:
    """Numba's codegen, for code that is not loaded, and so has no environment that could be set."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        """Nothing; who links the code does it."""


class _PartLibrary(_Library):
    """Code that is kept as LLVM's, unoptimised, until it is linked into an entry's."""

    @property
    def codegen(self) -> Any:
        """What makes machine code."""
        return _NoEnvironment(self._codegen)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """None."""
        self._ensure_finalized()
        return 0


class _EntryLibrary(_Library):
    """Code that is loaded, with all parts that are linked into it."""

    def _finalize_specific(self) -> None:
        super()._finalize_specific()
        codegen: Any = self._codegen
        for variable in self._final_module.global_variables:  # as numba does when it reads code from disk
            if variable.name.startswith("_ZN08NumbaEnv"):
                env = lookup_environment(variable.name)
                if env is not None:
                    codegen.set_env(variable.name, env)


_OVERRIDDEN = (
    "_optimize_functions", "_optimize_final_module", "_finalize_final_module", "_finalize_specific",
    "_finalize_dynamic_globals", "_ensure_finalized", "add_linking_library", "get_pointer_to_function",
)  # fmt: skip


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let nobody look for garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class PartCompiler(compiler.Compiler):
    """Compiles what only other loops call."""

    library: type[_Library] = _PartLibrary

    def __init__(
        self, typingctx: Any, targetctx: Any, library: Any, args: Any, return_type: Any, flags: Any, locals: Any
    ) -> None:
        super().__init__(typingctx, targetctx, library, args, return_type, _Flags(flags), locals)

    def define_pipelines(self) -> Any:
        """Numba's own passes but for those that are NEEDLESS."""
        (default,) = super().define_pipelines()
        made = PassManager(default.pipeline_name)
        for kind, name in default.passes:
            if kind.__name__ not in NEEDLESS:
                made.add_pass(kind, name)
        made.finalize()
        return [made]

    def compile_extra(self, func: Any) -> Any:
        """As numba's own, which makes a library of its own kind where there is none."""
        if self.state.library is None:
            self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
            self.state.library.links_runtime = self.state.flags.nrt
            self.state.library.enable_object_caching()
        with _no_collection():
            return super().compile_extra(func)


class EntryCompiler(PartCompiler):
    """Compiles what Python calls."""

    library = _EntryLibrary


def of(is_part: bool) -> Any:
    """Numba's `pipeline_class` for a loop."""
    has_all = hasattr(compiler.Flags(), "_values") and all(hasattr(JITCodeLibrary, name) for name in _OVERRIDDEN)
    if not numba.__version__.startswith(TRIED) or not has_all:
        return compiler.Compiler
    return PartCompiler if is_part else EntryCompiler
