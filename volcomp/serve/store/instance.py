"""One instance, as the index knows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instance:
    """Where an instance is and what must be known of it to answer.

    study, series, sop  its UIDs
    sop_class           UID
    syntax              UID of the transfer syntax of the stored file
    size                bytes of the stored file
    frames              of its pixels; 0 of what is no image
    archive             the archive that has it; None where it lies in the inbox
    name                its name in the archive, or its path relative to the inbox
    sha256              of the stored file; b"" where nobody knows
    modified            when the archive or the file that has it was modified last, in ns since 1970
    """

    study: str
    series: str
    sop: str
    sop_class: str
    syntax: str
    size: int
    frames: int
    archive: Path | None
    name: str
    sha256: bytes = b""
    modified: int = 0
