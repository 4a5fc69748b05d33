"""DICOM RLE: streams cut in every way, of foreign encoders, and damaged ones."""

import tracemalloc
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp.errors import DamagedError
from volcomp.streams.protocol import FrameInfo, NotReproducible
from volcomp.streams.registry import trial
from volcomp.streams.rle import STRATEGIES, Rle
from volcomp.streams.rle_segments import Pairs, Strategy

CODEC = Rle()
GOLDEN = Path(__file__).parent / "golden" / "rle"


def bytes_of(samples: np.ndarray) -> list[bytes]:
    """The bytes of each segment (PS3.5, G.2)."""
    return [
        bytes(value >> 8 * place & 0xFF for value in component.ravel().tolist())
        for component in samples
        for place in reversed(range(samples.itemsize))
    ]


def stream_of(segments: list[bytes], pad: bool = True) -> bytes:
    """A stream with the header of G.5."""
    segments = [segment + b"\0" * (len(segment) % 2 * pad) for segment in segments]
    ends = np.cumsum([64, *map(len, segments)]).tolist()
    header = b"".join(n.to_bytes(4, "little") for n in [len(segments), *ends[:-1]])
    return header + bytes(64 - len(header)) + b"".join(segments)


def info(samples: np.ndarray) -> FrameInfo:
    components, rows, columns = samples.shape
    return FrameInfo(rows, columns, components, 8 * samples.itemsize)


def coded(data: bytes, lengths: list[int]) -> bytes:
    """Literals (lengths above 0), runs (below) and headers of nothing (0)."""
    out, at = bytearray(), 0
    for length in lengths:
        if length > 0:
            out += bytes([length - 1]) + data[at : at + length]
        elif length < 0:
            assert len(set(data[at : at - length])) == 1
            out += bytes([257 + length, data[at]])
        else:
            out.append(128)
        at += abs(length)
    assert at == len(data)
    return bytes(out)


def row_of_runs(row: bytes) -> list[int]:
    """Every run of two or more as a run, and what is between them as literals; the way of a textbook."""
    lengths: list[int] = []
    for _, group in groupby(row):
        left = len(list(group))
        while left:
            take = min(left, 128)
            left -= take
            if take > 1:
                lengths.append(-take)
            elif lengths and 0 < lengths[-1] < 128:
                lengths[-1] += 1
            else:
                lengths.append(1)
    return lengths


def few_levels(shape: tuple[int, int, int], levels: int, type: type, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    step = 257 if type == np.uint16 else 1
    return (random.integers(0, levels, shape) * step).astype(type)


def check(data: bytes, samples: np.ndarray) -> bytes:
    """Assert that a stream comes back, and with its samples. Returns the side information."""
    parts = trial(CODEC, data, info(samples))
    assert parts.samples.dtype == samples.dtype and parts.samples.flags.c_contiguous
    assert (parts.samples == samples).all()
    return parts.side


@given(st.data())
def test_streams_cut_in_any_way_come_back(data: st.DataObject) -> None:
    """Headers of random lengths, across rows, with headers of nothing; any header, and gaps."""
    draw = data.draw
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 20))
    samples = few_levels(shape, draw(st.integers(1, 4)), draw(st.sampled_from([np.uint8, np.uint16, np.uint32])))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    segments = []
    for plain in bytes_of(samples):
        lengths, at = [], 0
        while at < len(plain):
            equal = next((n for n in range(1, len(plain) - at) if plain[at + n] != plain[at]), len(plain) - at)
            if random.random() < 0.1:
                lengths.append(0)
            elif equal > 1 and random.random() < 0.5:
                lengths.append(-int(random.integers(2, min(equal, 128) + 1)))
            else:
                lengths.append(int(random.integers(1, min(len(plain) - at, 128) + 1)))
            at += abs(lengths[-1])
        segments.append(coded(plain, lengths) + draw(st.sampled_from([b"", b"", b"\0", b"\x80", b"gap"])))
    stream = stream_of(segments, pad=draw(st.booleans()))
    if draw(st.booleans()):
        stream = stream[:60] + b"\1\2\3\4" + stream[64:]
    check(stream + draw(st.sampled_from([b"", b"\0", b"end"])), samples)


def test_the_way_of_a_textbook_costs_three_bytes() -> None:
    for type in (np.uint8, np.uint16):
        for shape, levels in (((1, 30, 300), 2), ((3, 9, 301), 1), ((1, 3, 400), 200)):
            samples = few_levels(shape, levels, type)
            rows = [[plane[y : y + shape[2]] for y in range(0, len(plane), shape[2])] for plane in bytes_of(samples)]
            segments = [b"".join(coded(row, row_of_runs(row)) for row in plane) for plane in rows]
            assert len(check(stream_of(segments), samples)) == 3
            assert len(check(stream_of(segments, pad=False), samples)) == 3


