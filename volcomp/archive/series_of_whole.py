"""Find the series of images that are kept whole: an archive does not say it, but their first bytes do."""

from __future__ import annotations

import os
from collections.abc import Collection

from ..container.sections import Reader
from ..errors import DamagedError
from ..formats import registry
from ..wire.cursor import Cursor
from .entry import JPEG_XL, Stored
from .header_reader import Blobs
from .manifest import Manifest

_HEAD_BYTES = 1 << 20  # of a file, in which its series must be named


def whole_by_series(reader: Reader, manifest: Manifest, wanted: Collection[str]) -> dict[str, set[str]]:
    """Return the names of the files of each series that are kept whole. Only those are looked at of which the archive
    notes why they were not coded: all others are of no known format.

    Raises DamagedError, but not of an archive that is salvaged.
    """
    blobs = Blobs(reader)
    found: dict[str, set[str]] = {uid: set() for uid in wanted}
    for entry in manifest.whole:
        if not entry.note or not isinstance(entry.place, Stored):
            continue
        try:
            head = _head(entry.place, blobs)
        except DamagedError:
            if not reader.salvage:
                raise
            continue
        if any(os.fsencode(uid) in head for uid in wanted):  # a glance first, as for images
            found.get(registry.describe([head]).series, set()).add(entry.name)
    return found


def _head(place: Stored, blobs: Blobs) -> bytes:
    """Return the first bytes of a file."""
    head = b"".join(blobs.pieces(place.start, place.start + min(place.size, _HEAD_BYTES)))
    if place.packing == JPEG_XL:  # what precedes the first frame is kept as it is
        cursor = Cursor(head, "the packed bytes of a file")
        cursor.take(1)
        length = cursor.varint()
        head = cursor.rest()[:length]
    return head
