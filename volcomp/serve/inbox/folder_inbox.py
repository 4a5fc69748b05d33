"""The inbox: receives, takes in what other programs put into its folder, packs what is quiet."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, BinaryIO

from ...archive import scratch
from ...archive.scratch import sync_folder
from ...errors import UnsupportedError, VolcompError
from ..settings import Settings
from ..store.pool import Identity, identity
from ..store.scanning import landed
from ..store.tree_store import TreeStore
from .landing import Landing
from .packing import Job, Pack, Packer, Stopped
from .protocol import Received
from .receiving import NOT_AUTHORIZED, PROCESSING, RESOURCES, Receiver

_LONGEST_TICK, _LONGEST_WAIT = 1.0, 3600.0  # seconds: between two looks; before a series that failed is tried again
_LONGEST_REST = 60.0  # seconds before it is tried again where the disk was full
_REST = 5.0  # seconds for which a file of another program must stay as it is
_LISTED = 20  # names and errors in `state`
_LOG = logging.getLogger("volcomp.serve")


def open_inbox(store: TreeStore, settings: Settings, pack: Pack | None = None) -> FolderInbox:
    """Open the inbox of the settings, and begin to pack, where no other process packs it.

    Parameters:
        store: that of the same settings.
        settings: the folders, and how long a series must be quiet.
        pack: packs a series; by default in a process of its own.

    Raises:
        UnsupportedError: its folder cannot be made.
    """
    return FolderInbox(store, settings, pack)


@dataclass
class _Series:
    """A series that waits."""

    study: str  # names of folders
    series: str
    files: int = 0
    changed: int = 0  # time of modification of its folder
    since: float = 0.0  # when it was first seen as it is
    tries: int = 0
    again: float = 0.0  # when it may be tried again


@dataclass
class _Counts:
    """What was packed since the start."""

    instances: int = 0
    archives: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)


class FolderInbox:
    """See `Inbox`."""

    def __init__(self, store: TreeStore, settings: Settings, pack: Pack | None) -> None:
        """Use `open_inbox`."""
        self._store, self._settings = store, settings
        self._packer = None if pack else Packer()
        self._pack: Pack = pack or self._packer  # type: ignore[assignment]
        self._waiting: dict[tuple[str, str], _Series] = {}
        self._resting: dict[str, tuple[Identity, float]] = {}  # files of other programs, and since when they are so
        self._passed: dict[str, Identity] = {}  # those that are no instances
        self._now: dict[str, Any] | None = None
        self._counts, self._lock = _Counts(), Lock()
        self._stop, self._lockfile = Event(), -1
        self._thread: Thread | None = None
        if settings.read_only:
            return
        try:
            self._landing = Landing(settings.landing)
        except OSError as error:
            raise UnsupportedError(f"the inbox cannot be made: {error.strerror}; name another with --inbox") from None
        self._receiver = Receiver(self._landing, store, settings.max_upload)
        key = hashlib.sha256(os.fsencode(self._landing.folder.resolve())).hexdigest()[:16]
        self._workshop = settings.own / "packing" / key  # on the file system of the tree, so that names can be given
        self._thread = Thread(target=self._run, name="volcomp-inbox", daemon=True)
        self._thread.start()

    def receive(self, file: BinaryIO, study: str | None = None) -> Received:
        """Take an instance in; see `Inbox.receive`."""
        if self._settings.read_only:
            return Received("", "", "", "", NOT_AUTHORIZED, "this server takes nothing in")
        return self._receiver.receive(file, study)

    def state(self) -> dict[str, Any]:
        """Return what waits and what is being packed.

        waiting, series      instances and series that wait to be packed, as of the last look
        packing              study, series, instances of what is being packed now; None for nothing
        packed               instances, archives, raw_bytes and packed_bytes since the start
        errors               what could not be packed so far, and is tried again: study, series, sentence
        conflicts            instances that were put aside: an archive has another one under the same UID
        passed_over          files in the folder that are no instances
        packs                whether this process packs; another one may
        """
        with self._lock:
            return {
                "waiting": sum(one.files for one in self._waiting.values()),
                "series": len(self._waiting),
                "packing": dict(self._now) if self._now else None,
                "packed": {
                    "instances": self._counts.instances,
                    "archives": self._counts.archives,
                    "raw_bytes": self._counts.raw_bytes,
                    "packed_bytes": self._counts.packed_bytes,
                },
                "errors": [dict(error) for error in self._counts.errors],
                "conflicts": self._conflicts(),
                "passed_over": sorted(self._passed)[:_LISTED],
                "packs": self._lockfile >= 0,
            }

    def close(self) -> None:
        """Stop packing; see `Inbox.close`."""
        self._stop.set()
        if self._packer:
            self._packer.stop()
        if self._thread:
            self._thread.join()

    def _conflicts(self) -> int:
        if self._settings.read_only:
            return 0
        return sum(1 for _ in self._landing.conflicts.iterdir())

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # an interrupt of the terminal is not for the process that packs
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        tick = min(_LONGEST_TICK, max(self._settings.quiet / 4, 0.01))
        try:
            while not self._stop.is_set():
                try:
                    if self._alone():
                        self._look()
                except Stopped:
                    break
                except Exception as error:  # it must go on, whatever is in the folder and whatever the disk does
                    self._note("", "", error)
                self._stop.wait(tick)
        finally:
            if self._lockfile >= 0:
                os.close(self._lockfile)
                self._lockfile = -1

    def _alone(self) -> bool:
        """Return whether this process packs the inbox; the first time, clean up after those that were killed."""
        if self._lockfile >= 0:
            return True
        descriptor = os.open(self._landing.own / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        if scratch.lock(descriptor) is False:
            os.close(descriptor)
            return False
        self._lockfile = descriptor
        self._receiver.sweep()
        self._workshop.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._workshop.iterdir():
            leftover.unlink(missing_ok=True)
        return True

    def _look(self) -> None:
        self._store.settle()
        self._take_dropped()
        self._count()
        now = monotonic()
        for key, series in list(self._waiting.items()):
            if self._stop.is_set():
                return
            if now < max(series.since + self._settings.quiet, series.again):
                continue
            try:
                self._finish(series)
            except (VolcompError, OSError) as error:
                if self._stop.is_set():
                    return
                series.tries += 1
                series.again = monotonic() + min(self._settings.quiet * 2**series.tries, _LONGEST_WAIT)
                self._note(series.study, series.series, error)
            else:
                with self._lock:
                    self._waiting.pop(key, None)
                    self._counts.errors = [one for one in self._counts.errors if (one["study"], one["series"]) != key]
            finally:
                with self._lock:
                    self._now = None

    def _count(self) -> None:
        """Note which series wait, and since when nothing has come to each."""
        found: dict[tuple[str, str], _Series] = {}
        for study in _folders(self._landing.instances):
            for folder in _folders(study):
                key = (study.name, folder.name)
                with suppress(OSError):
                    changed, files = folder.stat().st_mtime_ns, len(os.listdir(folder))
                    if not files:
                        continue
                    before = self._waiting.get(key)
                    if before is None or (before.changed, before.files) != (changed, files):
                        before = _Series(*key, files, changed, monotonic())
                    found[key] = before
        with self._lock:
            self._waiting = found

    def _take_dropped(self) -> None:
        """Take in what other programs have put into the folder, once it has stayed as it is for a while."""
        rest = min(_REST, self._settings.quiet)
        there: dict[str, Identity] = {}
        for path, status in landed(self._landing.folder):
            if self._stop.is_set():
                return
            now = there[path] = identity(status)
            if self._passed.get(path) == now:
                continue
            before, since = self._resting.get(path, (None, 0.0))
            if before != now:
                self._resting[path] = now, monotonic()
            elif monotonic() >= since + rest:
                self._take(self._landing.folder / path, path, now)
        self._resting = {path: one for path, one in self._resting.items() if path in there}
        with self._lock:
            self._passed = {path: one for path, one in self._passed.items() if path in there}

    def _take(self, place: Path, path: str, known: Identity) -> None:
        try:
            with place.open("rb") as file:
                received = self._receiver.receive(file, None)
        except FileNotFoundError:
            return
        if received.failure in (RESOURCES, PROCESSING):  # for now
            self._resting[path] = known, monotonic() + _LONGEST_REST
            return
        if received.failure:
            with self._lock:
                self._passed[path] = known
            return
        with suppress(OSError):
            if identity(place.stat()) == known:  # else it has grown meanwhile, and comes again
                place.unlink()

    def _finish(self, series: _Series) -> None:
        """Pack a series, and remove its originals: those that an archive has, byte for byte. Raises VolcompError."""
        folder = self._landing.instances / series.study / series.series
        files = [path for path in sorted(folder.iterdir()) if not self._is_archived(path)]
        if not files:
            return
        with self._lock:
            self._now = {"study": series.study, "series": series.series, "instances": len(files)}
        raw = sum(path.stat().st_size for path in files)
        temporary = self._workshop / f"{secrets.token_hex(8)}.vcz"
        try:
            self._pack(Job(tuple(files), temporary, self._settings.options))
            archive = self._named(temporary, series)
            size = archive.stat().st_size
        finally:
            temporary.unlink(missing_ok=True)
        self._store.packed(archive)
        left = [path for path in files if not self._is_archived(path, archive)]
        with self._lock:
            self._counts.instances += len(files) - len(left)
            self._counts.archives += 1
            self._counts.raw_bytes += raw
            self._counts.packed_bytes += size
        if left:
            raise UnsupportedError(f"{len(left)} instances of the series are not in its archive, and stay in the inbox")

    def _named(self, temporary: Path, series: _Series) -> Path:
        """Give an archive the first name that is free: nothing is overwritten. Raises OSError."""
        folder = self._settings.root / series.study
        folder.mkdir(exist_ok=True)
        number = 1
        while True:
            archive = folder / (f"{series.series}.vcz" if number == 1 else f"{series.series}-{number}.vcz")
            try:
                if archive.exists():
                    raise FileExistsError
                os.link(temporary, archive)
                break
            except FileExistsError:
                number += 1
            except OSError:  # a file system without a second name for a file
                os.rename(temporary, archive)
                break
        sync_folder(folder)
        sync_folder(self._settings.root)
        return archive

    def _is_archived(self, path: Path, verified: Path | None = None) -> bool:
        """Remove a file of the inbox that an archive gives back byte for byte, and return True.

        Where archives only have another instance of its UID, the file is put aside, and True returned.

        Parameters:
            path: of the file.
            verified: an archive that was decoded and compared when it was made; all others are now.
        """
        relative, others = self._landing.relative(path), False
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").digest()
        except FileNotFoundError:
            self._store.left(relative)
            return True
        for instance, known in self._store.beside(relative):
            if known == sha256:
                # Where it lies, and nowhere else: the store would find this very file, of an archive that is gone.
                if instance.archive == verified or self._store.gives(instance):
                    self._landing.drop(path)
                    self._store.left(relative)
                    return True
            else:
                others = True
        if others:
            os.rename(path, self._landing.conflicts / f"{sha256.hex()[:16]}-{path.name}")
            sync_folder(self._landing.conflicts)
            self._store.left(relative)
        return others

    def _note(self, study: str, series: str, error: Exception) -> None:
        known = isinstance(error, VolcompError)
        sentence = str(error) if known else getattr(error, "strerror", None) or type(error).__name__
        entry = {"study": study, "series": series, "sentence": sentence}
        with self._lock:
            if entry in self._counts.errors:
                return
            self._counts.errors.append(entry)
            del self._counts.errors[:-_LISTED]
        _LOG.warning("a series could not be packed: %s", type(error).__name__)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
