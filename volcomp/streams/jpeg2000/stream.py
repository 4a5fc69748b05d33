"""The stream codecs of JPEG 2000 without loss (ITU-T T.800), and of its High-Throughput code blocks (ITU-T T.814).

Samples determine the wavelet coefficients, these the code blocks' segments but for how their last bytes are chosen,
and segments the packet headers of an encoder that wastes nothing. Side information keeps the other headers, and
differences.
"""

from __future__ import annotations

import numpy as np

from ...dtypes import Int32s
from ...errors import DamagedError
from ..protocol import FrameInfo, NotReproducible, Parts, Samples
from . import assembly, coder, codestream
from . import side as sides
from .geometry import geometry
from .packets import SHORT_ENDS

# An image without any content takes a byte for thousands of samples; beyond, its size is a claim.
_SAMPLES_OF_A_BYTE, _SAMPLES = 1 << 12, 1 << 24
# What differs must be little: bytes for each block, or a share of the stream.
_TAIL, _SHARE = 8, 16


class Jpeg2000:
    """The codec, see `Stream`."""

    number = 6
    name = "JPEG 2000"
    high = False  # whether code blocks are High-Throughput ones

    def take_apart(self, data: bytes, frame: FrameInfo) -> Parts:
        """Decode a frame, and compare its headers and segments with those that `make` derives from samples."""
        stream = codestream.read(data, whole=True, high=self.high)
        size = stream.size
        if (size.y1 - size.y0, size.x1 - size.x0, size.components) != frame[:3] or size.precision > frame.bits:
            raise NotReproducible("its JPEG 2000 stream contradicts the file's header")
        if size.components * frame.rows * frame.columns > _SAMPLES + _SAMPLES_OF_A_BYTE * len(data):
            raise NotReproducible("its JPEG 2000 stream is too short for its size")
        layout = geometry(size, stream.main, stream.tiles)
        if len(layout.packets) > len(data):
            raise NotReproducible("it has more packets than bytes")
        array = np.frombuffer(data, np.uint8)
        reading, counts = assembly.read(stream, layout, array)
        fewer = assembly.fewer(reading.coded)
        declared = assembly.complete(reading.coded, fewer)
        if not self.high and _lacks_passes(declared):
            raise NotReproducible("its JPEG 2000 stream was cut to a rate: lossy, and decoders read it differently")
        segments, begins, lengths = coder.gather(array, layout, reading)
        decoded = coder.decode(size, layout, declared, segments, begins, lengths)
        own = np.stack([decoded.own, np.maximum(3 * decoded.own - 2, 0)], axis=1)
        habits, heads = assembly.kept(layout, reading, array, own, lengths.astype(np.int32), fewer)
        habits |= SHORT_ENDS * decoded.short
        corrections = assembly.corrections(decoded.same, segments, begins, lengths)
        tails = sum(len(one.tail) for one in corrections)
        if tails > _TAIL * np.count_nonzero(lengths) and tails > len(data) // _SHARE:
            raise NotReproducible("its code blocks were coded in another way")
        frame_bytes, counted = assembly.frame(data, stream)
        return Parts(
            decoded.samples, sides.pack(sides.Side(frame_bytes, counted, fewer, habits, counts, heads, corrections))
        )

    def make(self, samples: Samples, side: bytes) -> bytes:
        """Encode samples, correct what differs, and put the headers around it."""
        parts = sides.unpack(side)
        try:
            stream = codestream.read(parts.frame, whole=False, high=self.high)
            size = stream.size
            if samples.shape != (size.components, size.y1 - size.y0, size.x1 - size.x0):
                raise DamagedError("the samples of a JPEG 2000 stream do not have the size that it states")
            if samples.dtype != coder.sample_type(size):
                raise DamagedError("the samples of a JPEG 2000 stream are not of the type that it states")
            layout = geometry(size, stream.main, stream.tiles)
        except NotReproducible as error:
            raise DamagedError(f"the headers of a JPEG 2000 stream are damaged: {error}") from None
        kept, reading = assembly.read_kept(layout, parts.heads)
        wanted = np.full((len(layout.blocks), 2), -1, np.int32)
        declared = assembly.complete(reading.coded, parts.fewer)
        assembly.want(wanted, layout, [number for number, _ in parts.heads], declared)
        made = coder.encode(layout, coder.transform(size, layout, samples), wanted, bool(parts.habits & SHORT_ENDS))
        made = assembly.correct(made, parts.corrections)
        return assembly.assemble(stream, layout, parts, kept, reading, made)

    def is_truncated(self, side: bytes) -> bool:
        """Return whether code blocks lack coding passes, so that a decoder may choose between several values (ITU-T
        T.800, E.1.1): the samples are then ours, and those of another decoder differ. `side` is of `take_apart`."""
        parts = sides.unpack(side)
        stream = codestream.read(parts.frame, whole=False, high=self.high)
        layout = geometry(stream.size, stream.main, stream.tiles)
        _, reading = assembly.read_kept(layout, parts.heads)  # heads that are not kept follow from all passes
        declared = assembly.complete(reading.coded, parts.fewer)
        return not self.high and _lacks_passes(declared)


def _lacks_passes(declared: Int32s) -> bool:
    """Return whether code blocks lack coding passes, given their bit planes and passes int32 [n, 2]: 3 · planes − 2 are
    all there are (ITU-T T.800, D.3)."""
    return bool(((declared[:, 1] > 0) & (declared[:, 1] < 3 * declared[:, 0] - 2)).any())


class HighThroughput(Jpeg2000):
    """The codec of ITU-T T.814, for streams with cleanup passes of bit plane 0 alone, as they are without loss."""

    number = 7
    name = "High-Throughput JPEG 2000"
    high = True