def expected(strategy: Strategy, data: bytes, width: int) -> list[int]:
    """The lengths that a strategy gives, from its description."""

    def run(place: int, limit: int) -> int:
        return next((n for n in range(1, limit - place) if data[place + n] != data[place]), limit - place)

    lengths: list[int] = []
    at = 0
    while at < len(data):
        begin = at // width * width if strategy.by_row else 0
        end = min(begin + width, len(data)) if strategy.by_row else len(data)
        equal = min(run(at, end), strategy.run)
        left_over = lengths and lengths[-1] == -strategy.run and at > begin and data[at - 1] == data[at]
        if equal >= strategy.shortest or (equal == 2 and strategy.pairs != Pairs.NOWHERE and at + 2 == end):
            lengths.append(-equal)
        elif strategy.pairs == Pairs.ROW and left_over:
            lengths.append(-equal if equal > 1 else 1)
        else:
            limit = min(end, at + strategy.literal)
            seen = limit if strategy.pairs == Pairs.LITERAL else end
            last = at + 1
            while last < limit:
                equal = run(last, seen)
                pair = equal == 2 and last + 2 == seen and strategy.pairs != Pairs.NOWHERE
                if equal >= strategy.breaking or pair:
                    break
                last += 1
            lengths.append(last - at)
        at += abs(lengths[-1])
    return lengths


