"""Open an archive as lazy arrays: the library's front door to voxels."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from ..archive.beside import Headers
from ..archive.manifest import Manifest, has_manifest
from ..archive.naming import named_volumes, of_array
from ..archive.opening import Source, contents_of, manifest_of, readable
from ..archive.remote import Remote, source_of
from ..container.sections import Reader
from ..container.volume import volume_numbers
from ..errors import ArgumentError, MissingError
from ..options import DecodeOptions, check_integer, check_type
from ..wording import spelled
from .positioned import positioned
from .series import Series, times_of_array
from .shared import Files
from .volume import Volume

CACHE_BYTES = 1 << 26  # of decoded slabs: one of 32 slices of 1024², 16 bits


def open(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
    *,
    threads: int | None = None,
    device: str = "auto",
    cache_bytes: int = CACHE_BYTES,
) -> Archive:
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
        ArgumentError: an argument has another type.
        DamagedError: its index or its lists of files are damaged. Of a slab it is raised when the slab is read.
        UnsupportedError: it cannot be read, or needs a later version.

    Example:
        >>> import io, numpy as np, volcomp
        >>> data = volcomp.compress(np.arange(2000, dtype=np.int16).reshape(20, 10, 10))
        >>> with volcomp.open(data) as volume:
        ...     volume.shape, volume[4, 0, 0].item(), volume[-1:, ::5, 3].tolist()
        ((20, 10, 10), 400, [[1903, 1953]])
    """
    check_integer("cache_bytes", cache_bytes, "a number of bytes")
    return Archive(_place(source), DecodeOptions(threads, device), cache_bytes)


def _place(source: Any) -> Source | bytes:
    """Return where an archive is read from. Raises ArgumentError for what is no place, and UnsupportedError."""
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, bytes):
        return source
    if hasattr(source, "read") and not isinstance(source, os.PathLike):
        if isinstance(source, io.TextIOBase):
            raise ArgumentError(f"{getattr(source, 'name', 'source')} is a file of text; open it with mode 'rb'")
        return source
    allowed = "the path of a .vcz file, its URL, its bytes, or a binary file"
    check_type("source", source, (str, os.PathLike), allowed)
    return source_of(source, "source")


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
        self._files.keys.clear()
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

    `volcomp info` shows the names. A volume is also found by its SeriesInstanceUID, where no other has it, and by its
    number, as `volcomp list` shows it: 3, or "volume 3". A series whose voxels are those of another one is a volume
    too, of the same number. Iteration yields names.
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
        hint = f"; a number is given as {of_array(int(key))!r}" if _is_digits(key) else ""
        raise MissingError(f"{self._archive} has no volume {key!r}; it has {self.listed()}{hint}")

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def only(self) -> Volume:
        """Return the volume of an archive that has one. Raises MissingError, which names those that it has."""
        if len(self._by_name) != 1:
            raise MissingError(
                f"{self._archive} has {self.listed()}"
                + (f"; name one, as {spelled('archive[name]')}" if self._by_name else "")
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
            named = [volume for volume in self._by_name.values() if of_array(volume.number) == key][:1]
            return named or [volume for volume in self._by_name.values() if key and volume.series == key]
        return [volume for volume in self._by_name.values() if volume.number == key][:1]  # copies share a number


def _is_digits(key: Any) -> bool:
    """Tell whether a key is the number of a volume as people write it, of few digits."""
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10


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
        numbers = volume_numbers(files.reader)
        if times := times_of_array(files.reader, numbers):
            return [Series(files, 0, of_array(0), [], times)]
        return [Volume(files, number, of_array(number), []) for number in numbers]
    return [
        Series(files, number, name, images, times) if times else Volume(files, number, name, images)
        for number, name, images, times in named_volumes(files.reader, manifest)
    ]
