"""Open an archive as lazy arrays: the library's front door to voxels."""

from __future__ import annotations

import io
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from ..archive.beside import Headers
from ..archive.entry import Entry, Voxels
from ..archive.manifest import Manifest, has_manifest
from ..archive.opening import Source, contents_of, manifest_of, readable, source_of
from ..archive.remote import Remote
from ..container.sections import Reader
from ..container.volume import volume_numbers
from ..errors import UnsupportedError
from ..options import DecodeOptions
from .positioned import positioned
from .shared import Files
from .volume import Volume

CACHE_BYTES = 1 << 26  # of decoded slabs: one of 32 slices of 1024², 16 bits


class MissingError(UnsupportedError, KeyError, AttributeError):
    """An archive has no volume of a name, or several where one was asked for."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show quotes


def open(
    source: str | os.PathLike[str] | bytes | BinaryIO, *, threads: int | None = None, device: str = "auto",
    cache_bytes: int = CACHE_BYTES,
) -> Archive:  # fmt: skip
    """Open an archive, or the `.vcz` of arrays, as lazy arrays: slabs are decoded when they are asked for.

    An archive of one volume behaves as that volume: it has `shape`, `dtype`, `affine` and all else of `Volume`, is
    indexed like an array, and `np.asarray` takes it. Of several, `archive.volumes` has each by its name. Only the index
    and the lists of files are read at once. A slab is decoded as a whole, since its voxels predict each other.

    Parameters:
        source: a path; a URL such as "https://…" or "s3://…", of which parts are fetched (`pip install
            'volcomp[remote]'`); the bytes of an archive; or a binary file, which stays open.
        threads, device: see `options.DecodeOptions`. One slab takes one thread.
        cache_bytes: how many bytes of decoded slabs to hold for the next access, of all volumes together.

    Returns:
        The archive, to be closed, or used by `with`.

    Raises:
        DamagedError: its index or its lists of files are damaged. Of a slab it is raised when the slab is read.
        UnsupportedError: it cannot be read, or needs a later version.

    Example:
        >>> import io, numpy as np, volcomp
        >>> data = volcomp.compress(np.arange(2000, dtype=np.int16).reshape(20, 10, 10))
        >>> with volcomp.open(data) as volume:
        ...     volume.shape, volume[4, 0, 0].item(), volume[-1:, ::5, 3].tolist()
        ((20, 10, 10), 400, [[1903, 1953]])
    """
    place = source_of(source) if isinstance(source, str | os.PathLike) else source
    return Archive(place, DecodeOptions(threads, device), cache_bytes)


class Archive:
    """An open archive: its volumes by name, and itself as a volume where it has one. See `volcomp.open`.

    `len` and iteration are those of the one volume; of several, the number of volumes, and the volumes.
    """

    def __init__(self, source: Source | bytes, options: DecodeOptions, cache_bytes: int) -> None:
        """Use `volcomp.open`."""
        with ExitStack() as stack:
            place = source if isinstance(source, Path | Remote) else None
            name = _name_of(source)
            if isinstance(source, bytes):
                file: BinaryIO = io.BytesIO(source)
            elif not place and source.seekable():  # type: ignore[union-attr]
                file = source  # type: ignore[assignment]
            else:
                file = stack.enter_context(readable(source))
                file = positioned(file) if isinstance(source, Path) else file
            with contents_of(name):
                reader = Reader(file)
                manifest = manifest_of(reader) if has_manifest(reader) else None
                self._files = Files(name, reader, options, cache_bytes, place)
                self._files.headers = Headers(reader, manifest) if manifest else None
                self._volumes = Volumes(name, _volumes(self._files, manifest))
            # Not of the archive: a volume may be used when nothing else of it is left.
            self._release = weakref.finalize(self._files, stack.pop_all().close)

    @property
    def volumes(self) -> Volumes:
        """Its volumes, by name, in the order of the archive."""
        return self._volumes

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._files.closed

    @property
    def file_size(self) -> int:
        """The bytes of the file."""
        return self._files.reader.size

    def close(self) -> None:
        """Close the file and drop what was decoded; its volumes cannot be read any more."""
        self._files.closed = True
        self._files.slabs.clear()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of its one volume."""
        if name.startswith("_") or not hasattr(Volume, name):
            raise AttributeError(f"'Archive' object has no attribute {name!r}")
        return getattr(self._volumes.only(), name)

    def __dir__(self) -> list[str]:
        one = {name for name in dir(Volume) if name[0] != "_"} if len(self._volumes) == 1 else set()
        return sorted({*super().__dir__(), *one})

    def __getitem__(self, index: Any) -> Any:
        """Return what the index takes of its one volume; of several, the volume of a name or number."""
        if len(self._volumes) == 1 and not isinstance(index, str):
            return self._volumes.only()[index]
        return self._volumes[index]

    def __len__(self) -> int:
        return len(self._volumes.only()) if len(self._volumes) == 1 else len(self._volumes)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._volumes.only()) if len(self._volumes) == 1 else iter(self._volumes.values())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._volumes.only().__array__(dtype, copy)

    def __dask_tokenize__(self) -> Any:
        return self._volumes.only().__dask_tokenize__()

    def __reduce__(self) -> Any:
        if self._files.source is None:
            raise TypeError(f"{self._files.name} cannot be pickled: only a path or a URL can be opened again")
        return again, (self._files.source, None, self._files.options)

    def __repr__(self) -> str:
        if self._files.closed:
            return f"<volcomp.Archive {self._files.name!r}, closed>"
        if len(self._volumes) == 1:
            return repr(self._volumes.only())
        return f"<volcomp.Archive {self._files.name!r}: {self._volumes.listed()}>"


