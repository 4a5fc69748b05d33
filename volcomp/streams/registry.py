"""The stream codecs, and the trial that every stream goes through before an archive relies on one."""

from __future__ import annotations

from .deflate import Deflate
from .jpeg2000.stream import HighThroughput, Jpeg2000
from .jpeg_lossless import JpegLossless
from .jpeg_ls import JpegLs
from .protocol import FrameInfo, NotReproducible, Parts, Stream
from .rle import Rle

STREAMS: tuple[Stream, ...] = (JpegLossless(), Rle(), JpegLs(), Deflate(), Jpeg2000(), HighThroughput())
BY_NUMBER = {stream.number: stream for stream in STREAMS}


def trial(stream: Stream, data: bytes, frame: FrameInfo) -> Parts:
    """Take a stream apart, make it again and compare. Raises NotReproducible where that does not give `data`."""
    parts = stream.take_apart(data, frame)
    if stream.make(*parts) != data:
        raise NotReproducible(f"its {stream.name} stream does not come back identical")
    return parts
