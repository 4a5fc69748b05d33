"""Streams of OpenJPEG and Grok come back byte for byte, with the samples that they were made from."""

import random
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from tests.streams.jpeg2000 import GOLDEN, LOSSY, Image, codec, golden, picture
from volcomp.errors import DamagedError
from volcomp.streams.jpeg2000 import packets
from volcomp.streams.jpeg2000 import side as sides
from volcomp.streams.jpeg2000.stream import HighThroughput, Jpeg2000
from volcomp.streams.protocol import FrameInfo, NotReproducible
from volcomp.streams.registry import BY_NUMBER, trial
from volcomp.training import corpus

CODEC = Jpeg2000()
# Packets with layers, and those of Grok where a block of zeros has a segment; segments that end in another way.
KEPT_HEADS = {"opj_layers.j2k": 12, "ht_grk.j2k": 6}
CORRECTIONS = {"opj_predictable.j2k": 2}


def test_their_numbers_are_for_ever():
    assert type(BY_NUMBER[6]) is Jpeg2000
    assert type(BY_NUMBER[7]) is HighThroughput


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_streams_hold_their_image_and_come_back(name):
    parts = codec(name).take_apart(golden(name), GOLDEN[name].info)
    expected = picture(*GOLDEN[name])
    assert parts.samples.dtype == expected.dtype and parts.samples.flags.c_contiguous
    np.testing.assert_array_equal(parts.samples, expected)
    assert codec(name).make(*parts) == golden(name)


@pytest.mark.parametrize("name", GOLDEN)
def test_side_information_is_little_besides_the_frame(name):
    """Packet headers and segments of these encoders follow from the samples, with few exceptions."""
    side = sides.unpack(codec(name).take_apart(golden(name), GOLDEN[name].info).side)
    assert side.lengths and side.fewer == 0
    assert len(side.heads) == KEPT_HEADS.get(name, 0)
    assert len(side.corrections) == CORRECTIONS.get(name, 0)
    assert all(len(one.tail) == 1 for one in side.corrections)


def test_frames_of_one_size_differ_little():
    """Lengths of tile-parts are counted, so that headers of consecutive frames are the same."""
    shape = GOLDEN["opj_precincts.j2k"]
    samples, side = CODEC.take_apart(golden("opj_precincts.j2k"), shape.info)
    other = CODEC.make(np.roll(samples, 9, axis=2), side)
    assert other != golden("opj_precincts.j2k")
    again = CODEC.take_apart(other, shape.info)
    assert again.side == side
    np.testing.assert_array_equal(again.samples, np.roll(samples, 9, axis=2))


def test_streams_of_early_gdcm_declare_a_pass_too_few():
    name = "opj_rgb.jp2"
    samples, side = CODEC.take_apart(golden(name), GOLDEN[name].info)
    stream = CODEC.make(samples, sides.pack(sides.unpack(side)._replace(fewer=1)))
    assert len(stream) == pytest.approx(len(golden(name)), abs=20) and stream != golden(name)
    again = trial(CODEC, stream, GOLDEN[name].info)
    np.testing.assert_array_equal(again.samples, samples)
    assert sides.unpack(again.side).fewer == 1 and len(again.side) <= len(side) + 20


def test_segments_may_end_with_the_fewest_bytes():
    """As those of Kakadu do."""
    name = "opj_tiles_offset.j2k"
    samples, side = CODEC.take_apart(golden(name), GOLDEN[name].info)
    stream = CODEC.make(samples, sides.pack(sides.unpack(side)._replace(habits=packets.SHORT_ENDS)))
    assert len(golden(name)) - 60 < len(stream) < len(golden(name))
    again = trial(CODEC, stream, GOLDEN[name].info)
    np.testing.assert_array_equal(again.samples, samples)
    found = sides.unpack(again.side)
    assert found.habits == packets.SHORT_ENDS and not found.corrections