class Volumes(Mapping[str | int, Volume]):
    """The volumes of an archive by name: that of their folder in the archive.

    A volume is also found by its SeriesInstanceUID, where no other has it, and by its number, as `volcomp info` shows
    it. A series whose voxels are those of another one is a volume too, of the same number. Iteration yields names.
    """

    def __init__(self, archive: str, volumes: list[Volume]) -> None:
        self._archive = archive
        self._by_name = {volume.name: volume for volume in volumes}

    def __getitem__(self, key: str | int) -> Volume:
        found = [self._by_name[key]] if isinstance(key, str) and key in self._by_name else self._others(key)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(repr(volume.name) for volume in found)
            raise MissingError(f"{self._archive} has {len(found)} volumes of series {key}: take one of {names}")
        raise MissingError(f"{self._archive} has no volume {key!r}; it has {self.listed()}")

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def only(self) -> Volume:
        """Return the volume of an archive that has one. Raises MissingError, which names those that it has."""
        if len(self._by_name) != 1:
            raise MissingError(
                f"{self._archive} has {self.listed()}" + ("; name one, as archive[name]" if self._by_name else "")
            )
        return next(iter(self._by_name.values()))

    def listed(self) -> str:
        """Return what there is, for a sentence."""
        if not self._by_name:
            return "no volume"
        names = [repr(name) for name in self._by_name]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return f"{len(names)} volume{'s' if len(names) > 1 else ''}: " + ", ".join(names[:20]) + more

    def __repr__(self) -> str:
        return f"<{self.listed()}>"

    def _others(self, key: Any) -> list[Volume]:
        if isinstance(key, str):
            return [volume for volume in self._by_name.values() if key and volume.series == key]
        return [volume for volume in self._by_name.values() if volume.number == key][:1]  # copies share a number


def again(source: Source, number: int | None, options: DecodeOptions) -> Archive | Volume:
    """Open an archive, or a volume of it, in another process."""
    archive = Archive(source, options, CACHE_BYTES)
    if number is None:
        return archive
    return archive.volumes[number]


def _name_of(source: Source | bytes) -> str:
    name = str(source) if isinstance(source, Path | Remote) else getattr(source, "name", None)
    return name if isinstance(name, str) else "the archive"


def _volumes(files: Files, manifest: Manifest | None) -> list[Volume]:
    if manifest is None:
        return [Volume(files, number, f"volume {number}", []) for number in volume_numbers(files.reader)]
    found = [(number, layer) for number, images in manifest.images.items() for layer in _layers(images)]
    names = [_name(entries, manifest.root) for _, entries in found]
    several, so_far = Counter(names), Counter[str]()
    volumes = []
    for (number, entries), name in zip(found, names, strict=True):
        so_far[name] += 1
        own = name if several[name] == 1 else f"{name} ({so_far[name]})"
        volumes.append(Volume(files, number, own, entries))
    return volumes


def _layers(images: list[Entry]) -> list[list[Entry]]:
    """Split the images of a volume, in the order of their slices, into those of each folder that has all slices.

    Images of equal voxels under other headers share a volume, as those of a series that was copied without names. What
    a folder shares only in part belongs to the volume's own images: all of them, where no folder has all slices.
    """
    layers: list[list[Entry]] = []
    waiting: dict[tuple[str, int], list[int]] = {}  # layers by their folder and the slice from which they go on
    depth = 0
    for entry in images:
        assert isinstance(entry.place, Voxels)
        folder, first, end = entry.name.rpartition("/")[0], entry.place.first, entry.place.end
        depth = max(depth, end)
        if open_ones := waiting.get((folder, first)):
            number = open_ones.pop()
        elif first == 0:
            number = len(layers)
            layers.append([])
        else:
            continue  # slices before it are missing
        layers[number].append(entry)
        waiting.setdefault((folder, end), []).append(number)
    whole = {number for (_, end), numbers in waiting.items() if end == depth for number in numbers}
    return [layer for number, layer in enumerate(layers) if number in whole] or [images]


def _name(entries: list[Entry], root: str) -> str:
    """Return the name of a volume: its one file, or the folder of its first one."""
    name = entries[0].name
    if len(entries) > 1:
        name = name.rpartition("/")[0]
    return name or root or "volume"
