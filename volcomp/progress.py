"""What is shown while the work goes on: progress bars on a terminal, silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_silent = False


def printable(text: str) -> str:
    """`text` on one line and free of control characters and lone surrogates, which file names may hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def silence() -> None:
    """No more bars from this process: it works for a batch, which has one of its own."""
    global _silent
    _silent = True


@contextmanager
def progress_bar(label: str, voxels: int) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of voxels done; shows voxels per second and the time left."""
    if _silent or not sys.stderr.isatty() or voxels == 0:
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(total=voxels, desc=label, unit="voxel", unit_scale=True, leave=False, file=sys.stderr) as bar:
        yield bar.update


class SeriesBar:
    """The bar of a batch; `bar` is tqdm's, or None in a pipe."""

    def __init__(self, bar: Any, state: Callable[[], str]) -> None:
        self._bar, self._state = bar, state

    def show(self) -> None:
        """Show the state as it is now."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._state())

    def advance(self) -> None:
        """One series more is over."""
        if self._bar is not None:
            self._bar.update()
            self.show()

    def say(self, line: str) -> None:
        """A line on standard error, above the bar."""
        line = printable(line)
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)


@contextmanager
def series_bar(count: int, state: Callable[[], str]) -> Iterator[SeriesBar]:
    """A bar over so many series, with what `state` says beside it."""
    if not sys.stderr.isatty() or count == 0:
        yield SeriesBar(None, state)
        return
    from tqdm import tqdm

    with tqdm(total=count, desc="series", unit="series", leave=False, dynamic_ncols=True, file=sys.stderr) as bar:
        yield SeriesBar(bar, state)
