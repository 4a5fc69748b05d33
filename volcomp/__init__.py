"""Lossless compression of medical images, exact on every machine.

data = volcomp.compress(array)                     # (z, y, x) or (y, x) of 8- or 16-bit integers
array = volcomp.decompress(data)                   # or slices=slice(40, 44)
volcomp.inspect(data)

volume = volcomp.open("study.vcz")                 # lazy: volume[40] decodes one slab; volume.affine, volume.to_sitk()
volcomp.compress_files("study", "study.vcz")       # a folder, or several files and folders
volcomp.decompress_files("study.vcz", "restored")
volcomp.protect("ct.vcz", 0.02)                    # against bit rot; volcomp.repair heals the file
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.13.0"

if TYPE_CHECKING:
    from .archive.protect import Protection, Repair, protect, repair
    from .arrays import compress
    from .container.inspection import ParityReport, Report, VolumeReport, inspect
    from .errors import (
        ArgumentError,
        DamagedError,
        MissingError,
        NewerError,
        SourceError,
        TargetError,
        UnkeptWarning,
        UnsupportedError,
        VerificationError,
        VolcompError,
    )
    from .files import append, compress_files, decompress_files, info, list_files, verify
    from .reading.archive import Archive, open
    from .reading.arrays import decompress
    from .reading.volume import Volume

__all__ = [
    "Archive",
    "ArgumentError",
    "DamagedError",
    "MissingError",
    "NewerError",
    "ParityReport",
    "Protection",
    "Repair",
    "Report",
    "SourceError",
    "TargetError",
    "UnkeptWarning",
    "UnsupportedError",
    "VerificationError",
    "VolcompError",
    "Volume",
    "VolumeReport",
    "__version__",
    "append",
    "compress",
    "compress_files",
    "decompress",
    "decompress_files",
    "info",
    "inspect",
    "list_files",
    "open",
    "protect",
    "repair",
    "verify",
]


_ERRORS = (
    "ArgumentError", "DamagedError", "MissingError", "NewerError", "SourceError", "TargetError", "UnkeptWarning",
    "UnsupportedError", "VerificationError", "VolcompError",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(("ParityReport", "Report", "VolumeReport", "inspect"), "container.inspection"),
    "compress": "arrays",
    "decompress": "reading.arrays",
    **dict.fromkeys(("Protection", "Repair", "protect", "repair"), "archive.protect"),
    **dict.fromkeys(("append", "compress_files", "decompress_files", "info", "list_files", "verify"), "files"),
    **dict.fromkeys(("Archive", "open"), "reading.archive"),
    "Volume": "reading.volume",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: numpy and numba take a second, `volcomp --help` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module 'volcomp' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """Name what is public, imported or not."""
    return sorted(__all__)
