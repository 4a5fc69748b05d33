"""The interface of a stream codec. A new one is a new file beside this one, and its name in `registry`.

An archive codes the samples as a volume and keeps `side`, all that samples do not determine. Files are restored from
both for decades, so `make` is our own code and never changes its output; it does not depend on a library's release.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

Samples = NDArray[Any]  # uint8, uint16, int8, int16 or, of 32 bits allocated, uint32 [components, Y, X], C-contiguous


class NotReproducible(Exception):
    """A stream that cannot be made again. The message completes "kept as it is, because …"."""


class FrameInfo(NamedTuple):
    """What the container file states about each of its frames. Streams may contradict it."""

    rows: int
    columns: int
    components: int  # samples per pixel
    bits: int  # allocated for a sample: 8, 16 or 32


class Parts(NamedTuple):
    """A stream taken apart."""

    samples: Samples
    side: bytes  # small: headers, and the choices of the encoder that wrote the stream


class Stream(Protocol):
    """One stream codec."""

    number: int  # names the codec in archives, for ever
    name: str  # "JPEG Lossless"

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Decode one frame.

        Parameters:
            data: the whole stream of the frame. It may be damaged or hostile.
            frame: what the container file states. The samples come back in this shape.

        Raises:
            NotReproducible: where `make` could not give `data` again, or `data` is no stream of this codec, or none of
                such a frame. No content may raise another error, nor take memory beyond a small multiple of data and
                samples, whatever data and frame state.
        """
        ...

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Return the stream of samples and side, the inverse of `take_apart`.

        Raises:
            DamagedError: where `side` makes no sense or contradicts the shape or type of the samples.
        """
        ...
