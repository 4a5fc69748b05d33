"""What the speaking rooms call of the store. All methods block, and any number of threads may call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .instance import Instance
from .query import Query

Json = dict[str, Any]  # an object of the DICOM JSON model (PS3.18, annex F)


class Found(NamedTuple):
    """Results of a search: objects of the DICOM JSON model, and whether there are more beyond the limit."""

    results: list[Json]
    more: bool


class Frames(NamedTuple):
    """Frames as they are stored: their bytes, and the UID of the transfer syntax that these are in."""

    frames: list[bytes]
    syntax: str


class Table(NamedTuple):
    """A table of a header (PS3.3, C.11.1.1 and C.11.2.1.1): what `first` becomes, what `first` + 1 becomes, and so on.

    What lies before or after gets the first or the last entry. Entries are whole numbers of `bits` bits.
    """

    first: int
    entries: np.ndarray
    bits: int

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """Return what numbers become, float64 of the same shape."""
        places = np.rint(numbers).clip(self.first, self.first + len(self.entries) - 1) - self.first
        found: np.ndarray = self.entries[places.astype(np.int64)].astype(np.float64)
        return found


class Picture(NamedTuple):
    """One frame to look at: samples [y, x] or [y, x, 3], what the header says of showing them (PS3.3, C.11.2).

    slope, intercept    make values of samples; 1 and 0 where `modality` does
    window              centre and width of the header's first window, in values; None without any
    inverted            MONOCHROME1
    function            of the window: "linear", "linear-exact" or "sigmoid"
    modality            table that makes values of samples; None without any
    curve               table that makes grey levels of values, in place of a window; None without any
    """

    samples: np.ndarray
    slope: float
    intercept: float
    window: tuple[float, float] | None
    inverted: bool
    function: str = "linear"
    modality: Table | None = None
    curve: Table | None = None

    def values(self, samples: np.ndarray) -> np.ndarray:
        """Return the values of samples, float64 of the same shape."""
        if self.modality:
            return self.modality.of(samples)
        return np.asarray(samples.astype(np.float64) * self.slope + self.intercept)


class Holding(NamedTuple):
    """What an archive takes and holds, for people: see `volcomp info`."""

    archive: Path
    files: int
    raw_bytes: int
    packed_bytes: int
    voxels: int


class Store(Protocol):
    """What there is, and how it is read. Errors are those of `volcomp.errors`:
    `MissingError` for what there is not."""

    def search(self, query: Query) -> Found:
        """Return what matches, in a stable order."""
        ...

    def instances(self, study: str, series: str | None = None, sop: str | None = None) -> list[Instance]:
        """Return the instances of a study, of one of its series, or one of these, in order of their numbers.

        Raises MissingError where there is none.
        """
        ...

    def lost(self, study: str, series: str | None = None) -> int:
        """Return how many instances of a study, or of a series, are not in `instances`: archives had them that cannot
        be read now."""
        ...

    def metadata(self, instance: Instance, bulk: Callable[[str], str]) -> Json:
        """Return an instance's attributes; of long values the URI that `bulk` makes of their path ("7FE00010")."""
        ...

    def file(self, instance: Instance) -> bytes:
        """Return the stored file, byte for byte, its SHA-256 compared."""
        ...

    def frames(self, instance: Instance, numbers: Sequence[int]) -> Frames:
        """Return frames, numbered from 1, as they are stored. Raises MissingError for a number that there is not."""
        ...

    def picture(self, instance: Instance, frame: int) -> Picture:
        """Return a frame's samples. Raises UnsupportedError where they cannot be decoded here."""
        ...

    def bulk(self, instance: Instance, path: str) -> bytes:
        """Return the value at a path that `metadata` named. Raises MissingError."""
        ...

    def holdings(self, study: str | None = None, series: str | None = None) -> Iterator[Holding]:
        """Yield the archives of a study or a series, or all."""
        ...

    def damaged(self) -> dict[str, str]:
        """Return what is wrong with archives that cannot be read, by their paths in the tree."""
        ...

    def refresh(self) -> None:
        """Look at tree and inbox now, instead of when their turn comes; returns when the index is up to date."""
        ...

    def close(self) -> None:
        """Let go of files and threads."""
        ...
