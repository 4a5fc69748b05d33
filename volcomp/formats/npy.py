"""Arrays of numpy in files of their own (NEP 1), of numbers in one of its two orders."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .facts import Facts
from .protocol import Format, Image, NotCoded
from .uncompressed import Stated, image_of

_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 1 << 16  # bytes; numpy itself refuses to read longer ones
# Not evaluated as Python: a header may hold anything.
_TYPE = re.compile(rb"""['"]descr['"]\s*:\s*['"]([<>|=]?[biufc][0-9]{1,2})['"]""")
_ORDER = re.compile(rb"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(rb"""['"]shape['"]\s*:\s*\(([0-9L, ]*)\)""")
_MOST_COMPONENTS = 4


class Npy(Format):
    """A `.npy` file."""

    def sniff(self, head: bytes) -> bool:
        """Accept the magic number."""
        return head.startswith(_MAGIC)

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file."""
        return image_of(self, path, name, file, _stated(file))

    def facts(self, header: bytes) -> Facts | None:
        """Return what a header states."""
        try:
            stated = _stated(BytesIO(header))
        except NotCoded:
            return None
        return Facts(stated.type, stated.shape, stated.components)


def _stated(file: BinaryIO) -> Stated:
    """Read a header. Raises NotCoded."""
    head = file.read(len(_MAGIC) + 6)
    width = 2 if head[6:7] == b"\1" else 4
    start = len(_MAGIC) + 2 + width
    if head[6:7] not in (b"\1", b"\2", b"\3") or len(head) < start:
        raise NotCoded("its header is of an unknown version")
    length = int.from_bytes(head[start - width : start], "little")
    file.seek(start)
    text = file.read(min(length, _MOST_HEADER))
    kind, fortran, shape = (pattern.findall(text) for pattern in (_TYPE, _ORDER, _SHAPE))
    if len(text) < length or not len(kind) == len(fortran) == len(shape) == 1:
        raise NotCoded("its header does not describe an array of plain numbers")
    axes = [int(n) for n in re.findall(rb"[0-9]+", shape[0])]
    if fortran[0] != b"True":
        axes.reverse()
    try:
        numbers = np.dtype(kind[0].decode("ascii"))
    except TypeError:
        raise NotCoded(f"its numbers are of the type {kind[0].decode('ascii')}") from None
    components = axes[0] if len(axes) > 2 and 1 < axes[0] <= _MOST_COMPONENTS else 1
    return Stated(
        start + length, numbers, tuple(axes[components > 1 :]), components, colour=numbers.kind == "u"
    )  # fmt: skip


NPY = Npy()
