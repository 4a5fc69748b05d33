"""The work on one series: claim it, write beside the target, rename when complete.

Existing output is not made again. So a job may run twice, as happens if a cluster loses a worker.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..archive.files import move_into, target_errors
from ..archive.manifest import Manifest
from ..archive.opening import manifest_of, opened, readable
from ..archive.pack import compress
from ..archive.restore import restore
from ..archive.writing import open_to_owner, restore_folder_times, restore_times
from ..errors import TargetError, VolcompError
from ..options import EncodeOptions
from ..progress import silence
from ..wording import for_commands
from . import report
from .claims import claim
from .jobs import Job
from .report import FAILED, Row

_PIECE = 1 << 23  # bytes of an archive that are hashed at once: of a URL, of one request
CLAIMED = "claimed"  # status of a series that another batch works on; never written to the report


@dataclass(frozen=True)
class How:
    """Settings of all jobs of a batch."""

    root: Path  # the target
    decompress: bool
    options: EncodeOptions
    times: bool = True  # keep, or restore, times and permissions


def perform(job: Job, how: How, threads: int) -> Row:
    """Do a job unless it is done. Every failure becomes a row, since other jobs must continue."""
    silence()
    begin = time.perf_counter()
    try:
        with for_commands(), claim(how.root, job.name) as scratch:
            if scratch is None:
                return Row(job.name, status=CLAIMED)
            try:
                worked = (_restore if how.decompress else _compress)(job, how, threads, scratch)
            except VolcompError as error:
                raise VolcompError(str(error).replace(str(scratch / job.target.name), str(job.target))) from error
            row = _row(job, how)
            return replace(row, seconds=round(time.perf_counter() - begin, 3)) if worked else row
    except VolcompError as error:
        sentence = str(error)
    except MemoryError:
        sentence = "there is not enough memory for the work; give it a machine with more, or fewer neighbours: --jobs"
    except Exception as error:  # a bug or a failure of the system fails the series, not the batch
        sentence = f"it failed in a way that was not foreseen: {type(error).__name__}: {error}"
    return Row(job.name, seconds=round(time.perf_counter() - begin, 3), status=FAILED, error=sentence)


def _row(job: Job, how: How) -> Row:
    """Return the row of a finished job, with counts from the archive."""
    archive = job.source if how.decompress else job.target
    with opened(archive) as reader:
        entries = manifest_of(reader).files
        raw, packed = sum(entry.size for entry in entries), reader.size
    sha = hashlib.sha256()
    with readable(archive) as file:
        while piece := file.read(_PIECE):
            sha.update(piece)
    sizes = (packed, raw) if how.decompress else (raw, packed)
    return Row(job.name, len(entries), *sizes, sha256=sha.hexdigest())


def _compress(job: Job, how: How, threads: int, scratch: Path) -> bool:
    """Write the archive; return False if it exists."""
    if os.path.lexists(job.target):
        return False
    made = scratch / job.target.name
    compress(job.inputs(), made, replace(how.options, threads=threads), times=how.times)
    with target_errors(job.target):
        job.target.parent.mkdir(parents=True, exist_ok=True)
        _publish(made, job.target)
    return True


def _publish(made: Path, target: Path) -> None:
    """Rename, but never over a file: if locks do not work between machines, the first to finish wins."""
    try:
        os.link(made, target)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        os.rename(made, target)  # a file system without links


def _restore(job: Job, how: How, threads: int, scratch: Path) -> bool:
    """Write the files; return False if all exist."""
    with opened(job.source) as reader:
        manifest = manifest_of(reader)
    if job.target == how.root and any(entry.name == report.NAME for entry in manifest.files):
        raise TargetError(
            f"{job.source} holds a file {report.NAME}, which would replace this batch's own; "
            "restore it elsewhere with volcomp decompress"
        )
    if _is_complete(manifest, job.target):
        return False
    made = scratch / job.target.name
    restore(job.source, made, replace(how.options.decoding, threads=threads), times=how.times)
    with target_errors(job.target):
        job.target.parent.mkdir(parents=True, exist_ok=True)
        itself = manifest.itself if how.times else None
        if itself:
            open_to_owner(itself, made)  # or it could not be moved
        try:
            os.rename(made, job.target)
        except OSError:  # the folder exists, from files beside folders or a killed batch
            for entry in sorted(manifest.folders, key=lambda entry: entry.name.count("/")):  # some may be read-only
                (made / entry.name).chmod(0o700)
            move_into(made, job.target)
            if how.times:
                restore_folder_times(manifest.folders, job.target)
        else:
            if itself:
                restore_times([itself], job.target)
    return True


def _is_complete(manifest: Manifest, target: Path) -> bool:
    """Return whether a folder holds all files of an archive. Raises TargetError for a file of another size."""
    if not target.is_dir():
        return False
    complete = all((target / entry.name).is_dir() for entry in manifest.folders)
    complete &= all((target / entry.name).is_symlink() for entry in manifest.links)
    for entry in manifest.files:
        path = target / entry.name
        if not os.path.lexists(path):
            complete = False
        elif path.lstat().st_size != entry.size:
            raise TargetError(f"{path} exists and is not what the archive holds; move it away")
    return complete
