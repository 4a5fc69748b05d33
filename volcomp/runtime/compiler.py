"""A compiler pipeline for numba that takes half of numba's usual time (numbers: docs/decisions/compiled-code.md).

- A `part` needs machine code only within the entries that it is linked into. Numba would optimise it, generate machine
  code and load that, although nothing calls it, and then do the same again for each entry.
- LLVM would optimise each function by itself, then all of them together. The first has no lasting effect.
- Numba would link its reference counting of arrays into everything. Loops that make no arrays need none of it.
- Some of numba's passes search for constructs that our loops do not have: closures, array expressions, `with`.
- Whenever numba looks up a function, it would compare all options one by one.
- Compilation makes no garbage before its end, so that garbage collection is a waste of time.

None of this changes what a loop computes. It was tested with the releases of numba in TRIED; other releases use numba's
own pipeline.
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
    """Numba's options, compared in one step."""

    def __hash__(self) -> int:
        return _HASH

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Flags) and self._values == other._values)


_HASH = hash(compiler.Flags())


class _Library(JITCodeLibrary):
    """The code of a loop while LLVM processes it."""

    links_runtime = True

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def add_linking_library(self, library: Any) -> None:
        """Link a library, unless it is numba's reference counting and the loop needs none."""
        if self.links_runtime or library.name != "nrt":
            super().add_linking_library(library)


class _NoEnvironment:
    """Numba's codegen, for code that is never loaded, whose environment therefore cannot be set."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, env: Any) -> None:
        """Do nothing: the entry that links the code sets the environment."""


class _PartLibrary(_Library):
    """Code that stays unoptimised LLVM code until it is linked into an entry."""

    @property
    def codegen(self) -> Any:
        """The code generator."""
        return _NoEnvironment(self._codegen)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0: there is no machine code."""
        self._ensure_finalized()
        return 0


class _EntryLibrary(_Library):
    """Code that is loaded, with all parts linked into it."""

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
    """Switch off garbage collection."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class PartCompiler(compiler.Compiler):
    """Compiles loops that only other loops call."""

    library: type[_Library] = _PartLibrary

    def __init__(
        self, typingctx: Any, targetctx: Any, library: Any, args: Any, return_type: Any, flags: Any, locals: Any
    ) -> None:
        super().__init__(typingctx, targetctx, library, args, return_type, _Flags(flags), locals)

    def define_pipelines(self) -> Any:
        """Define numba's own passes without those in NEEDLESS."""
        (default,) = super().define_pipelines()
        made = PassManager(default.pipeline_name)
        for kind, name in default.passes:
            if kind.__name__ not in NEEDLESS:
                made.add_pass(kind, name)
        made.finalize()
        return [made]

    def compile_extra(self, func: Any) -> Any:
        """Compile a function, with a library of this module's kind where numba would make its own."""
        if self.state.library is None:
            self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
            self.state.library.links_runtime = self.state.flags.nrt
            self.state.library.enable_object_caching()
        with _no_collection():
            return super().compile_extra(func)


class EntryCompiler(PartCompiler):
    """Compiles loops that Python calls."""

    library = _EntryLibrary


def of(is_part: bool) -> Any:
    """Return the `pipeline_class` for a loop."""
    has_all = hasattr(compiler.Flags(), "_values") and all(hasattr(JITCodeLibrary, name) for name in _OVERRIDDEN)
    if not numba.__version__.startswith(TRIED) or not has_all:
        return compiler.Compiler
    return PartCompiler if is_part else EntryCompiler
