"""JPEG-LS streams of other encoders decode to the right samples and come back byte for byte; bad ones are refused."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from volcomp.errors import DamagedError
from volcomp.streams import jpeg_ls_model
from volcomp.streams.jpeg_ls import JpegLs
from volcomp.streams.protocol import FrameInfo, NotReproducible, Parts
from volcomp.streams.registry import BY_NUMBER, trial

GOLDEN = Path(__file__).parent / "golden" / "jpeg_ls"
with (GOLDEN / "expected.csv").open(newline="") as file:
    EXPECTED = list(csv.DictReader(file))
CODEC = JpegLs()
SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def golden(row: dict[str, str]) -> tuple[bytes, FrameInfo]:
    data = (GOLDEN / f"{row['name']}.jls").read_bytes()
    return data, FrameInfo(int(row["rows"]), int(row["columns"]), int(row["components"]), 16)


def stream(precision: int, shape: tuple[int, int, int], mode: int, before: bytes = b"", restarts: bytes = b"") -> bytes:
    """The markers of a stream without its data; components are interleaved by `mode`, or in a scan each for 0."""
    count, rows, columns = shape
    names = range(1, count + 1)
    frame = bytes([0xFF, 0xF7, 0, 8 + 3 * count, precision, *divmod(rows, 256), *divmod(columns, 256), count])
    frame += b"".join(bytes([name, 0x11, 0]) for name in names)
    scans = [list(names)] if mode else [[name] for name in names]
    return (
        SOI + before + frame
        + b"".join(
            bytes([0xFF, 0xDA, 0, 6 + 2 * len(scan), len(scan)])
            + b"".join(bytes([name, 0]) for name in scan) + bytes([0, mode, 0]) + restarts
            for scan in scans
        )
        + EOI
    )  # fmt: skip


def presets(maxval: int, t1: int, t2: int, t3: int, reset: int) -> bytes:
    return b"\xff\xf8\0\x0d\1" + b"".join(n.to_bytes(2, "big") for n in (maxval, t1, t2, t3, reset))


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: row["name"])
def test_streams_of_other_encoders_come_back(row: dict[str, str]) -> None:
    data, frame = golden(row)
    parts = trial(CODEC, data, frame)
    digest = hashlib.sha256(parts.samples.astype("<u2").tobytes()).hexdigest()
    assert digest.startswith(row["sha256_of_samples"])
    assert len(parts.side) < 128, "the headers and no more"


def test_a_real_frame_comes_back() -> None:
    dataset = dcmread(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")))
    (data,) = generate_frames(dataset.PixelData, number_of_frames=1)
    parts = trial(CODEC, data, FrameInfo(dataset.Rows, dataset.Columns, 1, 16))
    plain = dcmread(str(get_testdata_file("MR_small.dcm"))).pixel_array
    assert np.array_equal(parts.samples[0].view(np.int16), plain)


def test_the_registry_has_it() -> None:
    assert isinstance(BY_NUMBER[3], JpegLs)


@given(st.data())
def test_what_is_made_is_taken_apart(data: st.DataObject) -> None:
    """Any samples, presets and restart intervals, in all interleave modes."""
    mode = data.draw(st.integers(0, 2))
    count = data.draw(st.integers(2, 4) if mode else st.integers(1, 4))
    rows, columns = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    precision = data.draw(st.integers(2, 16))
    maxval = data.draw(st.integers(3, (1 << precision) - 1))
    t1, t2, t3 = sorted(data.draw(st.lists(st.integers(1, maxval), min_size=3, max_size=3)))
    reset = data.draw(st.integers(3, max(255, maxval)))
    before = data.draw(st.sampled_from([b"", presets(maxval, t1, t2, t3, reset)]))
    interval = data.draw(st.integers(0, rows))
    restarts = b""
    if interval:
        before += bytes([0xFF, 0xDD, 0, 4, *divmod(interval, 256)])
        restarts = b"".join(bytes([0xFF, 0xD0 + n % 8]) for n in range((rows - 1) // interval))
    spread = data.draw(st.sampled_from([0, 1, 4, 1 << 16]))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    samples = (maxval // 2 + random.integers(-spread, spread + 1, (count, rows, columns))).clip(0, maxval)
    samples[:, random.random((rows, columns)) < 0.5] = maxval
    samples = samples.astype(np.uint8 if precision <= 8 else np.uint16)
    side = bytes([1, 0]) + stream(precision, samples.shape, mode, before, restarts)
    made = CODEC.make(samples, side)
    parts = CODEC.take_apart(made, FrameInfo(rows, columns, count, 16))
    assert np.array_equal(parts.samples, samples) and CODEC.make(*parts) == made
    if parts.side[1] == 0:  # else the last bits look as those of other thresholds
        assert len(parts.side) <= len(side) + count * (1 + len(restarts) // 2), "but for zero bytes after a last 0xFF"


@pytest.mark.parametrize(
    "maxval, unclamped, thresholds",
    [
        (255, False, (3, 7, 21)), (4095, False, (18, 67, 276)), (65535, False, (18, 67, 276)),  # T.87, Table C.3
        (1023, False, (6, 19, 72)), (127, False, (2, 3, 10)), (3, False, (2, 3, 3)), (1, False, (1, 1, 1)),
        (65535, True, (258, 1027, 4356)), (4095, True, (18, 67, 276)),
    ],
)  # fmt: skip
def test_default_thresholds(maxval: int, unclamped: bool, thresholds: tuple[int, int, int]) -> None:
    assert jpeg_ls_model.defaults(maxval, unclamped) == thresholds


def test_bytes_of_all_kinds_stay() -> None:
    """Application data, comments and bytes after the end; between scans and markers; fill bits that are ones."""
    row = next(row for row in EXPECTED if row["name"] == "3_components_planes_8")
    data, frame = golden(row)
    scans = [n for n in range(len(data)) if data[n : n + 2] == b"\xff\xda"]
    comment = b"\xff\xfe\0\6abcd"
    assert trial(CODEC, data[:-2] + b"\xff" + EOI, frame).side.endswith(b"\xff" + EOI), "a fill byte before a marker"
    odd = (
        data[:2]
        + comment
        + b"\xff\xff\xe7\0\5xyz"
        + data[2 : scans[1]]
        + comment
        + data[scans[1] :]
        + b"tail\xff\xda\0"
    )
    parts = trial(CODEC, odd, frame)
    assert np.array_equal(parts.samples, trial(CODEC, data, frame).samples)
    single, frame = golden(next(row for row in EXPECTED if row["name"] == "grey_8"))
    plain = CODEC.take_apart(single, frame)
    filled = CODEC.make(plain.samples, bytes([1, 2, 1, 0, 0, 0, 0xFF]) + plain.side[2:])
    assert filled != single and len(filled) == len(single)
    again = trial(CODEC, filled, frame)
    assert again.side[1] == 2 and np.array_equal(again.samples, plain.samples)


def test_thresholds_of_another_kind_are_recognised() -> None:
    data, frame = golden(next(row for row in EXPECTED if row["name"] == "thresholds_of_jai_16"))
    assert CODEC.take_apart(data, frame).side[1] == 1


def near(data: bytes) -> bytes:
    at = data.index(b"\xff\xda")
    return data[: at + 7] + b"\1" + data[at + 8 :]


@pytest.mark.parametrize(
    "change, reason",
    [
        (near, "near-lossless"),
        (lambda data: b"", "does not begin"),
        (lambda data: data[:2] + EOI, "before all components"),
        (lambda data: data[:2] + b"\xff\xc0\0\2" + data[2:], "0xFFC0"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: data[:-2], "cut short"),
        (lambda data: data.replace(b"\xff\xf7\0\x0b\x08", b"\xff\xf7\0\x0b\x11"), "2 to 16 bits"),
        (lambda data: data.replace(b"\xff\xf7\0\x0b\x08\0", b"\xff\xf7\0\x0b\x08\xff"), "another shape"),
        (lambda data: data.replace(b"\xff\xf7\0\x0b\x08\0\x13", b"\xff\xf7\0\x0b\x08\0\0"), "number of rows"),
        (lambda data: data[:2] + presets(255, 9, 8, 7, 64) + data[2:], "out of range"),
        (lambda data: data[:2] + presets(256, 0, 0, 0, 0) + data[2:], "out of range"),
        (lambda data: data[:2] + b"\xff\xf8\0\7\4\2\0\0\0" + data[2:], "unknown form"),
        (lambda data: data[:-2] + data[data.index(b"\xff\xda") :], "twice"),
        (lambda data: data[:2] + b"\xff\xdd\0\4\0\1" + data[2:], "damaged|restart marker|cut short"),
    ],
)
def test_what_is_not_read_is_refused(change, reason: str) -> None:
    data, frame = golden(next(row for row in EXPECTED if row["name"] == "grey_8"))
    changed = change(data)
    assert changed != data
    with pytest.raises(NotReproducible, match=reason):
        CODEC.take_apart(changed, frame)


def test_a_bomb_is_refused() -> None:
    """Four bytes cannot hold the runs of a large image: decoding ends with the data, before memory is touched."""
    data = stream(8, (1, 60000, 60000), 0)
    with pytest.raises(NotReproducible, match=r"damaged|memory"):
        CODEC.take_apart(data[:-2] + b"\x7f" * 4 + EOI, FrameInfo(60000, 60000, 1, 8))
    with pytest.raises(NotReproducible, match="another shape"):
        CODEC.take_apart(data, FrameInfo(512, 512, 1, 8))


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Flip bits, cut, repeat or overwrite some bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(changed)))
        kind = random.integers(5)
        if kind <= 1:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 2:
            changed[at] = int(random.choice([0, 1, 0x7F, 0xD9, 0xFF]))
        elif kind == 3 and len(changed) > 4:
            del changed[at : at + int(random.integers(1, 4))]
        else:
            changed[at:at] = changed[: int(random.integers(8))]
    return bytes(changed)


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: row["name"])
def test_damage_has_one_error(row: dict[str, str]) -> None:
    data, frame = golden(row)
    parts = CODEC.take_apart(data, frame)
    random = np.random.default_rng(len(data))
    for _ in range(60):
        try:
            other = CODEC.take_apart(mutated(data, random), frame)
        except NotReproducible:
            pass
        else:
            CODEC.make(*other)
        try:
            made = CODEC.make(parts.samples, mutated(parts.side, random))
        except DamagedError:
            continue
        assert isinstance(made, bytes)


def test_a_side_of_other_samples_is_refused() -> None:
    data, frame = golden(next(row for row in EXPECTED if row["name"] == "grey_10"))
    samples, side = CODEC.take_apart(data, frame)
    for wrong in (
        Parts(samples[:, 1:], side), Parts(samples.astype(np.uint8), side), Parts(samples | np.uint16(1024), side),
        Parts(samples, b"\2" + side[1:]), Parts(samples, side[:1]), Parts(samples, b""), Parts(samples, side[:20]),
        Parts(np.concatenate([samples, samples]), side),
    ):  # fmt: skip
        with pytest.raises(DamagedError):
            CODEC.make(*wrong)
