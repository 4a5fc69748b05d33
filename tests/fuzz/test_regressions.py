"""Inputs that once failed, as small as they could be made."""

import zlib

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

import volcomp
from tests.fuzz.archives import sections_of, written
from tests.fuzz.golden_streams import frames
from tests.fuzz.registry import TARGETS
from tests.helpers import image, noise
from volcomp.container.sections import VOLUME_HEADER
from volcomp.errors import DamagedError
from volcomp.formats.dicom import DICOM
from volcomp.formats.protocol import NotCoded
from volcomp.formats.registry import read_image
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


def test_a_volume_of_several_slices_is_called_two_dimensional():
    """Its first slice came out, and no error."""
    data = volcomp.compress(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), model="turbo", threads=1)
    sections, version = sections_of(data)
    flagged = [
        (section, b"\1" + payload[1:] if section.tag == VOLUME_HEADER else payload) for section, payload in sections
    ]
    with pytest.raises(DamagedError, match="has 3 slices and is called two-dimensional"):
        volcomp.decompress(written(flagged, version), threads=1)


def test_a_deflated_data_set_is_nearly_all_padding(tmp_path):
    """A file of 40 kB took 300 MiB of memory, and one of 1 MB 7 GiB."""
    path = image(tmp_path / "a", noise((6, 5)), syntax=DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    begin = data.index(DeflatedExplicitVRLittleEndian.encode()) + 22
    while data[begin : begin + 2] == b"\2\0":  # to the end of the meta information
        begin += 8 + data[begin + 6]
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = machine.compress(zlib.decompress(data[begin:], -15)) + machine.compress(bytes(40 << 20)) + machine.flush()
    path.write_bytes(data[:begin] + stream)
    with pytest.raises(NotCoded, match="inflates to far more than its pixels"):
        read_image(path, "a")


def test_a_box_of_jp2_ends_beyond_64_bits():
    """Its length was added to its place, which a C integer does not hold."""
    data = frames("jpeg2000")[3]
    long = data.data[:12] + b"\0\0\0\1free" + (1 << 63).to_bytes(8, "big") + data.data[12:]
    with pytest.raises(NotReproducible):
        BY_NUMBER[6].take_apart(long, data.info)
