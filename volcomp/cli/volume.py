"""Which volume of an archive a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..archive.remote import Remote
from ..errors import UnsupportedError

if TYPE_CHECKING:
    from ..reading.archive import Archive
    from ..reading.volume import Volume


def chosen(archive: Archive, file: Path | Remote, name: str | None) -> Volume:
    """Return the volume that `--series` names, or the only one. Raises UnsupportedError where there are several."""
    if len(archive.volumes) > 1 and not name:
        raise UnsupportedError(f"{file} has {archive.volumes.listed()}; choose one with --series")
    return archive.volumes[name] if name else archive.volumes.only()
