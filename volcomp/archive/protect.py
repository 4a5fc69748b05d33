"""Add parity to a file and repair the file with it. Each writes a new file beside it, which then takes its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..container import parity
from ..container.layout import Layout
from ..container.parity import Health
from ..container.sections import Reader, advice
from ..errors import DamagedError, TargetError, UnsupportedError
from ..options import check_flags, check_share
from ..wording import SALVAGE, spelled
from .files import check_target, new_file
from .opening import opened, readable
from .remote import Remote, local


@dataclass(frozen=True)
class Protection:
    """The parity that a file has got."""

    archive_bytes: int  # without it
    bytes: int  # of the whole file
    share: float  # of the file that may be damaged in one stretch, wherever it begins
    places: int  # how many places may be damaged, wherever they are


@dataclass(frozen=True)
class Repair:
    """What was damaged in a file, and where the repaired and the damaged one are now."""

    damaged: int  # blocks, 0 if the file was sound or only had bytes after its end
    blocks: int  # of the file
    output: Path | None  # the repaired file; None if the file was sound, and nothing was written
    kept: Path | None  # where the damaged file is now, if the repaired one has its name


def add_parity(path: Path, share: float) -> Layout:
    """Write parity after a sound archive that nobody else uses; see `protect`."""
    with path.open("r+b") as file:
        return parity.append(file, path.stat().st_size, share)


def protect(path: os.PathLike[str] | str, share: float = 0.02) -> Protection:
    """Add parity to a `.vcz` file, or replace the parity that it has.

    The archive stays as it is, byte for byte, and the parity follows it. Any damage that lies within one stretch of at
    most `share` of the file can then be repaired, wherever the stretch begins, be it overwritten, cut off or lost. So
    can any damage to `places` blocks wherever they are: see docs/format.md, "Parity".

    Parameters:
        path: the file. It is replaced when the new one is complete.
        share: from 0.01 to 0.5, or 0 to remove the parity.

    Raises:
        DamagedError: the file is damaged.
        ArgumentError: an argument has another type.
        UnsupportedError: the file cannot be read, or is a URL, or the share is another.
        TargetError: the file cannot be written; it is unchanged, as after any other error.

    Example:
        >>> import numpy as np, tempfile, volcomp
        >>> path = tempfile.mkdtemp() + "/ramp.vcz"
        >>> with open(path, "wb") as file:
        ...     written = file.write(volcomp.compress(np.arange(60000, dtype=np.uint16).reshape(6, 100, 100)))
        >>> volcomp.protect(path, 0.05).bytes > written
        True
    """
    path = local(path, "path")
    check_share(share, "share")
    with opened(path) as reader:
        for section in reader.places:
            reader.check(section)
        size = _archive_bytes(path, reader)
    with _beside(path, path) as (file, temporary):
        with path.open("rb") as archive:
            _copy(archive, file, size)
        file.close()
        layout = add_parity(temporary, share) if share else None
        whole = temporary.stat().st_size
    if layout is None:
        return Protection(size, size, 0.0, 0)
    return Protection(size, whole, layout.stretch / whole, layout.parity)


def check(path: Path | Remote) -> Health | None:
    """Compare a file with its parity; None where it has none. Raises UnsupportedError if it cannot be read."""
    with readable(path) as file:
        with suppress(DamagedError, UnsupportedError):
            if Reader(file).parity is None:
                return None  # whole without parity; what may be found is that of archives in the archive
        return parity.examine(file)


def diagnose(path: Path | Remote) -> str | None:
    """Say what is damaged in a file with parity, and what can be done; None for a sound one, and without parity."""
    health = check(path)
    if health is None or health.is_sound:
        return None
    damaged = f"{health.damaged} of its {health.blocks} blocks {'is' if health.damaged == 1 else 'are'} damaged"
    found = damaged if health.damaged else "the file was altered"
    if health.is_repairable:
        return f"{found}, which {spelled('volcomp.repair')} restores"
    return f"{found}, more than its parity can repair; {spelled(SALVAGE)} restores what is undamaged"


def repair(
    path: os.PathLike[str] | str, output: os.PathLike[str] | str | None = None, *, force: bool = False
) -> Repair:
    """Restore a damaged file that has parity, to the bytes that were written.

    Parameters:
        path: the file.
        output: where to write the repaired file. Without it, the repaired file takes the name of the damaged one, which
            is then found under this name and ".damaged".
        force: overwrite an existing `output`.

    Returns:
        What was damaged. Of a sound file nothing is written.

    Raises:
        DamagedError: there is more damage than the parity can repair.
        ArgumentError: an argument has another type.
        UnsupportedError: the file has no parity, or cannot be read, or is a URL.
        TargetError: the output exists or cannot be written. As after any other error, nothing has changed.

    Example:
        >>> import numpy as np, pathlib, tempfile, volcomp
        >>> path = pathlib.Path(tempfile.mkdtemp(), "ramp.vcz")
        >>> array = np.arange(60000, dtype=np.uint16).reshape(6, 100, 100)
        >>> _ = path.write_bytes(volcomp.compress(array)), volcomp.protect(path)
        >>> good = path.read_bytes()
        >>> _ = path.write_bytes(b"rotten" + good[6:])
        >>> volcomp.repair(path).damaged, path.read_bytes() == good
        (1, True)
    """
    path = local(path, "path")
    check_flags(force=force)
    target = path if output is None else local(output, "output")
    health = check(path)
    if health is None:
        try:
            with opened(path):
                pass
        except DamagedError as error:
            found = str(error).removesuffix(advice())
            raise DamagedError(f"{found}; no sound parity is in it, so that it cannot be repaired") from None
        raise UnsupportedError(
            f"{path} has no parity and is not repaired; {spelled('volcomp.protect')} adds parity to sound files"
        )
    if health.is_sound:
        return Repair(0, health.blocks, None, None)
    kept = path.with_name(path.name + ".damaged") if output is None else None
    if output is not None:
        check_target(target, force=force)
    if kept and os.path.lexists(kept):
        raise TargetError(
            f"{kept} exists, from an earlier repair; move it away, or name another output with {spelled('output=')}"
        )
    with _kept_at(path, kept) as keep, _beside(path, target) as (file, temporary):
        file.close()
        with readable(path) as damaged, temporary.open("r+b") as repaired:
            try:
                parity.restore(damaged, health, repaired)
            except DamagedError as error:
                raise DamagedError(
                    f"{path} cannot be repaired: {error}; nothing was changed, and {spelled(SALVAGE)} restores "
                    "what is undamaged"
                ) from None
            os.fsync(repaired.fileno())
        keep()
    return Repair(health.damaged, health.blocks, target, kept)


def _archive_bytes(path: Path, reader: Reader) -> int:
    """Return the bytes of the archive without its parity. DamagedError unless the parity is sound."""
    if reader.parity is None:
        return reader.size
    health = check(path)
    if health is None or not health.is_sound:
        raise DamagedError(f"its parity is damaged; {spelled('volcomp.repair')} restores it")
    return health.layout.size


@contextmanager
def _beside(path: Path, target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a new file, which takes the name of `target` (behind symbolic links) and the mode of `path`."""
    real, mode = Path(os.path.realpath(target)), path.stat().st_mode
    with new_file(real, force=True) as (file, temporary):
        yield file, temporary
    with suppress(OSError):  # some file systems have no modes
        real.chmod(stat.S_IMODE(mode))


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size and (piece := source.read(min(1 << 20, size))):
        target.write(piece)
        size -= len(piece)


@contextmanager
def _kept_at(path: Path, kept: Path | None) -> Iterator[Callable[[], None]]:
    """Yield a function that gives a file a second name, or where the file system has no links another one.

    After an exception before the first name is that of a new file, the file has this name alone again.
    """

    def keep() -> None:
        if kept:
            try:
                os.link(path, kept)
            except FileExistsError:
                raise TargetError(f"{kept} has just been made by somebody else; nothing was changed") from None
            except OSError:
                os.rename(path, kept)

    try:
        yield keep
    except BaseException:
        if kept and os.path.lexists(kept):
            if not os.path.lexists(path):
                os.rename(kept, path)
            elif os.path.samefile(kept, path):
                kept.unlink()
        raise
