"""Compile loops with numba when they are first called, and keep the code on disk.

A loop that Python calls is an `entry`. A loop that only other loops call is a `part`: it is compiled into each of them
and has no wrapper for Python, which would be half of the code of a loop over many arrays. Neither may make arrays
unless it is declared with `allocates`: numba then counts references to each array, in a tenth of the loop's code. The
assignment of a slice to another slice copies it, so it allocates as well.

A folder that cannot be written costs time, but never stops the work. By itself, numba raises errors when it has no
folder for a loop that it decorates, when the disk is full, and when it reads a truncated file. Here the loop is then
compiled and not kept, one warning is given, and `unkept` returns the reason from then on.

Code that is not on disk may have been compiled ahead, for a class of processors (`precompiled.py`).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, overload

from numba import config, njit, typeof
from numba.core import event
from numba.core.caching import IndexDataCacheFile

from ..errors import UnkeptWarning, UnsupportedError
from . import compiler, precompiled

Loop = TypeVar("Loop", bound=Callable[..., Any])

REORDERED = frozenset({"reassoc", "contract"})  # sums in any order: for loops whose sums are exact in every order
_VERSION: str = sys.modules["volcomp"].__version__  # not imported, since volcomp imports this module
loops: list[Any] = []  # all loops whose code is kept, as dispatchers of numba
_reasons: list[str] = []  # why code is not kept
_given_warnings: list[str] = []  # the warning, once given
_ahead: list[Path] = []  # the folder, in a process that compiles ahead


@overload
def entry(loop: Loop) -> Loop: ...
@overload
def entry(*, fastmath: Collection[str] = (), allocates: bool = False, both: bool = False) -> Callable[[Loop], Loop]: ...
def entry(loop: Any = None, *, fastmath: Collection[str] = (), allocates: bool = False, both: bool = False) -> Any:
    """Compile a loop that Python calls. Other loops that call it compile it again as a `part`. With `both`, for loops
    that always have callers of both kinds, they use the code compiled for Python instead."""
    if loop is None:
        return lambda given: _entry(given, fastmath, allocates, both)
    return _entry(loop, fastmath, allocates, both)


@overload
def part(loop: Loop) -> Loop: ...
@overload
def part(*, fastmath: Collection[str] = (), allocates: bool = False) -> Callable[[Loop], Loop]: ...
def part(loop: Any = None, *, fastmath: Collection[str] = (), allocates: bool = False) -> Any:
    """Compile a loop that only other loops call. Python cannot call it: it has no wrapper for Python's arguments."""
    if loop is None:
        return lambda given: _part(given, fastmath, allocates)
    return _part(loop, fastmath, allocates)


def code_for(loop: Loop, *arguments: Any) -> Loop:
    """Return the compiled code of an entry for arguments of these types; compile it if necessary.

    For calls that are made thousands of times, always with the same types, which are not looked at again: an entry
    finds its code in ten times as long as a call with named tuples of arrays takes otherwise.
    """
    code: Any = loop
    return code.compile(tuple(map(typeof, arguments))) if hasattr(code, "compile") else code


def unkept() -> str | None:
    """Return why compiled code is not kept, as a sentence with advice; None if nothing has gone wrong so far."""
    if not _reasons:
        return None
    return (
        f"compiled code cannot be kept ({_reasons[0]}), so that every start compiles it again: set NUMBA_CACHE_DIR to "
        "a folder that can be written and has room"
    )


def check() -> None:
    """Raise UnsupportedError if NUMBA_DISABLE_JIT is set: loops of vector instructions cannot run uncompiled."""
    if getattr(config, "DISABLE_JIT", 0):
        raise UnsupportedError("NUMBA_DISABLE_JIT is set, and volcomp does not work without compiling: unset it")


@contextmanager
def ahead(folder: Path) -> Iterator[None]:
    """Compile every loop that is called anew, and keep its code in a folder for `precompiled.load`."""
    _ahead.append(folder)
    try:
        yield
    finally:
        _ahead.remove(folder)


