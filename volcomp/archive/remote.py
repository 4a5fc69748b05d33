"""Archives at a URL, of which only the parts that are read are fetched. fsspec does it, and a client below it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ..errors import UnsupportedError, VolcompError
from ..options import check_path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: "C:" is a drive
# The end of a file is fetched at once: its end mark, and the index, which has some bytes for each section.
_TAIL_BYTES = 1 << 14
_HEAD_BYTES = 1 << 12  # fetched at once where any of them is read: the header is read twice
INSTALL = "pip install 'volcomp[remote]'"


@dataclass(frozen=True)
class Remote:
    """An archive at a URL."""

    url: str

    def __str__(self) -> str:
        """Return the URL for a sentence, without a password or a signature in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def name(self) -> str:
        """Return server and path as a relative path, without parts that would lead out of it."""
        parts = urlsplit(self.url)
        whole = f"{parts.netloc.rpartition('@')[2]}/{unquote(parts.path)}"
        return "/".join(part for part in whole.split("/") if part not in ("", ".", ".."))

    @property
    def stem(self) -> str:
        """Return the name of the file without its suffix."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).stem or "archive"


def located(text: str) -> Path | Remote:
    """Return what a text names: a URL, or else a path; `file://` is a path."""
    if not _URL.match(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme.lower() == "file":
        return Path(url2pathname(parts.path))
    return Remote(text)


def source_of(place: str | os.PathLike[str], name: str = "archive") -> Path | Remote:
    """Return the archive at a path or a URL. Raises ArgumentError for what is neither, and UnsupportedError."""
    check_path(name, place, "the path of a .vcz file, or its URL")
    return located(place) if isinstance(place, str) else Path(place)


def local(place: str | os.PathLike[str], name: str) -> Path:
    """Return the path of what is written, or of what no part is enough of.

    Raises ArgumentError for what is no path, and UnsupportedError for a URL.
    """
    check_path(name, place)
    found = located(place) if isinstance(place, str) else Path(place)
    if isinstance(found, Remote):
        raise UnsupportedError(
            f"{found} is a URL, and files are written, changed and archived on disks alone: name a path, and download "
            "or upload the file; only what reads an archive takes a URL"
        )
    return found


@contextmanager
def fetched(remote: Remote) -> Iterator[BinaryIO]:
    """Open a URL as a file that can be read in any order, each read as one request for these bytes alone.

    Raises UnsupportedError where there is no such file, or no access to it, where a package is missing, or the server
    sends no parts of files.
    """
    with _errors(remote):
        from fsspec.core import url_to_fs  # an extra, which archives on disks do without

        http = remote.url.lower().startswith("http")
        options = {"headers": {"Accept-Encoding": "identity"}} if http else {}  # bytes as they are in the file
        system, path = url_to_fs(remote.url, **options)
        file = system.open(path, "rb", cache_type="none")  # which reads nothing ahead
    with file:
        if not file.seekable():
            raise _without_parts(remote)
        yield cast(BinaryIO, _Parts(remote, file))


class _Parts(io.RawIOBase):
    """A file of fsspec, whose last bytes are fetched first and held."""

    def __init__(self, remote: Remote, file: Any) -> None:
        self._remote, self._file, self._at = remote, file, 0
        with _errors(remote):
            self._size = file.seek(0, os.SEEK_END)
            self._begin = max(self._size - _TAIL_BYTES, 0)
            file.seek(self._begin)
            self._tail: bytes = file.read(self._size - self._begin)
        self._head = b""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(min(len(buffer), self._size - self._at), 0)
        begin, end = self._at - self._begin, self._at + count
        if begin >= 0:
            data = self._tail[begin : begin + count]
        elif end <= _HEAD_BYTES:
            self._head = self._head or self._fetch(0, min(_HEAD_BYTES, self._size))
            data = self._head[self._at : end]
        else:
            data = self._fetch(self._at, end)
        buffer[:count] = data
        self._at = end
        return count

    def _fetch(self, first: int, end: int) -> bytes:
        with _errors(self._remote):
            self._file.seek(first)
            data: bytes = self._file.read(end - first)
        if len(data) != end - first:
            raise UnsupportedError(f"{self._remote}: the server sent {len(data)} bytes instead of {end - first}")
        return data


def _without_parts(remote: Remote) -> UnsupportedError:
    return UnsupportedError(
        f"{remote}: the server sends files as a whole only, not parts of them; download the file and open the copy"
    )


@contextmanager
def _errors(remote: Remote) -> Iterator[None]:
    """Turn whatever fsspec and the clients below it raise into an UnsupportedError of one sentence."""
    try:
        yield
    except VolcompError:
        raise
    except ImportError as error:
        missing = error.name or str(error)
        raise UnsupportedError(f"{remote} needs a package that is not installed ({missing}): {INSTALL}") from error
    except Exception as error:  # each client has its own kinds
        raise _translated(remote, error) from error


def _translated(remote: Remote, error: BaseException) -> UnsupportedError:
    # Of fsspec's client for HTTP, FileNotFoundError is any failure to learn a file's size; its cause tells which.
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    status, text = getattr(error, "status", None), str(error).strip().split("\n")[0]
    if isinstance(error, FileNotFoundError) or status == 404:
        return UnsupportedError(f"{remote}: there is no such file")
    if isinstance(error, PermissionError) or status in (401, 403) or "redential" in text:
        return UnsupportedError(f"{remote}: access is denied; give credentials as fsspec's client for it takes them")
    if status is not None:
        return UnsupportedError(f"{remote} cannot be read: the server answers with status {status}")
    if isinstance(error, ValueError) and ("Got more bytes" in text or "range requests" in text):
        return _without_parts(remote)
    if isinstance(error, ValueError) and "rotocol" in text:
        return UnsupportedError(f"{remote}: fsspec knows no such kind of URL")
    return UnsupportedError(f"{remote} cannot be read: {text or type(error).__name__}")