def test_other_ends_of_segments_are_kept():
    """Some encoders drop a last byte that the decoder would read as 1 bits, others write more than they need."""
    name = "opj_precincts.j2k"
    samples, side = CODEC.take_apart(golden(name), GOLDEN[name].info)
    corrections = [sides.Correction(3, 1, b""), sides.Correction(20, 0, b"\x12"), sides.Correction(50, 0, b"\x01\x02")]
    stream = CODEC.make(samples, sides.pack(sides.unpack(side)._replace(corrections=corrections)))
    found = trial(CODEC, stream, GOLDEN[name].info)
    assert [one.block for one in sides.unpack(found.side).corrections] == [3, 20, 50]


def test_what_surrounds_a_codestream_is_kept():
    info = GOLDEN["opj_rgb.jp2"].info
    for stream in (golden("opj_rgb.jp2") + b"\0", golden("opj_rgb.jp2")[:-2], golden("opj_rgb.jp2") + bytes(range(99))):
        trial(CODEC, stream, info)


def test_the_last_tile_part_may_leave_its_length_open():
    name = "opj_rgb_plain.j2k"
    stream = bytearray(golden(name))
    at = stream.index(b"\xff\x90\x00\x0a") + 6
    stream[at : at + 4] = bytes(4)
    parts = trial(CODEC, bytes(stream), GOLDEN[name].info)
    assert not sides.unpack(parts.side).lengths


def test_two_threads_may_use_one_codec():
    name = "grk_tile_parts.j2k"
    parts = CODEC.take_apart(golden(name), GOLDEN[name].info)
    with ThreadPoolExecutor(2) as pool:
        assert all(made == golden(name) for made in pool.map(lambda _: CODEC.make(*parts), range(8)))


def _with(name: str, marker: int, offset: int, value: bytes) -> bytes:
    """Return a stream with bytes replaced at an offset from a marker."""
    stream = bytearray(golden(name))
    at = stream.index(struct.pack(">H", marker)) + offset
    stream[at : at + len(value)] = value
    return bytes(stream)


def _before_sot(name: str, segment: bytes) -> bytes:
    """Return a stream with a marker segment more."""
    stream = golden(name)
    at = stream.index(b"\xff\x90\x00\x0a")
    return stream[:at] + segment + stream[at:]


