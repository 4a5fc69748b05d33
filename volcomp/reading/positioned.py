"""A file on a disk that processes may share: each has its own position in it."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast


class Positioned(io.RawIOBase):
    """Reads at a position that this object has, not the system: processes that were forked share the system's.

    So an archive that a program has opened may be read by its forked workers, as those of a PyTorch DataLoader.
    """

    def __init__(self, file: BinaryIO) -> None:
        """`file`: stays open, and is closed by its owner."""
        self._file, self._at = file, 0

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; return it."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}
        self._at = offset + (begin[whence] if whence in begin else os.fstat(self._file.fileno()).st_size)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes; return their number."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view):  # the system may give less than 2 GiB at a time, or be interrupted
            piece = os.pread(self._file.fileno(), len(view) - done, self._at)
            if not piece:
                break
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done


def positioned(file: BinaryIO) -> BinaryIO:
    """Return a file that forked processes may share, where the system knows such reads."""
    return cast(BinaryIO, Positioned(file)) if hasattr(os, "pread") else file
