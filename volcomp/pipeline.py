"""How numba compiles our loops in half of the time that it takes by itself (docs/decisions.md has the numbers).

- A `part` is machine code only within the entries that it is linked into. By itself numba optimises it, makes machine
  code of it and loads that, although nobody calls it, and then does the same again for each of the entries.
- LLVM works through functions one by one and then through all of them at once; the first changes nothing that lasts.
- Numba links what counts the holders of arrays into everything. Loops that make no arrays need none of it.
- Some of numba's passes look for what our loops have not: closures, array expressions, `with`.
- Whenever numba looks up a function, it compares all its options, one by one.
- Nothing of what compilation makes is garbage before its end, and looking for some takes time.

None of this decides what a loop computes. Where a numba is made otherwise, its own ways will do.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import compiler
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import PassManager
from numba.core.environment import lookup_environment

NEEDLESS = frozenset(
    (
        "WithLifting InlineClosureLikes RewriteDynamicRaises MakeFunctionToJitFunction InlineInlinables "
        "FindLiterallyCalls LiteralUnroll LiteralPropagationSubPipelinePass NopythonRewrites "
        "NoPythonSupportedFeatureValidation AnnotateTypes DumpParforDiagnostics"
    ).split()
)


class _Flags(compiler.Flags):
    """Numba's options, compared at once."""

    def __hash__(self) -> int:
        return _HASH

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Flags) and self._values == other._values)


_HASH = hash(compiler.Flags())


class _Library(JITCodeLibrary):
    """Code that goes to LLVM, and comes back."""

    links_runtime = True

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def add_linking_library(self, library: Any) -> None:
        if self.links_runtime or library.name != "nrt":
            super().add_linking_library(library)


class _NoEnvironment:
    """Numba's codegen, for code that is not loaded and therefore has no environment to set."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        pass


class _PartLibrary(_Library):
    @property
    def codegen(self) -> Any:
        return _NoEnvironment(self._codegen)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class _EntryLibrary(_Library):
    def _finalize_specific(self) -> None:
        super()._finalize_specific()
        for variable in self._final_module.global_variables:
            if variable.name.startswith("_ZN08NumbaEnv"):
                env = lookup_environment(variable.name)
                if env is not None:
                    self._codegen.set_env(variable.name, env)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class PartCompiler(compiler.Compiler):
    """Compiles what only other loops call."""

    library: Any = _PartLibrary

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, args: Any, return_type: Any, flags: Any, locals: Any):
        super().__init__(typingctx, targetctx, library, args, return_type, _Flags(flags), locals)

    def define_pipelines(self) -> Any:
        (default,) = super().define_pipelines()
        made = PassManager(default.pipeline_name)
        for kind, name in default.passes:
            if kind.__name__ not in NEEDLESS:
                made.add_pass(kind, name)
        made.finalize()
        return [made]

    def compile_extra(self, func: Any) -> Any:
        """As numba's own."""
        if self.state.library is None:
            codegen = self.state.targetctx.codegen()
            self.state.library = self.library(codegen, func.__qualname__)
            self.state.library.links_runtime = self.state.flags.nrt
            self.state.library.enable_object_caching()
        with _no_collection():
            return super().compile_extra(func)


class EntryCompiler(PartCompiler):
    """Compiles what Python calls."""

    library = _EntryLibrary


def of(no_cpython_wrapper: bool = False, **_: bool) -> Any:
    return PartCompiler if no_cpython_wrapper else EntryCompiler
