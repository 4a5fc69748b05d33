"""Streams of other codecs and body codecs: changed streams are taken apart or refused, changed sides give bytes or
damage."""

from __future__ import annotations

from functools import lru_cache, partial
from random import Random
from typing import Any

import numpy as np

from volcomp.archive import jpeg_packing
from volcomp.bodies.encapsulated import EncapsulatedReading, Pixels
from volcomp.bodies.planes import TYPES, Kind, Map
from volcomp.bodies.protocol import Kept
from volcomp.bodies.registry import BODIES, body
from volcomp.bodies.samples import Order
from volcomp.errors import DamagedError
from volcomp.streams import deflate, deflate_side
from volcomp.streams.deflate_model import PAIRS, Model
from volcomp.streams.deflate_search import OTHERS
from volcomp.streams.deflate_write import GIVEN
from volcomp.streams.protocol import FrameInfo, NotReproducible
from volcomp.streams.registry import BY_NUMBER, trial
from volcomp.wire.cursor import Cursor, string, varint

from . import mutations
from .golden_streams import GOLDEN, KINDS, frames
from .target import Target, expect, join, split

_TYPES = ("u1", "u2", "i1", "i2")
_MOST_MADE = 1 << 22  # bytes of any stream of the few samples here
_TRIED = 300  # changed streams, for sides of an odd kind


def _header(info: FrameInfo) -> bytes:
    return b"".join(map(varint, info))


# -------------------------------------------------------------------------------------------------------- taking apart


def _streams(kind: str) -> list[bytes]:
    return [join(_header(frame.info), frame.data) for frame in frames(kind)]


