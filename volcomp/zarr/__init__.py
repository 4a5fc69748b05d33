"""volcomp as a codec of Zarr: `VolcompCodec` for format 3, `Volcomp` for format 2.

Both are found by their entry points, so that whoever reads an array need not import this package. Their chunks are the
same; `chunks` has the bytes, `docs/zarr.md` the description. Each class is imported when it is asked for: format 2
needs numcodecs alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .v2 import Volcomp
    from .v3 import VolcompCodec

__all__ = ["Volcomp", "VolcompCodec"]

_HOMES = {"Volcomp": "v2", "VolcompCodec": "v3"}


def __getattr__(name: str) -> Any:
    """Import the class of one format."""
    if name not in _HOMES:
        raise AttributeError(f"module 'volcomp.zarr' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """Name what is public, imported or not."""
    return sorted(__all__)
