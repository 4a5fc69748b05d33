"""The codecs of the tables: those of `benchmarks.rivals`, and gzip and HEVC, which the publications have as well."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from functools import cache

import numpy as np

from benchmarks.rivals import RIVALS, Codec, Shape, from_zero

_HEVC_LIMIT, _HEVC_SIDE = 4095, 16  # x265 takes 12 bits at most, and sides of so many pixels at least

_HEVC = "lossless=1:info=0:log-level=error"


@cache
def _ffmpeg_path() -> str | None:
    """The ffmpeg that imageio-ffmpeg brings along, built with x265 for 12 bits, or else the one on the path."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return shutil.which("ffmpeg")


class Ffmpeg(Codec):
    """A codec of ffmpeg, which is a program."""

    @property
    def installed(self) -> bool:
        return _ffmpeg_path() is not None

    @property
    def versions(self) -> tuple[str, ...]:
        said = subprocess.run([str(_ffmpeg_path()), "-version"], capture_output=True, text=True).stdout
        return (" ".join(said.split()[:3]),)


def _gzip_encode(volume: np.ndarray, threads: int) -> list[bytes]:
    """Deflate at level 9, without gzip's 12 bytes around it."""
    return [zlib.compress(np.ascontiguousarray(volume, "<u2").tobytes(), 9)]


def _gzip_decode(streams: list[bytes], shape: Shape, threads: int) -> np.ndarray:
    return np.frombuffer(zlib.decompress(streams[0]), "<u2").reshape(shape)


def _ffmpeg(data: bytes, *arguments: str) -> bytes:
    line = [str(_ffmpeg_path()), "-v", "error", *arguments]
    return subprocess.run(line, input=data, stdout=subprocess.PIPE, check=True).stdout


def _raw(shape: Shape) -> tuple[str, ...]:
    return ("-f", "rawvideo", "-pix_fmt", "gray12le", "-s", f"{shape[2]}x{shape[1]}")


def _hevc_encode(volume: np.ndarray, threads: int) -> list[bytes]:
    """Slices as the frames of a film, losslessly by x265; ValueError for what that does not take.

    Always in 12 bits: to say 10 where that is enough changes a size by 0.3 % at most, to either side. `info=0` leaves
    out the coder's name and settings, 2 kB.
    """
    if volume.max() > _HEVC_LIMIT:
        raise ValueError(f"values up to {volume.max()}: x265 takes 12 bits")
    if min(volume.shape[1:]) < _HEVC_SIDE:
        raise ValueError(
            f"slices of {volume.shape[1]}×{volume.shape[2]}: x265 takes {_HEVC_SIDE}×{_HEVC_SIDE} and more"
        )
    options = ("-c:v", "libx265", "-preset", "veryslow", "-x265-params", f"{_HEVC}:pools={threads}")
    return [_ffmpeg(volume.astype("<u2").tobytes(), *_raw(volume.shape), "-i", "-", *options, "-f", "hevc", "-")]


def _hevc_decode(streams: list[bytes], shape: Shape, threads: int) -> np.ndarray:
    back = _ffmpeg(streams[0], "-f", "hevc", "-i", "-", "-f", "rawvideo", "-pix_fmt", "gray12le", "-")
    return np.frombuffer(back, "<u2").reshape(shape)


__all__ = ["CODECS", "from_zero"]

CODECS: dict[str, Codec] = {codec.name: codec for codec in RIVALS} | {
    "gzip-9": Codec("gzip-9", "gzip, level 9", ("zlib",), _gzip_encode, _gzip_decode),
    "hevc": Ffmpeg("hevc", "HEVC lossless (x265, veryslow)", ("ffmpeg",), _hevc_encode, _hevc_decode),
}