COD, QCD, SIZ, SOT = 0xFF52, 0xFF5C, 0xFF51, 0xFF90
PLAIN = "opj_precincts.j2k"
REFUSED = {
    "wavelet": _with(PLAIN, COD, 13, b"\x00"),
    "quantised": _with(PLAIN, QCD, 4, b"\x41"),
    "several segments": _with(PLAIN, COD, 12, b"\x01"),
    "are High-Throughput": _with(PLAIN, COD, 12, b"\x40"),
    "region of interest": _before_sot(PLAIN, b"\xff\x5e\x00\x05\x00\x00\x07"),
    "order of its packets": _before_sot(PLAIN, b"\xff\x5f\x00\x09\x00\x00\x00\x01\x03\x01\x00"),
    "packet headers elsewhere": _before_sot(PLAIN, b"\xff\x60\x00\x04\x00\x00"),
    "subsampled": _with(PLAIN, SIZ, 41, b"\x02"),
    "more than 16 bits": _with(PLAIN, SIZ, 40, b"\x10"),
    "components that it lacks": _with(PLAIN, COD, 8, b"\x01"),
    "lacks bands": _with("opj_rgb_plain.j2k", COD, 9, b"\x05"),
    "lacks tiles": _with(PLAIN, SIZ, 22, b"\x00\x00\x00\x10\x00\x00\x00\x10"),
    "no JPEG 2000 codestream": b"\xff\xd8" + golden(PLAIN)[2:],
    "cut short": b"",
    "lacks packets": _with(PLAIN, SOT, 6, b"\x00\x00\x00\x0e")[: golden(PLAIN).index(b"\xff\x93") + 2],
    "makes no sense": _with(PLAIN, COD, 5, b"\x05"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_supported_is_refused_with_the_reason(reason):
    info = GOLDEN["opj_rgb_plain.j2k" if reason == "lacks bands" else PLAIN].info
    with pytest.raises(NotReproducible, match=reason):
        CODEC.take_apart(REFUSED[reason], info)


def _segment(stream: bytes, marker: int) -> tuple[int, int]:
    """Return where a marker segment begins and ends."""
    at = stream.index(struct.pack(">H", marker))
    return at, at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")


def test_parameters_of_components_go_before_those_of_the_image():
    """COD and QCD are made wrong, and COC and QCC say for each component what they said."""
    name = "opj_rgb_plain.j2k"
    stream = golden(name)
    at, end = _segment(stream, COD)
    cod = stream[at:end]
    wrong_cod = cod[:9] + b"\x04\x04\x04\x00" + cod[13:]
    at_qcd, end_qcd = _segment(stream, QCD)
    qcd = stream[at_qcd:end_qcd]
    wrong_qcd = b"\xff\x5c\x00\x10\xe0" + b"\x08" * 13
    own = b"".join(
        b"\xff\x53\x00\x09" + bytes([c, 0]) + cod[9:14] + b"\xff\x5d\x00" + bytes([len(qcd) - 1, c]) + qcd[4:]
        for c in range(3)
    )
    other = stream[:at] + wrong_cod + stream[end:at_qcd] + wrong_qcd + own + stream[end_qcd:]
    np.testing.assert_array_equal(trial(CODEC, other, GOLDEN[name].info).samples, picture(*GOLDEN[name]))


def test_parameters_of_a_tile_go_before_those_of_the_image():
    name = "opj_rgb_plain.j2k"
    stream = golden(name)
    at, end = _segment(stream, COD)
    cod = stream[at:end]
    wrong = cod[:5] + b"\x00\x00\x01\x01\x01\x04\x04\x08\x01"
    begin, after = _segment(stream, SOT)
    length = int.from_bytes(stream[begin + 6 : begin + 10], "big") + len(cod)
    sot = stream[begin : begin + 6] + struct.pack(">I", length) + stream[begin + 10 : after]
    other = stream[:at] + wrong + stream[end:begin] + sot + cod + stream[after:]
    np.testing.assert_array_equal(trial(CODEC, other, GOLDEN[name].info).samples, picture(*GOLDEN[name]))


HT = "ht_openjph.j2k"
REFUSED_HIGH = {
    "not High-Throughput": golden(PLAIN),
    "style that is not supported": _with(HT, COD, 12, b"\x48"),
    "damaged": golden(HT)[:-4] + b"\xff\xff" + golden(HT)[-2:],  # a suffix longer than its segment
    "no JPEG 2000 codestream": golden(HT)[1:],
}


@pytest.mark.parametrize("reason", REFUSED_HIGH)
def test_what_is_not_supported_of_high_throughput_is_refused(reason):
    info = GOLDEN[PLAIN if reason == "not High-Throughput" else HT].info
    with pytest.raises(NotReproducible, match=reason):
        HighThroughput().take_apart(REFUSED_HIGH[reason], info)


def test_the_side_information_of_one_codec_is_none_of_the_other():
    for name, other in ((PLAIN, HighThroughput()), (HT, CODEC)):
        with pytest.raises(DamagedError, match="headers"):
            other.make(*codec(name).take_apart(golden(name), GOLDEN[name].info))


def test_a_lossy_stream_is_refused():
    """Its code blocks lack passes, which decoders make up for in ways of their own."""
    with pytest.raises(NotReproducible, match="was cut to a rate"):
        CODEC.take_apart(golden(LOSSY[0]), LOSSY[1].info)


@pytest.mark.parametrize("info", [(48, 48, 1, 8), (48, 47, 1, 16), (47, 48, 1, 16), (48, 48, 3, 16)])
def test_a_stream_of_another_size_is_refused(info):
    with pytest.raises(NotReproducible, match="contradicts"):
        CODEC.take_apart(golden("opj_layers.j2k"), FrameInfo(*info))


@pytest.mark.parametrize("edge", [1 << 15, 65535])
def test_an_immense_size_is_refused_before_anything_of_it_is_made(edge):
    stream = _with("opj_one.j2k", SIZ, 6, struct.pack(">II", edge, edge))
    at = stream.index(b"\xff\x51") + 22
    stream = stream[:at] + struct.pack(">II", edge, edge) + stream[at + 8 :]
    with pytest.raises(NotReproducible, match="too short for its size"):
        CODEC.take_apart(stream, FrameInfo(edge, edge, 1, 8))


def test_many_precincts_are_refused_before_anything_of_them_is_made():
    """An image of 2000 × 2000 samples with a packet for every 2 × 2 of them."""
    stream = golden("opj_one.j2k")
    stream = stream.replace(struct.pack(">II", 1, 1), struct.pack(">II", 2000, 2000))
    at = stream.index(b"\xff\x52")
    cod = b"\xff\x52\x00\x0e\x01\x00\x00\x01\x00\x01\x04\x04\x00\x01\x11\x11"
    qcd = b"\xff\x5c\x00\x07\x40\x40\x48\x48\x50"
    stream = stream[:at] + cod + qcd + stream[stream.index(b"\xff\x90") :]
    with pytest.raises(NotReproducible, match="packets"):
        CODEC.take_apart(stream, FrameInfo(2000, 2000, 1, 8))


def _mutated(data: bytes, source: random.Random) -> bytes:
    """Return data with bytes flipped, set, inserted or removed, or cut; more often near its begin."""
    out = bytearray(data)
    at = source.randrange(min(len(out), 200) if source.random() < 0.5 else len(out))
    kind = source.randrange(6)
    if kind < 3:
        for _ in range(source.choice([1, 1, 1, 3])):
            out[at] = source.choice([source.randrange(256), out[at] ^ 1 << source.randrange(8), 0, 255])
            at = source.randrange(len(out))
    elif kind == 3:
        del out[at:]
    elif kind == 4:
        out[at:at] = source.randbytes(source.choice([1, 2, 8]))
    else:
        del out[at : at + source.choice([1, 2, 8])]
    return bytes(out)


@pytest.mark.parametrize("name", GOLDEN)
def test_damaged_streams_come_back_or_are_refused(name):
    source = random.Random(name)
    refused = 0
    for _ in range(120):
        stream = _mutated(golden(name), source)
        try:
            parts = codec(name).take_apart(stream, GOLDEN[name].info)
        except NotReproducible:
            refused += 1
        else:
            assert codec(name).make(*parts) == stream
    assert 20 < refused < 120


@pytest.mark.parametrize("name", GOLDEN)
def test_damaged_side_information_is_an_error_or_another_stream(name):
    source = random.Random(name)
    samples, side = codec(name).take_apart(golden(name), GOLDEN[name].info)
    errors = 0
    for _ in range(120):
        try:
            assert isinstance(codec(name).make(samples, _mutated(side, source)), bytes)
        except DamagedError:
            errors += 1
    assert 20 < errors < 120


def test_samples_of_another_shape_or_type_are_an_error():
    image = Image(1, 64, 80, 8, False)
    samples, side = CODEC.take_apart(golden(PLAIN), image.info)
    for other in (samples[:, ::2], samples.astype(np.uint16), samples.astype(np.int8), samples[0], samples[:0]):
        with pytest.raises(DamagedError, match="samples"):
            CODEC.make(other, side)


def test_samples_beyond_what_headers_allow_are_an_error():
    """A header that allows two bit planes less than the samples need."""
    samples, side = CODEC.take_apart(golden(PLAIN), GOLDEN[PLAIN].info)
    parts = sides.unpack(side)
    at = parts.frame.index(b"\xff\x5c") + 4
    frame = parts.frame[:at] + b"\x00" + parts.frame[at + 1 :]
    loud = np.random.default_rng(0).integers(0, 256, samples.shape).astype(np.uint8)
    with pytest.raises(DamagedError, match="exceed what its headers allow"):
        CODEC.make(loud, sides.pack(parts._replace(frame=frame)))


@pytest.mark.corpus
def test_a_series_of_kakadu_comes_back():
    """Twelve layers, and segments that end with the fewest bytes."""
    pytest.importorskip("tomoz")
    try:
        files = corpus.files("ct_totalseg_siemens")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    for file in files:
        dataset = pydicom.dcmread(file)
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        parts = trial(CODEC, stream, FrameInfo(dataset.Rows, dataset.Columns, 1, dataset.BitsAllocated))
        assert len(parts.side) < len(stream) / 100
        assert not sides.unpack(parts.side).corrections