@contextmanager
def watched(begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Call `begin` when numba starts to compile a loop, in any thread, and `end` when it has finished. Calls nest,
    because a loop compiles the loops that it calls. Code that is read from disk is not compiled."""

    class Listener(event.Listener):
        def on_start(self, happened: Any) -> None:
            begin()

        def on_end(self, happened: Any) -> None:
            end()

    with event.install_listener("numba:compile", Listener()):
        yield


def _entry(loop: Any, fastmath: Collection[str], allocates: bool, both: bool) -> Any:
    made = _kept(loop, fastmath, allocates)
    if not both and hasattr(made, "get_call_template") and hasattr(made, "get_overload"):
        own = _part(loop, fastmath, allocates)
        made.get_call_template, made.get_overload = own.get_call_template, own.get_overload
    return made


def _part(loop: Any, fastmath: Collection[str], allocates: bool) -> Any:
    return _njit(loop, fastmath, allocates, no_cpython_wrapper=True)


def _njit(loop: Any, fastmath: Collection[str], allocates: bool, **options: bool) -> Any:
    decorate: Any = njit  # its type annotations lack some of its options
    made = compiler.of(options.get("no_cpython_wrapper", False))
    options |= {"nogil": True, "no_cfunc_wrapper": True, "_nrt": allocates}
    return decorate(fastmath=set(fastmath) or False, pipeline_class=made, **options)(loop)


def _kept(loop: Any, fastmath: Collection[str], allocates: bool) -> Any:
    """Compile a loop, and keep its code if there is a folder for it."""
    reason, made = "", None
    if _would_litter(loop):
        reason = "this user has no home"
    else:
        try:
            made = _njit(loop, fastmath, allocates, cache=True)
        except (RuntimeError, OSError):  # numba finds no folder, and raises already here
            reason = "no folder for it can be written"
    if made is None:
        _reasons.append(reason)
        made = _njit(loop, fastmath, allocates)
    if hasattr(made, "_cache"):  # else NUMBA_DISABLE_JIT is set, and numba does not compile
        made._cache = _Cache(made._cache, loop, reason)
        loops.append(made)
    return made


def _would_litter(loop: Any) -> bool:
    """Return whether numba would make a folder "~" in the current one, as it does for users without a home."""
    if os.path.isabs(os.path.expanduser("~")) or os.environ.keys() & {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}:
        return False
    here = os.path.dirname(loop.__code__.co_filename)
    own = os.path.join(here, "__pycache__")
    return not os.access(own if os.path.isdir(own) else here, os.W_OK)


class _Cache:
    """Numba's cache of a loop, `inner`. After an error, or with a reason, the loop is compiled and not kept."""

    def __init__(self, inner: Any, loop: Any, reason: str) -> None:
        self._inner, self._loop, self._reason = inner, loop, reason
        if not reason:
            with suppress(AttributeError):  # if numba differs inside: then use its own files
                # Numba checks the loop's own file only. The version stands for the other files compiled into it.
                stamp = inner._cache_file._source_stamp, _VERSION
                inner._cache_file = _Files(inner.cache_path, inner._impl.filename_base, stamp)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load the code for these types, or return None. Unreadable code is compiled again and overwritten."""
        if _ahead:
            return None
        for load in (self._inner.load_overload, self._load_precompiled):
            with suppress(Exception):  # pickle may raise any exception on a truncated file
                if (code := load(sig, target_context)) is not None:
                    return code
        return None

    def _load_precompiled(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        return precompiled.load(self._loop, sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for these types."""
        for folder in _ahead:
            precompiled.save(folder, self._loop, sig, data)
        if _ahead:
            return
        reason = self._reason
        if not reason:
            try:
                self._inner.save_overload(sig, data)
                return
            except OSError as error:
                reason = error.strerror or type(error).__name__
            _reasons.append(reason)
        if not _given_warnings:
            _given_warnings.append(str(unkept()))
            warnings.warn(_given_warnings[0], UnkeptWarning, stacklevel=1)


class _Files(IndexDataCacheFile):
    """The files with the code of one loop.

    Numba numbers them, so two processes that start at once may give the same name to different code, and one of them
    may load the code of the other: for other types, or for another processor if machines share a home. Here the name
    is a digest of what the code is for.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep code under a key: types, processor, bytecode."""
        name = self._data_name_of(key)
        self._save_data(name, data)  # first, since the index must not name a missing file
        self._save_index({**self._load_index(), key: name})

    def _data_name_of(self, key: Any) -> str:
        digest = hashlib.sha256(repr((key, self._source_stamp, self._version)).encode()).hexdigest()[:16]
        return str(self._data_name_pattern.replace("{number:d}", digest))

    def _load_index(self) -> dict[Any, str]:
        try:
            return dict(super()._load_index())
        except (
            EOFError,
            pickle.UnpicklingError,
            AttributeError,
            ImportError,
        ):  # truncated, or of unknown types
            return {}
