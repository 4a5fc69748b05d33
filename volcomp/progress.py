"""Progress bars on a terminal; in a pipe or a log nothing but that a long wait has begun."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread, current_thread, main_thread
from typing import Any

from .errors import UnkeptWarning

_silent = False
_bars: list[Any] = []  # of tqdm, now on the terminal
_interrupts: list[int] = []  # signals that the work was told of; see `remember_interrupt`


def printable(text: str) -> str:
    """Return `text` on one line, with control characters and lone surrogates, which file names may hold, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def silence() -> None:
    """Show no more bars and no warnings of unkept code in this process: it works for a batch, which has its own bar."""
    global _silent
    _silent = True
    warnings.filterwarnings("ignore", category=UnkeptWarning)


def remember_interrupt(number: int) -> None:
    """Note a signal that was raised as KeyboardInterrupt.

    Python drops an exception that comes while an object is being removed, and some modules catch everything while they
    are imported. So the exception is raised again when work that goes on reports its progress.
    """
    _interrupts.append(number)


def heed_interrupts() -> None:
    """Raise KeyboardInterrupt on the main thread where a signal was heard, and the work went on all the same."""
    if _interrupts and current_thread() is main_thread():
        raise KeyboardInterrupt


@contextmanager
def progress_bar(label: str, voxels: int, unit: str = "voxel") -> Iterator[Callable[[int], None]]:
    """Show voxels (or other units) per second and the time left; yield a function to call with the number done."""
    if _silent or not sys.stderr.isatty() or voxels == 0:
        yield lambda done: heed_interrupts()
        return
    from tqdm import tqdm

    with tqdm(total=voxels, desc=label, unit=unit, unit_scale=True, leave=False, file=sys.stderr) as bar:
        _bars.append(bar)

        def update(done: int) -> None:
            bar.update(done)
            heed_interrupts()

        try:
            yield update
        finally:
            _bars.remove(bar)


class Wait:
    """Shows what the program waits for, on a terminal also for how long, from the first second on.

    The text is the label of the progress bar, or without a bar a line of its own, cleared when the wait ends. Where
    standard error is no terminal, it is one line, after some seconds. Used as a context, also several times, of which
    one writes that line. Waits may overlap, on several threads.
    """

    PATIENCE, STEP = 1.0, 0.25  # seconds: before the first text, and between updates
    PATIENCE_OF_LOGS = 4.0  # seconds before the line that stays

    def __init__(self, what: Callable[[], str]) -> None:
        self._what = what
        self._lock, self._over = Lock(), Event()
        self._depth, self._since = 0, 0.0  # waits now, and when the first of them began
        self._before = 0.0  # seconds of earlier waits
        self._bar: Any = None  # that shows the text now
        self._label = ""  # its label at other times
        self._drawn = 0  # columns of the line
        self._logged = False  # whether the line that stays is written
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Begin a wait."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._since = time.perf_counter()

    def end(self) -> None:
        """End a wait."""
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._before += time.perf_counter() - self._since

    def __enter__(self) -> Wait:
        self._over.clear()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        self._clear()

    def _watch(self) -> None:
        while not self._over.wait(self.STEP):
            with self._lock:
                waited = self._before + time.perf_counter() - self._since if self._depth else 0.0
            if not sys.stderr.isatty():
                self._log(waited)
            elif waited >= self.PATIENCE:
                self._draw(f"{self._what()}: {waited:.0f} s")
            else:
                self._clear()

    def _log(self, waited: float) -> None:
        if waited >= self.PATIENCE_OF_LOGS and not self._logged:
            self._logged = True
            print(f"volcomp: {self._what()}; this may take a minute", file=sys.stderr, flush=True)

    def _draw(self, line: str) -> None:
        bar = _bars[-1] if _bars else None
        if bar is not self._bar or (bar is not None and self._drawn):
            self._clear()
        if bar is not None:
            if self._bar is None:
                self._bar, self._label = bar, bar.desc
            bar.set_description_str(line)
        else:
            sys.stderr.write("\r" + line.ljust(self._drawn))
            sys.stderr.flush()
            self._drawn = len(line)

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r" + " " * self._drawn + "\r")
            sys.stderr.flush()
            self._drawn = 0
            for bar in _bars:  # which may be new
                bar.refresh()
        if self._bar is not None:
            if self._bar in _bars:
                self._bar.set_description_str(self._label)
            self._bar = None


class SeriesBar:
    """The bar of a batch; `bar` is of tqdm, or None in a pipe."""

    def __init__(self, bar: Any, state: Callable[[], str]) -> None:
        self._bar, self._state = bar, state

    def show(self) -> None:
        """Show the current state."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._state())

    def advance(self) -> None:
        """Count one more series as finished."""
        heed_interrupts()
        if self._bar is not None:
            self._bar.update()
            self.show()

    def write_line(self, line: str) -> None:
        """Write a line to standard error, above the bar."""
        line = printable(line)
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)


@contextmanager
def series_bar(count: int, state: Callable[[], str]) -> Iterator[SeriesBar]:
    """Show a bar of `count` series, with the text of `state` beside it."""
    if not sys.stderr.isatty() or count == 0:
        yield SeriesBar(None, state)
        return
    from tqdm import tqdm

    with tqdm(total=count, desc="series", unit="series", leave=False, dynamic_ncols=True, file=sys.stderr) as bar:
        yield SeriesBar(bar, state)
