"""The body codecs by their numbers in archives. A new one is a new file in this folder and its line here."""

from __future__ import annotations

from ..errors import NewerError
from .bits import Bits
from .deflated import Deflated
from .encapsulated import Encapsulated
from .gzipped import Gzipped
from .native import Native
from .numbers import Numbers
from .png import Png
from .protocol import Body
from .samples import Samples

BODIES: dict[int, Body] = {
    0: Native(big_endian=False),
    1: Native(big_endian=True),
    2: Samples(),
    3: Encapsulated(),
    4: Deflated(),
    5: Numbers(),
    6: Bits(),
    7: Encapsulated(),  # of samples of 32 bits, which 0.10.0 cannot make
    8: Gzipped(),
    9: Png(),
}


def body(number: int) -> Body:
    """Return a body codec. Raises UnsupportedError for one that this version does not know."""
    if number not in BODIES:
        raise NewerError(f"an image is kept by the unknown body codec {number}; upgrade volcomp")
    return BODIES[number]
