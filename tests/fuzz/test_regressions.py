"""Inputs that once failed, as small as they could be made."""

import pytest

from tests.fuzz.golden_streams import frames
from tests.fuzz.registry import TARGETS
from tests.helpers import image, noise
from volcomp.formats.dicom import DICOM
from volcomp.streams.protocol import NotReproducible
from volcomp.streams.registry import BY_NUMBER

_META = b"\2\0\x10\0UI"  # the head of the transfer syntax


@pytest.fixture
def sound(tmp_path):
    """The bytes of a file, and where in it the transfer syntax begins and ends."""
    data = image(tmp_path / "a", noise((6, 5))).read_bytes()
    begin = data.index(_META)
    return data, begin, begin + 8 + data[begin + 6]


def test_an_element_of_the_meta_information_comes_twice(sound):
    """The second one took the place of the first in the table of kept bytes, so that no archive was written."""
    data, begin, end = sound
    TARGETS["dicom"].check(data[:end] + data[begin:])


def test_elements_of_the_meta_information_are_out_of_order(sound):
    """They changed places in the table of kept bytes."""
    data, begin, end = sound
    TARGETS["dicom"].check(data[:132] + data[begin:end] + data[132:begin] + data[end:])


def test_cuts_go_up_and_stay_inside(sound):
    data, begin, end = sound
    for changed in (data[:end] + data[begin:], data[:end] + b"\xff\xff\xff\xffUN\0\0\1\0\0\0x" + data[end:]):
        for size in range(len(changed)):
            cuts = DICOM.cut(changed[:size])
            tags = [cut.tag for cut in cuts]
            assert tags == sorted(set(tags)) and all(tag < 0xFFFFFFFF for tag in tags)
            places = [place for cut in cuts for place in (cut.start, cut.value)] + [size]
            assert places == sorted(places)


@pytest.mark.xfail(raises=OverflowError, strict=False, reason="the place of a box of JP2 is not bounded yet")
def test_a_box_of_jp2_ends_beyond_64_bits():
    """Its length was added to its place, which a C integer does not hold."""
    data = frames("jpeg2000")[3]
    long = data.data[:12] + b"\0\0\0\1free" + (1 << 63).to_bytes(8, "big") + data.data[12:]
    with pytest.raises(NotReproducible):
        BY_NUMBER[6].take_apart(long, data.info)
