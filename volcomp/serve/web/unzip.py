"""Open zips that nobody trusts: nothing lands outside a folder, and sizes are those that come out, not those stated.

Refused are encrypted and damaged zips, other methods than stored and deflated, links, absolute names and names with
`..`, names that exclude each other, too many files, and what becomes far larger than it was.
"""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .refusal import CONTENT, LARGE, Refusal, shown

_PIECE = 1 << 16
_FREE = 64 << 20  # bytes that a zip may become whatever its size
_ENTRY = 46  # bytes that an entry of the directory has at least (APPNOTE 6.3.10, 4.3.12)
_END, _END_64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LONGEST, _DEEPEST = 1024, 32  # characters of a name, folders
_JUNK = ("__MACOSX/",)
_JUNK_NAMES = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Limits:
    """What may be handed in at once.

    bytes  of all files together, and of what is made of them
    files  how many
    ratio  how many times as large a zip may become
    """

    bytes: int = 2 << 30
    files: int = 20_000
    ratio: int = 200


def extract(
    path: Path, folder: Path, limits: Limits, report: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[str, Path]]:  # fmt: skip
    """Write the files of a zip to a folder; return their names and places, in the order of the zip.

    Parameters:
        path: the zip.
        folder: where they go; it is there, and empty.
        limits: what is allowed.
        report: is called with how many files are written, and how many there are.

    Raises Refusal.
    """
    try:
        with path.open("rb") as file:
            _check_directory(file, limits)
            with zipfile.ZipFile(file) as archive:
                entries = list(_entries(archive, limits))
                left = min(limits.bytes, max(_FREE, limits.ratio * path.stat().st_size))
                found = []
                for k, (name, entry) in enumerate(entries):
                    report(k, len(entries))
                    target = folder / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    left = _inflate(archive, entry, target, left, limits)
                    found.append((name, target))
                report(len(entries), len(entries))
                return found
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, UnicodeDecodeError, ValueError, OverflowError):
        raise Refusal("the zip is damaged or cut; make it again and send it whole", CONTENT) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # zipfile seeks to where a damaged directory sends it, before the file begins
        raise Refusal("the zip is damaged or cut; make it again and send it whole", CONTENT) from None
    except NotImplementedError:
        raise Refusal("the zip is of a kind that is not read here; make a plain one", CONTENT) from None


def checked(name: str) -> str:
    """Return the name of a file that is handed in, if it is a plain relative path. Raises Refusal."""
    pieces = name.split("/")
    plain = all(piece not in ("", ".", "..") and piece.isprintable() for piece in pieces)
    drive = len(pieces[0]) > 1 and pieces[0][1] == ":"
    if not plain or "\\" in name or drive or (not name.isascii() and _surrogates(name)):
        raise Refusal(
            "a name leads outside of its folder, or is no name of a file; give plain relative names", file=name
        )
    if len(name) > _LONGEST or len(pieces) > _DEEPEST or any(len(piece.encode()) > 255 for piece in pieces):
        raise Refusal(f"a name is too long; up to {_LONGEST} characters in {_DEEPEST} folders are allowed", file=name)
    return name


def _surrogates(name: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in name)


def is_junk(name: str) -> bool:
    """Return whether a file is one that systems put beside those of people."""
    return name.startswith(_JUNK) or name.rsplit("/", 1)[-1] in _JUNK_NAMES


def _entries(archive: zipfile.ZipFile, limits: Limits) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the files of a zip with their names. Raises Refusal."""
    files: set[str] = set()
    folders: set[str] = set()
    for entry in archive.infolist():
        name = entry.orig_filename.removesuffix("/")
        if entry.orig_filename.endswith("/") and not entry.file_size:
            if name:
                folders.add(checked(name).casefold())
            continue
        if is_junk(name):
            continue
        checked(name)
        if entry.flag_bits & 0x41:  # bit 0, and bit 6 for strong encryption
            raise Refusal("the zip is encrypted; send it without a password", CONTENT, file=name)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise Refusal("the zip has a link, which is no file; leave it out", CONTENT, file=name)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal("the zip has another method than stored and deflated; make it with these", CONTENT, file=name)
        if name.casefold() in files:
            raise Refusal("the zip has two files of the same name; rename one", CONTENT, file=name)
        files.add(name.casefold())
        if len(files) > limits.files:
            raise Refusal(f"there are more than {limits.files} files; send fewer at once", LARGE)
        pieces = name.casefold().split("/")
        folders |= {"/".join(pieces[:k]) for k in range(1, len(pieces))}
        yield name, entry
    if clash := files & folders:
        raise Refusal("the zip has a file and a folder of the same name", CONTENT, file=min(clash))


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, limits: Limits) -> int:
    """Write an entry; return how many bytes may still come. Raises Refusal."""
    with archive.open(entry) as source, target.open("xb") as out:
        while data := source.read(_PIECE):
            left -= len(data)
            if left < 0:
                raise Refusal(
                    f"the zip becomes more than {limits.ratio} times as large as it is, or larger than the "
                    f"{limits.bytes} bytes that are allowed; send less at once", LARGE, file=shown(entry.filename),
                )  # fmt: skip
            out.write(data)
    return left


def _check_directory(file: BinaryIO, limits: Limits) -> None:
    """Refuse a directory that is too large before zipfile makes an object of each of its entries (4.3.16)."""
    size = file.seek(0, 2)
    tail_at = max(size - (1 << 16) - 22, 0)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise Refusal("this is no zip, or one that was cut; send a zip", CONTENT)
    (length,) = struct.unpack_from("<L", tail, at + 12)
    if length == 0xFFFFFFFF:
        locator = tail.rfind(_LOCATOR)
        if locator < 0 or len(tail) < locator + 20:
            raise Refusal("the zip is damaged or cut; make it again and send it whole", CONTENT)
        (place,) = struct.unpack_from("<Q", tail, locator + 8)
        if place + 56 > size:
            raise Refusal("the zip is damaged or cut; make it again and send it whole", CONTENT)
        file.seek(place)
        record = file.read(56)
        length = struct.unpack_from("<Q", record, 40)[0] if record[:4] == _END_64 else size + 1
    file.seek(0)
    if length > min(size, limits.files * (_ENTRY + 512)):
        raise Refusal(f"there are more than {limits.files} files, or the zip is damaged; send fewer at once", LARGE)