@pytest.mark.parametrize("number", range(len(STRATEGIES)))
def test_every_strategy_is_found(number: int) -> None:
    """Streams that follow it have no corrections, and no other strategy gives the same."""
    random = np.random.default_rng(2)
    lengths = [1, 2, 3, 128, 129, 130, 257]
    often = random.choice(lengths, 1500, p=[0.8, 0.1, 0.04, 0.015, 0.015, 0.015, 0.015])
    seldom = random.choice(lengths, 9000, p=[0.99, 0.007, 0.001, 0.0005, 0.0005, 0.0005, 0.0005])
    limits = [run for length in (125, 126, 127) for run in [3, *[1] * length, 2]] * 9
    runs = np.concatenate([often, limits, seldom])
    samples = np.repeat((np.cumsum(random.integers(1, 200, len(runs))) % 251).astype(np.uint8), runs)
    samples = samples[: len(samples) // 290 * 290].reshape(1, -1, 290)
    samples[0, ::3, -1] = samples[0, ::3, -2]
    data = stream_of([coded(plain, expected(STRATEGIES[number], plain, 290)) for plain in bytes_of(samples)])
    assert check(data, samples) == bytes([1, number, 0])
    same = [n for n in range(len(STRATEGIES)) if CODEC.make(samples, bytes([1, n, 0])) == data]
    assert same == [number]


def test_what_is_no_strategy_costs_two_bytes_each_time() -> None:
    samples = few_levels((1, 10, 50), 250, np.uint8)
    [plain] = bytes_of(samples)
    assert len(set(pairwise(plain))) > 400
    data = stream_of([coded(plain, [50, 50, 25, 25, *[50] * 6, 40, 10])])
    assert len(check(data, samples)) == 3 + 1 + 2 * 2


def test_frames_of_32_bits() -> None:
    """Four segments for each component, the most significant byte first (PS3.5, G.2)."""
    samples = np.array([[[0x01020304]]], np.uint32)
    stream = stream_of([bytes([0, n]) for n in (1, 2, 3, 4)])
    assert len(check(stream, samples)) == 3
    for components in (1, 3):
        samples = few_levels((components, 7, 30), 200, np.uint32) * np.uint32(0x10203)
        check(stream_of([coded(plain, [100, 110]) for plain in bytes_of(samples)]), samples)
    with pytest.raises(NotReproducible, match="number of segments"):
        CODEC.take_apart(stream_of([b"\0\1"] * 2), FrameInfo(1, 1, 1, 32))


def test_frames_of_other_bits_are_refused() -> None:
    with pytest.raises(NotReproducible, match="8, 16 or 32"):
        CODEC.take_apart(stream_of([b"\0\1"] * 8), FrameInfo(1, 1, 1, 64))


def test_other_frames_than_the_file_states_are_refused() -> None:
    data = stream_of([b"\3abcd"])
    assert trial(CODEC, data, FrameInfo(2, 2, 1, 8)).samples.tolist() == [[[97, 98], [99, 100]]]
    for wrong in ((2, 1, 1, 8), (3, 2, 1, 8), (2, 2, 1, 16), (2, 2, 3, 8), (2, 2, 1, 1), (0, 2, 1, 8), (2, 2, 0, 8)):
        with pytest.raises(NotReproducible):
            CODEC.take_apart(data, FrameInfo(*wrong))
    with pytest.raises(NotReproducible):  # 18 segments, which no header can have
        CODEC.take_apart(data, FrameInfo(2, 2, 9, 16))


def test_a_file_that_lies_about_its_size_allocates_nothing() -> None:
    tracemalloc.start()
    with pytest.raises(NotReproducible):
        CODEC.take_apart(stream_of([b"\x81a"] * 2), FrameInfo(65535, 65535, 1, 16))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    densest = coded(bytes(128 * 50), [-128] * 50)
    check(stream_of([densest]), np.zeros((1, 50, 128), np.uint8))


def damaged(data: bytes, count: int, seed: int) -> list[bytes]:
    """Bytes with a few of them changed, cut, or with some left out or doubled."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        out = bytearray(data)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(out)))
            out[at] = random.choice([0, 128, out[at] ^ 1 << int(random.integers(8)), random.integers(256)])
        at, n = int(random.integers(len(out))), int(random.integers(1, 4))
        kind = random.integers(6)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            del out[at : at + n]
        elif kind == 2:
            out[at:at] = out[at : at + n]
        found.append(bytes(out))
    return found


SAMPLES = few_levels((1, 12, 40), 3, np.uint16)
PLAIN = [coded(plain, expected(STRATEGIES[0], plain, 40)) for plain in bytes_of(SAMPLES)]
ODD = [coded(plain, expected(STRATEGIES[-1], plain, 7)) + b"gap" for plain in bytes_of(SAMPLES)]


@pytest.mark.parametrize("data", [stream_of(PLAIN), stream_of(ODD)], ids=["plain", "odd"])
def test_damaged_streams_come_back_or_are_refused(data: bytes) -> None:
    came_back = 0
    for stream in damaged(data, 1500, 1):
        try:
            parts = CODEC.take_apart(stream, info(SAMPLES))
        except NotReproducible:
            continue
        assert CODEC.make(*parts) == stream
        came_back += 1
    assert 50 < came_back < 1450


@pytest.mark.parametrize("data", [stream_of(PLAIN), stream_of(ODD)], ids=["plain", "odd"])
def test_damaged_side_information_gives_bytes_or_one_error(data: bytes) -> None:
    parts = CODEC.take_apart(data, info(SAMPLES))
    refused = 0
    for side in [b"", *damaged(parts.side, 1500, 2)]:
        try:
            CODEC.make(parts.samples, side)
        except DamagedError:
            refused += 1
    assert 50 < refused < 1450
    for samples in (SAMPLES[0], SAMPLES.astype(np.int32), SAMPLES[:, :0], np.zeros((16, 2, 2), np.uint8)):
        with pytest.raises(DamagedError):
            CODEC.make(samples, parts.side)


def test_corrections_must_be_true_of_the_samples() -> None:
    samples = np.array([[[7, 7, 7, 8]]], np.uint8)
    for correction in (b"\0\xfd", b"\0\4", b"\0", b"\5\0", b"\x80\x80", b"\x80" * 12 + b"\0\0", b"\xff" * 9):
        with pytest.raises(DamagedError):
            CODEC.make(samples, bytes([1, 0, 32, len(correction)]) + correction)
    assert CODEC.make(samples, bytes([1, 0, 32, 2]) + b"\0\3")[64:] == b"\3\7\7\7\x08\0"


@given(
    st.binary(max_size=200), st.integers(0, 70000), st.integers(0, 70000), st.integers(0, 5), st.sampled_from([8, 16])
)
def test_any_bytes_are_refused_or_come_back(data: bytes, rows: int, columns: int, components: int, bits: int) -> None:
    header = (components * bits // 8).to_bytes(4, "little")
    try:
        parts = CODEC.take_apart(header + data, FrameInfo(rows, columns, components, bits))
    except NotReproducible:
        return
    assert CODEC.make(*parts) == header + data


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.rle")), ids=lambda path: path.stem)
def test_streams_of_foreign_encoders(path: Path) -> None:
    """Samples, side information and streams are what they were when these were stored, for these define archives."""
    golden = np.load(path.with_suffix(".npz"))
    data, samples = path.read_bytes(), golden["samples"]
    parts = trial(CODEC, data, info(samples))
    assert parts.samples.dtype == samples.dtype and (parts.samples == samples).all()
    assert parts.side == golden["side"].tobytes() and len(parts.side) == 3


def test_there_are_streams_of_foreign_encoders() -> None:
    assert len(list(GOLDEN.glob("*.rle"))) >= 8
