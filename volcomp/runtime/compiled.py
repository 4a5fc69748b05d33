"""How loops are compiled: by numba, when they are first called, and kept on disk.

What is called from Python is an `entry`; what only other loops call is a `part`, which is compiled into each of them
and needs nothing that makes it callable from elsewhere: half of the code of a loop over many arrays is that. Neither
may make arrays unless it says that it `allocates`: then numba counts who holds each array, in a tenth of its code.
A slice that is assigned to another is copied, so it allocates as well.

A folder that cannot be written costs time and never the work. Numba by itself raises errors when it decorates a loop
and has no such folder, when the disk is full, and when it reads a file that is cut short; here the loop is compiled and
not kept, a warning says so once, and `unkept` says it ever after.

What is not on disk may have been compiled ahead, for a class of processors (`precompiled.py`).
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

from numba import config, njit
from numba.core import event
from numba.core.caching import IndexDataCacheFile

from ..errors import UnkeptWarning, UnsupportedError
from . import compiler, precompiled

Loop = TypeVar("Loop", bound=Callable[..., Any])

REORDERED = frozenset({"reassoc", "contract"})  # sums in any order: for loops whose sums are exact in all of them
_VERSION: str = sys.modules["volcomp"].__version__  # not imported, since what volcomp imports is above
loops: list[Any] = []  # all that have code to keep, as numba's dispatchers
_reasons: list[str] = []  # why code is not kept
_said: list[str] = []  # the warning, once it has been given
_ahead: list[Path] = []  # the folder of a process that compiles ahead


@overload
def entry(loop: Loop) -> Loop: ...
@overload
def entry(*, fastmath: Collection[str] = (), allocates: bool = False, both: bool = False) -> Callable[[Loop], Loop]: ...
def entry(loop: Any = None, *, fastmath: Collection[str] = (), allocates: bool = False, both: bool = False) -> Any:
    """Compile a loop that Python calls. Other loops that call it compile it as a `part`; but if it is always called in
    `both` ways, they take what has been compiled for Python."""
    if loop is None:
        return lambda given: _entry(given, fastmath, allocates, both)
    return _entry(loop, fastmath, allocates, both)


@overload
def part(loop: Loop) -> Loop: ...
@overload
def part(*, fastmath: Collection[str] = (), allocates: bool = False) -> Callable[[Loop], Loop]: ...
def part(loop: Any = None, *, fastmath: Collection[str] = (), allocates: bool = False) -> Any:
    """Compile a loop that other loops call. Python must not: there is nothing that could take its arguments."""
    if loop is None:
        return lambda given: _part(given, fastmath, allocates)
    return _part(loop, fastmath, allocates)


def unkept() -> str | None:
    """Why compiled code is not kept, as a sentence that says what to do; None where nothing went wrong so far."""
    if not _reasons:
        return None
    return (
        f"compiled code cannot be kept ({_reasons[0]}), so that every start compiles it again: set NUMBA_CACHE_DIR to "
        "a folder that can be written and has room"
    )


def check() -> None:
    """UnsupportedError where numba has been told to leave loops as they are: those of vector instructions have no
    other form."""
    if getattr(config, "DISABLE_JIT", 0):
        raise UnsupportedError("NUMBA_DISABLE_JIT is set, and volcomp does not work without compiling: unset it")


@contextmanager
def ahead(folder: Path) -> Iterator[None]:
    """Compile all loops anew that are called, and keep their code in a folder as `precompiled.load` reads it."""
    _ahead.append(folder)
    try:
        yield
    finally:
        _ahead.remove(folder)


@contextmanager
def watched(begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Tell when numba begins to compile a loop and when it is done, in whichever thread; loops compile within each
    other. What is read from disk is not compiled."""

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
    decorate: Any = njit  # whose stated types lack some of its options
    made = compiler.of(options.get("no_cpython_wrapper", False))
    options |= {"nogil": True, "no_cfunc_wrapper": True, "_nrt": allocates}
    return decorate(fastmath=set(fastmath) or False, pipeline_class=made, **options)(loop)


def _kept(loop: Any, fastmath: Collection[str], allocates: bool) -> Any:
    """Compile a loop and keep its code, if there is a folder for it."""

    reason, made = "", None
    if _would_litter(loop):
        reason = "this user has no home"
    else:
        try:
            made = _njit(loop, fastmath, allocates, cache=True)
        except (RuntimeError, OSError):  # numba finds no folder, and says so already here
            reason = "no folder for it can be written"
    if made is None:
        _reasons.append(reason)
        made = _njit(loop, fastmath, allocates)
    if hasattr(made, "_cache"):  # else numba does not compile at all, as NUMBA_DISABLE_JIT has it
        made._cache = _Cache(made._cache, loop, reason)
        loops.append(made)
    return made


def _would_litter(loop: Any) -> bool:
    """Whether numba would make a folder called "~" in the current one: a user without a home has that for it."""
    if os.path.isabs(os.path.expanduser("~")) or os.environ.keys() & {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}:
        return False
    here = os.path.dirname(loop.__code__.co_filename)
    own = os.path.join(here, "__pycache__")
    return not os.access(own if os.path.isdir(own) else here, os.W_OK)


class _Cache:
    """Numba's cache of a loop, `inner`, whose faults leave the loop compiled and not kept; nothing is with a reason."""

    def __init__(self, inner: Any, loop: Any, reason: str) -> None:
        self._inner, self._loop, self._reason = inner, loop, reason
        if not reason:
            with suppress(AttributeError):  # of a numba that is made otherwise: then its own files will do
                # Numba looks at the loop's own file. What other files compile into it changes with the version.
                stamp = inner._cache_file._source_stamp, _VERSION
                inner._cache_file = _Files(inner.cache_path, inner._impl.filename_base, stamp)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for these types, or None. What cannot be read is compiled again, and written over."""
        if _ahead:
            return None
        for load in (self._inner.load_overload, self._load_precompiled):
            with suppress(Exception):  # of a file that is cut short, pickle raises whatever it stumbles over
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
        if not _said:
            _said.append(str(unkept()))
            warnings.warn(_said[0], UnkeptWarning, stacklevel=1)


class _Files(IndexDataCacheFile):
    """The files with the code of one loop.

    Numba counts them, so that two processes which begin at once give different code the same name, and either may find
    the other's behind it: of other types, or of another processor where machines share a home. Here the name follows
    from what the code is for.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep code under a key: types, processor, bytecode."""
        name = self._data_name_of(key)
        self._save_data(name, data)  # first: the index must not name what is not there
        self._save_index({**self._load_index(), key: name})

    def _data_name_of(self, key: Any) -> str:
        digest = hashlib.sha256(repr((key, self._source_stamp, self._version)).encode()).hexdigest()[:16]
        return str(self._data_name_pattern.replace("{number:d}", digest))

    def _load_index(self) -> dict[Any, str]:
        try:
            return dict(super()._load_index())
        except (EOFError, pickle.UnpicklingError, AttributeError, ImportError):  # cut short, or of types that are gone
            return {}
