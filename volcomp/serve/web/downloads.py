"""What leaves as files: the originals in a zip, a volume as NIfTI, an archive as it is."""

from __future__ import annotations

import re
import unicodedata
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from ...errors import MissingError, UnsupportedError
from ...options import DecodeOptions
from ...reading.archive import Archive
from ...reading.volume import Volume
from ..store.instance import Instance
from ..store.protocol import Holding, Store

_MOMENT = (1980, 1, 1, 0, 0, 0)  # the first that a zip can state: the files' own times are not told
_LONGEST = 120  # characters of a name
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def safe_name(name: str, default: str = "file") -> str:
    """Return a name of a file, without a folder, that every system takes."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    kept = "".join(c if (c.isalnum() or c in " ._-+=@()[],") and c.isprintable() else "_" for c in plain).strip(" .")
    kept = kept[:_LONGEST].rstrip(" .") or default
    return f"_{kept}" if _RESERVED.fullmatch(kept) else kept


def safe_path(name: str) -> str:
    """Return a relative path with safe names, none of them `..`."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return "/".join(safe_name(part) for part in parts[-8:]) or "file"


def unique(names: Iterable[str]) -> Iterator[str]:
    """Yield names, those again that were there before with a number. Letters of either case count as the same."""
    taken: set[str] = set()
    for name in names:
        path, made, k = PurePosixPath(name), name, 1
        while made.casefold() in taken:
            k += 1
            made = str(path.with_name(f"{path.stem}-{k}{path.suffix}"))
        taken.add(made.casefold())
        yield made


class _Sink:
    """A file that is written once and read as it grows; zipfile then writes sizes behind the data."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is there."""

    def take(self) -> bytes:
        """Return what came since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zipped(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield a zip of files, stored, one file in memory at a time."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name, data in files:
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.external_attr = 0o600 << 16
            with archive.open(entry, "w", force_zip64=len(data) >= 1 << 31) as file:
                for at in range(0, len(data), 1 << 20):
                    file.write(data[at : at + (1 << 20)])
                    yield sink.take()
            yield sink.take()
    yield sink.take()


def originals(store: Store, instances: list[Instance]) -> Iterator[bytes]:
    """Yield a zip of the original files of instances, byte for byte. Raises what the store raises."""
    folders = {one.series for one in instances}
    wanted = [
        (f"{one.series}/" if len(folders) > 1 else "") + safe_path(PurePosixPath(one.name).name) for one in instances
    ]
    return zipped((name, store.file(one)) for name, one in zip(unique(wanted), instances, strict=True))


def volumes(holdings: Iterable[Holding], series: str) -> Iterator[tuple[Archive, Volume]]:
    """Yield the volumes of a series, with the archive that is open meanwhile."""
    for holding in holdings:
        with Archive(holding.archive, DecodeOptions(threads=1), 0) as archive:
            for volume in archive.volumes.values():
                if volume.series == series:
                    yield archive, volume


def nifti(store: Store, study: str, series: str, number: int, folder: Path) -> Path:
    """Write a volume of a series as `.nii.gz` to a folder.

    Raises MissingError where the series has no volume of this number, from 0, and UnsupportedError as
    `reading.convert.save`.
    """
    for k, (_, volume) in enumerate(volumes(store.holdings(study, series), series)):
        if k == number:
            path = folder / "volume.nii.gz"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of sheared axes, which the page says
                try:
                    volume.save(path)
                except UnsupportedError as error:
                    raise UnsupportedError(f"no NIfTI file can be made of it: {error}") from None
            return path
    raise MissingError("the series has no such volume in an archive")


def archive_of(store: Store, study: str, series: str, number: int) -> Path:
    """Return the archive of a series, from 0 where it has several. Raises MissingError."""
    found = [holding.archive for holding in store.holdings(study, series)]
    if number >= len(found):
        raise MissingError("the series has no such archive; what came in last may wait to be packed")
    return found[number]
