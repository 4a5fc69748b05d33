"""Take an instance in: copied beside its place, looked at, durable, named, in the index.

An instance that is there already, byte for byte, is taken for one that was sent again: it is a success, and changes
nothing. Another one under the same UID is refused as a duplicate (PS3.7, annex C, 0111H): what is archived never
changes.
"""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import BinaryIO

from ...archive.scratch import scratch_file, sweep
from ...errors import TargetError, UnsupportedError, VolcompError
from ..store.attributes import first
from ..store.entering import New, Source
from ..store.pool import identity
from ..store.scanning import read_landed
from ..store.tree_store import TreeStore
from .landing import Landing
from .protocol import Received

# Failure Reasons (PS3.18, 10.5.3; PS3.4, table B.2-1; PS3.7, annex C).
PROCESSING, DUPLICATE, NOT_AUTHORIZED = 0x0110, 0x0111, 0x0124
RESOURCES, MISMATCH, UNREADABLE = 0xA700, 0xA900, 0xC000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STEP = 1 << 20
_NAME = "instance"  # of what is being received, for `scratch`


class Refused(Exception):
    """An instance is not taken in; the reason and a sentence."""

    def __init__(self, failure: int, sentence: str) -> None:
        super().__init__(sentence)
        self.failure = failure


class Receiver:
    """Takes instances in. Safe for several threads and processes."""

    def __init__(self, landing: Landing, store: TreeStore, most: int) -> None:
        """`most`: bytes of one instance."""
        self._landing, self._store, self._most = landing, store, most

    def receive(self, file: BinaryIO, study: str | None) -> Received:
        """Take an instance in; see `Inbox.receive`."""
        new: New | None = None
        try:
            with scratch_file(self._landing.incoming / _NAME, 0o600) as (copy, temporary):
                self._copy(file, copy)
                copy.close()
                source = self._looked_at(temporary)
                new = source.instances[0]
                if study is not None and first(new.attributes, "0020000D") != study:
                    raise Refused(MISMATCH, "the instance is of another study than the address names")
                self._take(temporary, source, new)
        except Refused as refused:
            return _received(new, refused.failure, str(refused))
        except TargetError as error:  # of the index
            return _received(new, RESOURCES, f"it could not be entered: {error}")
        except VolcompError as error:
            return _received(new, PROCESSING, str(error))
        except OSError as error:
            full = error.errno in _FULL
            sentence = "the disk is full; make room and send it again" if full else "it could not be written to disk"
            return _received(new, RESOURCES if full else PROCESSING, sentence)
        return _received(new, 0, "")

    def sweep(self) -> None:
        """Remove what killed processes left half received."""
        sweep(self._landing.incoming, _NAME)

    def _copy(self, file: BinaryIO, copy: BinaryIO) -> None:
        size = 0
        while piece := file.read(_STEP):
            size += len(piece)
            if size > self._most:
                raise Refused(RESOURCES, f"the instance has more than the {self._most} bytes that are allowed")
            copy.write(piece)
        copy.flush()

    def _looked_at(self, temporary: Path) -> Source:
        try:
            source = read_landed(self._landing.folder, self._landing.relative(temporary))
        except UnsupportedError as error:
            raise Refused(UNREADABLE, f"it cannot be taken in: {error}") from None
        if source is None:
            raise Refused(PROCESSING, "it vanished while it was being received; send it again")
        if not first(source.instances[0].attributes, "00080016"):
            raise Refused(UNREADABLE, "it cannot be taken in: it lacks the UID of its SOP class")
        return source

    def _take(self, temporary: Path, source: Source, new: New) -> None:
        study, series, sop = (first(new.attributes, tag) for tag in ("0020000D", "0020000E", "00080018"))
        final = self._landing.place(study, series, sop)
        self._store.settle()  # or what the tree has already would be taken in again
        with self._landing.alone(sop):
            if self._is_there(new, study, series, sop):
                return
            if not self._landing.put(temporary, final) and _sha256(final) != new.sha256:
                raise _duplicate()
            source.path = self._landing.relative(final)
            source.instances[0] = New(
                source.path, new.attributes, new.syntax, new.size, new.frames, new.sha256
            )  # fmt: skip
            source.identity = identity(final.stat())
            self._store.enter_landed(source)

    def _is_there(self, new: New, study: str, series: str, sop: str) -> bool:
        """Return whether the instance is kept already. Raises Refused where another one has its UID."""
        for instance, sha256 in self._store.everywhere(sop):
            if not (instance.archive or self._landing.folder / instance.name).exists():
                self._store.gone(instance)  # or it would answer for the new one
                continue
            if sha256 != new.sha256 or (instance.study, instance.series) != (study, series):
                raise _duplicate()
            return True
        return False


def _duplicate() -> Refused:
    return Refused(DUPLICATE, "another instance has this SOP Instance UID already, and instances never change")


def _received(new: New | None, failure: int, sentence: str) -> Received:
    found = new.attributes if new else {}
    sop_class, sop, study, series = (first(found, tag) for tag in ("00080016", "00080018", "0020000D", "0020000E"))
    return Received(sop_class, sop, study, series, failure, sentence)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