def _changed_stream(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change the stream, and now and then what its file states, or both in one: the size in a frame header."""
    header, stream = split(data)
    if random.random() < 0.1:
        values = list(FrameInfo(*Cursor(header, "").varints(4)))
        values[random.randrange(3)] = random.choice((1, 2, 3, 4, 255, 1 << 15, 1 << 20, 1 << 27))
        values[3] = random.choice((8, 16, 32, values[3]))
        header = b"".join(map(varint, values))
        if random.random() < 0.5:
            return join(header, stream)
    return join(header, mutations.changed(random, stream, [split(other)[1] for other in others]))


def _check_apart(number: int, data: bytes) -> object:
    """What is taken apart has the stated shape, and makes the stream again or is refused."""
    header, stream = split(data)
    info = FrameInfo(*Cursor(header, "a frame").varints(4))
    codec = BY_NUMBER[number]
    parts = codec.take_apart(stream, info)
    samples = parts.samples
    expect(samples.shape == (info.components, info.rows, info.columns), f"samples have the shape {samples.shape}")
    expect(samples.flags.c_contiguous and samples.dtype.str.lstrip("|<") in _TYPES, f"they are {samples.dtype}")
    try:
        same = codec.make(samples, parts.side) == stream
    except DamagedError:
        return "damaged"
    return same


# -------------------------------------------------------------------------------------------------------------- making


def _array(samples: np.ndarray) -> bytes:
    """Return an input for samples [components, Y, X]."""
    numbers = bytes([_TYPES.index(samples.dtype.str.lstrip("|<"))]) + bytes(samples.shape)
    return numbers + samples.tobytes()


def _samples(data: bytes) -> np.ndarray:
    kind, *shape = data[:4]
    kept = np.zeros(shape, _TYPES[kind % 4])
    given = data[4 : 4 + kept.nbytes].ljust(kept.nbytes, b"\0")
    return np.frombuffer(given, kept.dtype).reshape(shape).copy()


@lru_cache(maxsize=8)
def _sides(kind: str) -> list[bytes]:
    """Return samples and sides of small frames that come back."""
    found = []
    for frame in frames(kind):
        if max(frame.info[:2]) < 256:
            parts = BY_NUMBER[KINDS[kind]].take_apart(frame.data, frame.info)
            found.append(join(_array(parts.samples), parts.side))
    return found + _odd_sides(kind) + (_sides_of_models() if kind == "deflate" else [])


def _sides_of_models() -> list[bytes]:
    """Return samples and sides with the numbers of every search, corrections and segments."""
    samples = next(frame for frame in frames("deflate") if frame.info.columns == 20)
    array = BY_NUMBER[4].take_apart(samples.data, samples.info).samples
    found = []
    for number, model in enumerate(OTHERS):
        size = np.array([array.nbytes], np.int64)
        plan = deflate_side.Plan(
            model, size, deflate_side.NONE_FORCED, {}, 0, b"", bytes(number % 3), ordered=number % 2 == 1
        )
        if number % 2 and model.way < PAIRS:
            plan = plan._replace(segments=np.array([100, 0, array.nbytes - 100]), anew=number % 4 == 1)
        found.append(join(_array(array), deflate_side.write(plan)))
    return found


def _odd_sides(kind: str) -> list[bytes]:
    """Return sides of changed streams that come back: sides with more in them than those of well-known encoders."""
    found: dict[bytes, bytes] = {}
    seeds = [join(_header(frame.info), frame.data) for frame in frames(kind) if max(frame.info[:2]) < 256]
    for number in range(_TRIED if seeds else 0):
        random = Random(number)
        header, stream = split(_changed_stream(random, random.choice(seeds), seeds))
        info = FrameInfo(*Cursor(header, "a frame").varints(4))
        if info.rows * info.columns * info.components > 1 << 16 or max(info[:3]) > 255:
            continue
        try:
            parts = trial(BY_NUMBER[KINDS[kind]], stream, info)
        except NotReproducible:
            continue
        found.setdefault(parts.side[:8], join(_array(parts.samples), parts.side))
    return list(found.values())


def _changed_side(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change the side; now and then the samples, their type or shape."""
    samples, side = split(data)
    kind = random.random()
    if kind < 0.1:
        samples = samples[:4] + mutations.changed(random, samples[4:])
    elif kind < 0.2:
        at = random.randrange(4)
        value = random.randrange(4) if at == 0 else random.choice((1, 2, 3, samples[at] + 1, samples[at] - 1)) % 256
        samples = samples[:at] + bytes([value]) + samples[at + 1 :]
    elif kind < 0.25 and others:
        samples = split(random.choice(others))[0]
    if kind >= 0.05 or random.random() < 0.3:
        side = mutations.changed(random, side, [split(other)[1] for other in others])
    return join(samples, side)


def _changed_plan(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change one field of the plan of a deflate stream, whose numbers hang together; or any bytes."""
    samples, side = split(data)
    try:
        plan = deflate_side.read(side, _samples(samples).nbytes)
    except DamagedError:
        return _changed_side(random, data, others)
    size = _samples(samples).nbytes
    what = random.randrange(7) if size else 0
    if what == 0:
        values = list(plan.settings)
        if isinstance(plan.settings, Model):
            values[random.randrange(len(values))] = random.choice((*range(13), 255, 4096, 32767, 32768))
        else:
            values[random.randrange(4)] = random.randrange(10)
            values = [value % 16 for value in values]
        plan = plan._replace(settings=type(plan.settings)(*values))
    elif what == 1:
        ends = sorted(random.randrange(size + 1) for _ in range(random.choice((0, 1, 3, 30))))
        lengths = np.diff([0, *ends, size])
        if isinstance(plan.settings, Model) and random.random() < 0.5:
            plan = plan._replace(segments=lengths)
        else:
            plan = plan._replace(blocks=lengths)
    elif what in (2, 3) and isinstance(plan.settings, Model):
        corrections = random.randbytes(random.choice((1, 4, 40)))
        plan = plan._replace(corrections=mutations.changed(random, plan.corrections) if what == 2 else corrections)
    elif what in (2, 3):
        count = random.choice((1, 2, 20))
        at = sorted(random.randrange(size) for _ in range(count))
        lengths = [random.choice((1, 3, 4, 258, 1 + random.randrange(258))) for _ in at]
        distances = [0 if length == 1 else 1 + random.choice((0, 1, 39, random.randrange(32768))) for length in lengths]
        plan = plan._replace(forced=np.array([at, lengths, distances], np.int64))
    elif what == 4:
        kind = random.randrange(3)
        plan = plan._replace(exceptions={random.choice((0, 0, 1, 5)): deflate_side.Exceptional(kind)})
    elif what == 5:
        header = random.randbytes(random.choice((3, 10, 60)))
        given = next((block for block in plan.exceptions.values() if block.header), None)
        header = mutations.changed(random, given.header) if given else header
        block = deflate_side.Exceptional(GIVEN, max(0, 8 * len(header) - random.randrange(8)), header)
        plan = plan._replace(exceptions=dict(sorted({**plan.exceptions, random.choice((0, 1)): block}.items())))
    else:
        return _changed_side(random, data, others)
    return join(samples, deflate_side.write(plan))


def _check_make(number: int, data: bytes) -> object:
    """Any side gives a stream of bounded size or damage."""
    array, side = split(data)
    made = BY_NUMBER[number].make(_samples(array), side)
    expect(isinstance(made, bytes) and len(made) < _MOST_MADE + 4 * len(side), f"{len(made)} bytes were made")
    return len(made) > 100


# -------------------------------------------------------------------------------------------------------------- bodies


@lru_cache(maxsize=1)
def _bodies() -> list[bytes]:
    """Return a body codec, its planes and what is kept, for every map and every stream codec."""
    shape = bytes([7, 5])
    found = [join(bytes([0, 1, 1, 1]) + shape, b""), join(bytes([1, 2, 1, 1]) + shape, b"")]
    for kind in Kind:
        for type_number, dtype in enumerate(TYPES):
            components = 3 if kind == Kind.COLOUR else 2
            bits = 5 if kind in (Kind.STORED, Kind.SIGNED) else 0
            samples = Map(kind, dtype, components, bits)
            try:
                Map.decoded(Cursor(samples.encoded(), "a map"))
            except DamagedError:  # not every map is there for every type
                continue
            planes = bytes([samples.word.itemsize, samples.planes, 2 - type_number % 2]) + shape
            for order in (Order(samples), Order(samples, planar=True, big_endian=dtype.itemsize > 1, missing=3)):
                found.append(join(bytes([2]) + planes, order.encoded()))
    small = next(frame for frame in frames("deflate") if frame.info.columns == 20)
    order = Order(Map(Kind.SAME, np.dtype("<u2"), 1)).encoded()
    raw = b"head" + np.zeros((12, 20), "<u2").tobytes()
    side = deflate.take_apart(deflate.make(raw[4:], deflate.take_apart(b"\x03\0", 9)[1]), 1 << 20)[1]
    found.append(join(bytes([4, 2, 1, 1, 12, 20]), varint(4) + string(order) + side))
    # A gzipped file, whose first four bytes are plain, of two members; `_check_body` has eleven bytes around 480
    whole = varint(2)
    for ending, size in ((1, 400), (2, 87)):
        whole += string(b"\x1f\x8b\x08" + bytes(7)) + bytes([ending]) + varint(size) + string(bytes([1, 0x68, 0xF0, 0]))
    found.append(join(bytes([6, 2, 1, 1, 12, 20]), varint(4) + bytes([0]) + string(b"") + whole + b"the rest"))
    found.append(join(bytes([6, 2, 1, 1, 12, 20]), varint(4) + bytes([2]) + string(order) + whole))
    found.append(join(bytes([3, 2, 1, 1, 12, 20]), _encapsulated(small, "deflate", 1)))
    for kind_name in KINDS:
        for frame in frames(kind_name)[:6]:
            if max(frame.info[:2]) < 256:
                word = BY_NUMBER[KINDS[kind_name]].take_apart(frame.data, frame.info).samples.itemsize
                count = 1 + len(frame.data) % 2
                side = _encapsulated(frame, kind_name, count)
                found.append(join(bytes([3, word, frame.info.components, count, *frame.info[:2]]), side))
    return found


def _encapsulated(frame: Any, kind: str, count: int) -> bytes:
    """Return the kept side of encapsulated frames."""
    import io

    rows, columns, components, bits = frame.info
    value = frame.data + b"\0" * (len(frame.data) % 2)
    item = b"\xfe\xff\0\xe0" + len(value).to_bytes(4, "little") + value
    pixels = Pixels(KINDS[kind], rows, columns, count, components, bits, bits, False, components == 3)
    reading = EncapsulatedReading(pixels, 0)
    for _ in reading.read(io.BytesIO(b"\xfe\xff\0\xe0\0\0\0\0" + item * count + b"\xfe\xff\xdd\xe0\0\0\0\0")):
        pass
    return reading.kept.side


def _changed_body(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change what is kept; now and then the number of the codec, or the planes."""
    head, side = split(data)
    if random.random() < 0.1:
        values = list(head)
        at = random.randrange(len(values))
        values[at] = random.choice(list(BODIES)) if at == 0 else random.choice((1, 2, 3, values[at] + 1)) % 256
        head = bytes([values[0], 1 + (values[1] - 1) % 2, *values[2:]])
        if random.random() < 0.3:
            return join(head, side)
    return join(head, mutations.changed(random, side, [split(other)[1] for other in others]))


def _check_body(data: bytes) -> object:
    """Whatever is kept, and whatever the planes: bytes of a bounded number, or damage."""
    (number, width, planes, depth, rows, columns), side = split(data)
    blocks = ([np.full((1, rows, columns), 77, f"<u{width}") for _ in range(planes)] for _ in range(depth))
    size = sum(len(bytes(piece)) for piece in body(number).write(Kept(b"before", side, b"after"), blocks))
    expect(size < _MOST_MADE + 4 * len(side), f"{size} bytes were made")
    return number, size > 1000


# ------------------------------------------------------------------------------------------------------------- JPEG XL


def _packed() -> list[bytes]:
    packed = (GOLDEN / "jpeg_xl" / "waves.packed").read_bytes()
    return [bytes([1]) + string(b"before") + string(packed) + string(b"after")]


def _changed_packed(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change what is around the JPEG XL file, which is another library's to read."""
    at = data.find(b"\0\0\0\x0cJXL ") if b"\0\0\0\x0cJXL " in data else min(len(data), 16)
    return mutations.changed(random, data[:at]) + data[at:]


def _check_packed(data: bytes) -> object:
    expect(len(jpeg_packing.unpack(data)) < _MOST_MADE, "too many bytes were made")
    return True


def _parts(kind: str) -> list[Target]:
    number = KINDS[kind]
    return [
        Target(f"apart-{kind}", partial(_streams, kind), _changed_stream, partial(_check_apart, number)),
        Target(
            f"make-{kind}",
            partial(_sides, kind),
            _changed_plan if kind == "deflate" else _changed_side,
            partial(_check_make, number),
        ),
    ]


TARGETS = (
    *(target for kind in KINDS for target in _parts(kind)),
    Target("bodies", _bodies, _changed_body, _check_body),
    Target("packed", _packed, _changed_packed, _check_packed),
)
