"""Compile all code ahead, for classes of processors, and keep it with the package: `volcomp precompile`.

Programs from such a wheel or container image never wait for a compiler, on any machine of these classes. Each class has
a process of its own, since numba compiles for one processor a process. The process encodes small volumes and files of
every kind, since numba compiles a loop for the types that it is called with.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import arrays
from .archive.pack import compress as pack
from .archive.restore import restore
from .errors import TargetError, UnsupportedError
from .models import CHOICES
from .options import EncodeOptions
from .runtime import compiled, precompiled
from .streams import png_filters
from .streams.protocol import FrameInfo
from .streams.registry import BY_NUMBER, trial

_QUICK, _WHOLE = 1, 5  # efforts; those between call the same loops
# What is kept of streams of `_picture` beside its samples, by the number of the codec and the bits of a sample: with it
# a codec makes the stream that it then takes apart. See docs/streams.md.
_SIDES = {
    (1, 8): (
        "010035ffd8ffc4001a000101010101010100000000000000000004030205010007ffc3000b080020002001001100ffda"
        "000801000006000001ffd9"
    ),
    (1, 16): (
        "010035ffd8ffc4001a00010101010101010000000000000000000403020501000fffc3000b100020002001001100ffda"
        "000801000006000001ffd9"
    ),
    (3, 8): "0100ffd8fff7000b080020002001011100ffda0008010100000000ffd9",
    (3, 16): "0100ffd8fff7000b100020002001011100fff8000d01ffff0012004301140040ffda0008010100000000ffd9",
    (6, 8): (
        "010157ff4fff510029000000000020000000200000000000000000000000200000002000000000000000000001070101"
        "ff52000c00000001000204040001ff5c000a4040484850484850ff90000a0000000000000001ff93ffd901030000"
    ),
    (6, 16): (
        "010157ff4fff5100290000000000200000002000000000000000000000002000000020000000000000000000010f0101"
        "ff52000c00000001000204040001ff5c000a4080888890888890ff90000a0000000000000001ff93ffd901030000"
    ),
    (7, 8): (
        "01016aff4fff510029400000000020000000200000000000000000000000200000002000000000000000000001070101"
        "ff500008000200000002ff52000c00020001000504044001ff5c00132048505050505050505050505050484848ff9000"
        "0a0000000000000001ff93ffd901060000"
    ),
    (7, 16): (
        "01016aff4fff5100294000000000200000002000000000000000000000002000000020000000000000000000010f0101"
        "ff50000800020000000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888ff9000"
        "0a0000000000000001ff93ffd901060000"
    ),
}


class Made(NamedTuple):
    """The code compiled for a class of processors."""

    target: str
    files: int
    bytes: int
    seconds: float


def precompile(targets: Sequence[str] = (), begin: Callable[[str], None] = lambda target: None) -> list[Made]:
    """Compile for classes of processors. Earlier code of a class is replaced when the new code is complete.

    Parameters:
        targets: names of classes; by default all whose code this processor can run.
        begin: called with the name of each class before it is compiled.

    Raises:
        UnsupportedError: this processor cannot run the code of a class, or compiling fails.
        TargetError: the package's folder cannot be written.
    """
    able = precompiled.runnable()
    missing = [name for name in targets if name not in able]
    if missing or not able:
        has = f"it has {', '.join(able)}" if able else "code is compiled ahead for none that this processor has"
        raise UnsupportedError(
            f"no code for {', '.join(missing or precompiled.TARGETS)} can run on this machine: {has}"
        )
    made = []
    try:
        precompiled.FOLDER.mkdir(exist_ok=True)
        for name in targets or able:
            begin(name)
            made.append(_compile_for(name))
    except OSError as error:
        raise TargetError(
            f"{precompiled.FOLDER}: cannot be written ({error.strerror}); run this as whoever installed volcomp"
        ) from error
    return made


def _compile_for(name: str) -> Made:
    """Compile for a class in a process whose numba targets it."""
    since = time.perf_counter()
    processor, features = precompiled.TARGETS[name]
    with tempfile.TemporaryDirectory(prefix=name, suffix=".part", dir=precompiled.FOLDER) as part:
        child = subprocess.run(
            [sys.executable, "-m", __name__, part],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "NUMBA_CPU_NAME": processor,
                "NUMBA_CPU_FEATURES": features,
                "NUMBA_DISABLE_INTEL_SVML": "1",  # a library that other machines may lack
            },
        )
        if child.returncode:
            why = (child.stdout.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
            raise UnsupportedError(f"compiling for {name} failed: {why}")
        for earlier in precompiled.FOLDER.glob(precompiled.series(name) + "*"):
            shutil.rmtree(earlier)
        shutil.copytree(part, precompiled.place(name))
    files = list(precompiled.place(name).iterdir())
    return Made(name, len(files), sum(path.stat().st_size for path in files), time.perf_counter() - since)


def _volumes() -> Iterator[np.ndarray]:
    """Yield small volumes (z, y, x) of every type, and with every property that has loops of its own.

    These are outside air, many levels, gaps between levels, a single image, and a volume (the first) so large that the
    search samples its voxels.
    """
    rng = np.random.default_rng(0)
    yield _scan(rng, 24, 160).astype(np.uint16)
    scan = _scan(rng, 6, 48)
    air = scan == 0
    yield np.where(air, -2000, scan - 1024).astype(np.int16)
    yield (scan // 16).astype(np.uint8)
    yield (scan // 32).astype(np.int8)
    yield 8 * scan.astype(np.uint16)
    yield rng.integers(0, 1 << 16, scan.shape).astype(np.uint16)
    yield scan.astype(np.uint16)[0]
    yield np.zeros(scan.shape, np.uint16)


def _scan(rng: np.random.Generator, depth: int, width: int) -> np.ndarray:
    """Return grey levels (z, y, x) like a CT: a noisy body with zeros around it."""
    z, y, x = np.indices((depth, width, width)).astype(float)
    body = 1000 + 300 * np.sin(x / 7) * np.cos(y / 9 + z / 5) + rng.normal(0, 4 + 20 * (x > y), z.shape)
    return np.where((x - width / 2) ** 2 + (y - width / 2) ** 2 > (0.45 * width) ** 2, 0, np.rint(body))


def _picture(bits: int) -> np.ndarray:
    """Return samples (1, y, x) of `bits` bits."""
    y, x = np.mgrid[:32, :32]
    return (40 + 3 * x + (5 * y * y + 31 * x * y) % 23).astype(f"u{bits // 8}")[None]


def _streams() -> Iterator[tuple[int, int, bytes]]:
    """Yield streams of `_picture`, each with the number of its codec and its bits."""
    for (number, bits), side in _SIDES.items():
        yield number, bits, BY_NUMBER[number].make(_picture(bits), bytes.fromhex(side))
    for bits in (8, 16):
        planes = [_picture(bits)[0] >> shift & 255 for shift in range(bits - 8, -1, -8)]
        segments = [b"".join(b"\x1f" + bytes(row.astype(np.uint8)) for row in plane) for plane in planes]
        starts = [64 + i * len(segments[0]) for i in range(len(segments))]
        head = np.array([len(segments), *starts, *[0] * (15 - len(starts))], "<u4").tobytes()
        yield 2, bits, head + b"".join(segments)
        for level, strategy in ((0, 0), (1, 0), (6, 0), (6, zlib.Z_RLE), (6, zlib.Z_HUFFMAN_ONLY)):
            machine = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
            yield 4, bits, machine.compress(_picture(bits).tobytes()) + machine.flush()


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of small files whose bodies have loops of their own: numbers of all types, and gzip.

    Of fractions there are those that are scaled integers, those that are not, and those with noise in all bits.
    """
    rng = np.random.default_rng(0)
    scan = _scan(rng, 6, 48)
    noise = scan * (1 + rng.normal(0, 1e-3, scan.shape))
    for order in "<>":
        for kind in ("i4", "u4", "i8", "u8"):
            yield f"{order}{kind}", _npy((70000 * scan.astype(f"{order}{kind}")).astype(f"{order}{kind}"))
        for kind in ("f2", "f4", "f8"):
            yield f"{order}{kind}-scaled", _npy((scan * 0.37).astype(f"{order}{kind}"))
            yield f"{order}{kind}-noise", _npy(noise.astype(f"{order}{kind}"))
        for kind in ("c8", "c16"):
            yield f"{order}{kind}", _npy((noise + 1j * noise[::-1]).astype(f"{order}{kind}"))
    yield "colours", _npy(np.stack([scan / 8, scan / 9, scan / 10], -1).astype(np.uint8))
    whole = _npy(scan.astype("<i2"))
    for level in (1, 4, 6, 9):
        yield f"level {level}", gzip.compress(whole, level, mtime=0)
    yield "fractions", gzip.compress(_npy(noise.astype("<f4")), mtime=0)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _archive_files(folder: Path) -> None:
    """Archive the files of `_files` and restore them, to compile what that calls."""
    study = folder / "study"
    study.mkdir()
    for name, data in _files():
        (study / name).write_bytes(data)
    options = EncodeOptions(effort=_QUICK, threads=2, device="cpu")
    pack([study], folder / "study.vcz", options)
    restore(folder / "study.vcz", folder / "restored", options.decoding)


def main(folder: str) -> None:
    """Compile, in this process, the loops of encoding and decoding with every model, and those of stream codecs."""
    with compiled.ahead(Path(folder)):
        for model in CHOICES:
            for volume in _volumes():
                for effort in (_QUICK, _WHOLE):
                    small = volume if model != "paper" else volume[..., :2, :16]
                    arrays.compress(small, model, effort=effort, threads=2, device="cpu")
        for volume in _volumes():  # a slice over its preview, for which there is a model that sees it
            plane = volume.reshape(-1, *volume.shape[-2:])[0]
            arrays.compress(np.tile(plane, (3, 3)), preview=16, threads=2, device="cpu")
        for number, bits, data in _streams():
            trial(BY_NUMBER[number], data, FrameInfo(32, 32, 1, bits))
        rows, filters = _picture(8)[0], np.arange(32, dtype=np.uint8) % png_filters.FILTERS
        png_filters.unfiltered(png_filters.filtered(rows, filters, 1), 1)
        png_filters.kept(rows, filters, 1)
        with tempfile.TemporaryDirectory() as scratch:
            _archive_files(Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1])
