"""The fuzz targets by their names."""

from __future__ import annotations

from . import archives, dicom, formats, lossy, parity, streams
from .target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *archives.TARGETS,
        *parity.TARGETS,
        *dicom.TARGETS,
        *formats.TARGETS,
        *streams.TARGETS,
        *lossy.TARGETS,
    )
}
