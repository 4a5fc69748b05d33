"""What all stream codecs have in common."""

import numpy as np
import pytest

from volcomp import precompile
from volcomp.streams.protocol import FrameInfo, NotReproducible
from volcomp.streams.registry import BY_NUMBER, STREAMS, trial

AHEAD = list(precompile._streams())


def test_every_codec_is_compiled_ahead():
    assert {(number, bits) for number, bits, _ in AHEAD} == {(s.number, bits) for s in STREAMS for bits in (8, 16)}


@pytest.mark.parametrize(("number", "bits", "data"), AHEAD)
def test_streams_of_the_same_picture(number, bits, data):
    parts = trial(BY_NUMBER[number], data, FrameInfo(32, 32, 1, bits))
    assert np.array_equal(parts.samples, precompile._picture(bits))


@pytest.mark.parametrize(("number", "bits", "data"), [one for one in AHEAD if one[0] not in (2, 4)])  # have no shape
@pytest.mark.parametrize("frame", [FrameInfo(31, 32, 1, 16), FrameInfo(32, 32, 2, 16), FrameInfo(1, 1, 1, 8)])
def test_frames_of_another_shape_are_refused(number, bits, data, frame):
    with pytest.raises(NotReproducible):
        trial(BY_NUMBER[number], data, frame)


def test_numbers_are_given_once():
    assert len(BY_NUMBER) == len(STREAMS) and 0 not in BY_NUMBER
