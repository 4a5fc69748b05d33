"""The store: a tree of archives and an inbox, followed by an index, read through a pool of open archives."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, BinaryIO, TypeVar

from ...archive.random_access import RandomAccess
from ...errors import DamagedError, MissingError, UnsupportedError, VolcompError
from ..settings import OWN, Settings
from . import pictures
from .attributes import PIXELS, value_at, with_bulk
from .catalogue import Catalogue
from .entering import Source
from .faults import ChangedError, GoneError, UnreadableError, by_system
from .following import Follower
from .frames import Shape, check_numbers
from .header import Header, read_header
from .index import ARCHIVE, INBOX, Index
from .instance import Instance
from .of_archive import frames_in, frames_of_archive, samples_of_archive
from .pool import Pool
from .protocol import Found, Frames, Holding, Json, Picture
from .query import Query
from .scanning import header_of, read_landed
from .search import search
from .slabs import SharedSlabs

INSTANCES = f"{OWN}/instances"  # of the inbox: where instances are that have been taken in
_EVERY = 5.0  # seconds from one look at the tree to the next, at least
_SHARE = 20  # of the time, one part in so many may go to looking
_SHAPES = 1 << 14  # of instances that are held
_LOG = logging.getLogger("volcomp.serve")
Result = TypeVar("Result")


def open_store(settings: Settings, *, follow: bool = True) -> TreeStore:
    """Open the tree of the settings; it is looked at in the background, or by `refresh`.

    Parameters:
        settings: the tree, its inbox, and what memory there is.
        follow: look at the tree every few seconds.

    Raises:
        UnsupportedError: there is no such folder.
        TargetError: the index cannot be written.
    """
    return TreeStore(settings, follow=follow)


class TreeStore:
    """See `Store`. Two of a process, or of several, may be of the same tree."""

    def __init__(self, settings: Settings, *, follow: bool) -> None:
        """Use `open_store`."""
        if not settings.root.is_dir():
            raise UnsupportedError(f"{settings.root} is no folder; name a folder of archives")
        self._root, self._landing = settings.root, settings.landing
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._index = Index(self._place(settings))
        self._slabs = SharedSlabs(settings.memory // 4 * 3, settings.options.device)
        self._pool = Pool(self._slabs, settings.memory // 4)
        self._follower = Follower(self._index, settings.root, self._landing, INSTANCES)
        self._catalogue = Catalogue(self._index, self._follower, settings.root)
        self._shapes: dict[Instance, Shape] = {}
        self._lock, self._stop = Lock(), Event()
        self._seen = -1  # the state of the index for which shapes are held
        self._thread: Thread | None = None
        if follow:
            self._thread = Thread(target=self._follow, name="volcomp-follow", daemon=True)
            self._thread.start()

    def search(self, query: Query) -> Found:
        """Return what matches; see `Store.search`."""
        return self._index.read(lambda connection: search(connection, query))

    def instances(self, study: str, series: str | None = None, sop: str | None = None) -> list[Instance]:
        """Return instances; see `Store.instances`."""
        return self._catalogue.instances(study, series, sop)

    def lost(self, study: str, series: str | None = None) -> int:
        """Return how many instances are in archives that cannot be read alone; see `Store.lost`."""
        return self._catalogue.lost(study, series)

    def metadata(self, instance: Instance, bulk: Callable[[str], str]) -> Json:
        """Return an instance's attributes; see `Store.metadata`."""
        found: Json = with_bulk(self._catalogue.attributes(instance), bulk)
        return found

    def file(self, instance: Instance) -> bytes:
        """Return the stored file; see `Store.file`."""

        return self._read(instance, _whole, _bytes)

    def frames(self, instance: Instance, numbers: Sequence[int]) -> Frames:
        """Return frames; see `Store.frames`."""
        shape = self._shape(instance)
        if not instance.frames:
            raise MissingError("the instance has no pixels, and so no frames")
        check_numbers(shape, list(numbers))
        of_archive = partial(frames_of_archive, shape=shape, numbers=list(numbers), syntax=instance.syntax)

        def of_file(file: BinaryIO) -> Frames:
            return frames_in(read_header(file), shape, list(numbers))

        return self._read(instance, of_archive, of_file)

    def picture(self, instance: Instance, frame: int) -> Picture:
        """Return a frame's samples; see `Store.picture`."""
        attributes = self._catalogue.attributes(instance)
        shape = Shape.of(attributes)
        if not instance.frames:
            raise MissingError("the instance has no pixels, and so no picture")
        check_numbers(shape, [frame])
        of_volume = partial(samples_of_archive, shape=shape, frame=frame)
        samples = self._read(instance, of_volume, lambda file: None)
        if samples is None:
            found = self.frames(instance, [frame])
            samples = pictures.decoded(found.frames[0], found.syntax, shape)
        return pictures.picture(samples, shape, attributes, frame, partial(self.bulk, instance))

    def bulk(self, instance: Instance, path: str) -> bytes:
        """Return the value at a path; see `Store.bulk`. Encapsulated pixels are given with their items."""
        if path in PIXELS:
            return self._pixels(instance, path)

        def of_archive(access: RandomAccess, name: str) -> bytes:
            return value_at(header_of(access, access.entry(name)), path)

        def of_file(file: BinaryIO) -> bytes:
            return value_at(read_header(file), path)

        return self._read(instance, of_archive, of_file)

    def holdings(self, study: str | None = None, series: str | None = None) -> Iterator[Holding]:
        """Yield archives; see `Store.holdings`."""
        yield from self._catalogue.holdings(study, series)

    def damaged(self) -> dict[str, str]:
        """Return what is wrong with archives that cannot be read; see `Store.damaged`."""
        return self._catalogue.damaged()

    def refresh(self) -> None:
        """Look at tree and inbox now; see `Store.refresh`."""
        self._follower.look()

    def close(self) -> None:
        """Let go of files and threads."""
        self._stop.set()
        self._follower.stop()
        if self._thread:
            self._thread.join()
        self._pool.close()
        self._index.close()
        if self._temporary:
            self._temporary.cleanup()

    # What the inbox calls.

    def settle(self) -> None:
        """Wait until the tree has been looked at once."""
        if not self._follower.looks:
            self.refresh()

    def enter_landed(self, source: Source) -> None:
        """Enter a file of the inbox, whose path is relative to the landing folder."""
        self._follower.enter(source)

    def left(self, path: str) -> None:
        """Take a file of the inbox out that is gone."""
        self._follower.leave(INBOX, path)

    def gone(self, instance: Instance) -> None:
        """Take out the source of an instance, an archive or a file of the inbox, which is gone."""
        if instance.archive:
            self._follower.leave(ARCHIVE, instance.archive.relative_to(self._root).as_posix())
        else:
            self._follower.leave(INBOX, instance.name)

    def packed(self, archive: Path) -> None:
        """Enter an archive of the tree. Raises UnsupportedError where it cannot be read."""
        self._follower.enter_archive(archive.relative_to(self._root).as_posix())

    def everywhere(self, sop: str) -> list[tuple[Instance, bytes]]:
        """Return all instances of a UID, each with the SHA-256 of its file; see `Catalogue.everywhere`."""
        return self._catalogue.everywhere(sop)

    def gives(self, instance: Instance) -> bool:
        """Return whether the archive of an instance gives it back, byte for byte, where the index has it."""
        with suppress(VolcompError):
            return sha256(self._read_there(instance, _whole, _bytes)).digest() == instance.sha256
        return False

    def beside(self, path: str) -> list[tuple[Instance, bytes]]:
        """Return the instances that archives have under the UID of a file of the inbox; see `everywhere`.

        Raises UnsupportedError where the file is no instance.
        """
        found = self._catalogue.sop_of(path)
        if found is None:
            source = read_landed(self._landing, path)
            if source is None:
                return []
            self._follower.enter(source)
            found = self._catalogue.sop_of(path)
        return [
            (one, sha256)
            for one, sha256 in self._catalogue.everywhere(found or "")
            if one.archive and one.archive.exists()
        ]

    @property
    def state(self) -> dict[str, Any]:
        """What is held in memory, for people."""
        return {"slab_bytes": self._slabs.size, "slabs_decoded": self._slabs.decoded}

    def _place(self, settings: Settings) -> Path:
        """Return where the index is: in the tree, or, where nothing may be written there, in a temporary folder."""
        try:
            settings.own.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=settings.own):
                pass
            return settings.own / "index.sqlite"
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="volcomp-serve-")
            return Path(self._temporary.name, "index.sqlite")

    def _follow(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            began = monotonic()
            try:
                self.refresh()
            except Exception as error:  # it must go on, whatever the tree or the disk does
                _LOG.warning("the tree could not be looked at: %s", type(error).__name__)
            wait = max(_EVERY, (monotonic() - began) * _SHARE)

    def _shape(self, instance: Instance) -> Shape:
        with self._lock:
            if self._seen != self._follower.changes:
                self._shapes.clear()
                self._seen = self._follower.changes
            found = self._shapes.get(instance)
        if found is None:
            found = Shape.of(self._catalogue.attributes(instance))
            with self._lock:
                if len(self._shapes) >= _SHAPES:
                    self._shapes.clear()
                self._shapes[instance] = found
        return found

    def _pixels(self, instance: Instance, path: str) -> bytes:
        def value(header: Header) -> bytes:
            pixels = header.pixels
            if pixels is None or f"{pixels.tag:08X}" != path:
                raise MissingError(f"the instance has no value at {path!r}")
            return pictures.pixel_bytes(header)

        def of_archive(access: RandomAccess, name: str) -> bytes:
            return value(read_header(BytesIO(access.again(access.entry(name)))))

        def of_file(file: BinaryIO) -> bytes:
            return value(read_header(file))

        return self._read(instance, of_archive, of_file)

    def _read(
        self, instance: Instance, of_archive: Callable[[RandomAccess, str], Result],
        of_file: Callable[[BinaryIO], Result],
    ) -> Result:  # fmt: skip
        """Read of an instance where it is; where it has moved meanwhile, as from the inbox to an archive, there.

        Raises ChangedError where another instance has its UIDs now: what the caller knows of it is not true of that.
        """
        tried: list[Instance] = []
        while True:
            tried.append(instance)
            try:
                return self._read_there(instance, of_archive, of_file)
            except GoneError as error:
                moved = self._catalogue.moved(instance)
                if moved is None:
                    self._catalogue.explain(instance.study, instance.series, instance.sop)
                    raise MissingError(str(error)) from None
                if moved in tried and not (moved.archive is not None and moved.archive.exists()):
                    raise MissingError(str(error)) from None
                if moved in tried or moved.sha256 != instance.sha256:
                    raise ChangedError("another instance has taken its place; search again") from None
                instance = moved

    def _read_there(
        self, instance: Instance, of_archive: Callable[[RandomAccess, str], Result],
        of_file: Callable[[BinaryIO], Result],
    ) -> Result:  # fmt: skip
        """Read of an instance where the index has it. Raises GoneError where that is another one, or none."""
        with _sentences():
            if instance.archive is None:
                with (self._landing / instance.name).open("rb") as file:
                    if os.fstat(file.fileno()).st_mtime_ns != instance.modified:
                        raise GoneError("another instance has taken its place; search again")
                    return of_file(file)
            with self._pool.get(instance.archive) as access:
                entry = access.entries.get(instance.name)
                if entry is None or entry.sha256 != instance.sha256:
                    raise GoneError("the archive that had it is another one; search again")
                try:
                    return of_archive(access, instance.name)
                except DamagedError:
                    if self._pool.is_outdated(instance.archive, access):  # as one that is written anew in its place
                        raise GoneError("the archive that had it has changed; search again") from None
                    raise


def _whole(access: RandomAccess, name: str) -> bytes:
    return access.read(access.entry(name))


def _bytes(file: BinaryIO) -> bytes:
    return file.read()


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn errors of the system into sentences that name no path."""
    try:
        yield
    except FileNotFoundError:
        raise GoneError("the instance is gone; search again") from None
    except OSError as error:
        raise UnreadableError(f"the instance cannot be read: {error.strerror or 'the system refuses'}") from None
    except DamagedError as error:
        if by_system(error):
            raise UnreadableError("the archive cannot be read: the system refuses") from error
        raise
