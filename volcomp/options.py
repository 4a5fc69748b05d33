"""The options of a user, and checks of arguments. Each has the same name in Python, on the command line and in a batch.

One rule serves all public functions. An argument of a wrong type raises ArgumentError, which is a TypeError too, before
anything is read or written; a wrong value of the right type raises UnsupportedError. Both are VolcompErrors.
"""

from __future__ import annotations

import importlib.util
import os
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from . import models
from .constants import EFFORT
from .errors import ArgumentError, UnsupportedError
from .models import DEFAULT, Model

# Of names that ask for a volume as one file, or as a pair; `.zarr` is a folder.
IMAGE_SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".tiff", ".tif", ".npy", ".ome.zarr", ".zarr",
)  # fmt: skip
# Of names that ask for a file that is not written, and what to do.
_NO_IMAGES = {
    ".dcm": "the files of the archive come back as they were, in a folder",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".html"), "volcomp view writes pictures"),
    **dict.fromkeys((".npz", ".mat", ".h5", ".hdf5"), ".npy holds an array"),
    **dict.fromkeys((".mgh", ".mgz", ".nii.bz2", ".nii.xz", ".nii.zst"), ".nii.gz holds the same"),
    ".raw": ".mhd writes a header and voxels in a .raw file",
}


def image_suffix(name: str) -> str | None:
    """Return which of IMAGE_SUFFIXES a name ends with, or None."""
    return next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), None)


def check_folder(name: str) -> None:
    """Raise UnsupportedError for the name of a new folder that is the name of an image that cannot be written."""
    hint = next((hint for suffix, hint in _NO_IMAGES.items() if name.lower().endswith(suffix)), None)
    if hint:
        raise UnsupportedError(
            f"{name} is the name of a file that is not written: {hint}; a volume is written to a name with one of "
            f"{', '.join(IMAGE_SUFFIXES)}, and files to a folder, which has another name or is there already"
        )


def check_type(name: str, value: object, kinds: type | tuple[type, ...], allowed: str) -> None:
    """Raise ArgumentError unless an argument is of one of these types; `allowed` says what to give instead."""
    if not isinstance(value, kinds):
        raise ArgumentError(f"{name}={_short(value)} was given, of type {type(value).__name__}; give {allowed}")


def check_integer(name: str, value: object, allowed: str, *, optional: bool = False) -> None:
    """Raise ArgumentError for what is no whole number, of Python or of numpy; None may be allowed."""
    if not (value is None and optional) and (isinstance(value, bool) or not isinstance(value, Integral)):
        check_type(name, value, (), allowed)


def check_flags(**flags: object) -> None:
    """Raise ArgumentError for what is neither True nor False: any string would count as True."""
    for name, value in flags.items():
        if type(value).__name__ not in ("bool", "bool_"):  # of numpy too, which is not imported here
            check_type(name, value, (), "True or False")


def check_path(name: str, value: object, allowed: str = "a path") -> None:
    """Raise ArgumentError for what is no path, and UnsupportedError for one that no file can have."""
    check_type(name, value, (str, os.PathLike), allowed)
    assert isinstance(value, str | os.PathLike)
    text: Any = os.fspath(value)
    check_type(name, text, str, allowed)
    if not text or "\0" in text:
        raise UnsupportedError(f"{name}={_short(text)} was given, which is no path; give {allowed}")


def check_paths(name: str, value: object) -> None:
    """Raise ArgumentError for what is neither a path nor several; those of an iterator are looked at one by one."""
    if isinstance(value, str | os.PathLike):
        check_path(name, value)
    elif not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | memoryview):
        check_type(name, value, (), "a path, or a list of paths")


def _short(value: object) -> str:
    """Return a value for a sentence, without most of a long one."""
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # of an object that cannot be shown
        return "an object"


def check_share(share: float, name: str = "parity") -> None:
    """Raise ArgumentError for no number, UnsupportedError for a share of a file that parity cannot have; 0 is none."""
    if isinstance(share, bool) or not isinstance(share, Real):
        check_type(name, share, (), "a number such as 0.02, for 2%")
    if share != 0 and not 0.01 <= share <= 0.5:
        raise UnsupportedError(
            f"a parity of {100 * share:g}% was asked for; from 1% to 50% are possible, or 0 for none"
        )


def check_slices(slices: slice | None) -> None:
    """Raise ArgumentError for what is no slice, and UnsupportedError for one of no whole numbers, or a step of 0."""
    if slices is None:
        return
    check_type("slices", slices, slice, "a slice such as slice(40, 44)")
    try:
        slices.indices(1)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"slices={slices!r} was given; take whole numbers, and a step other than 0") from error


def check_times(times: slice | int | None) -> None:
    """Raise ArgumentError for what is neither the number of a time point nor a slice of such; see `check_slices`."""
    if isinstance(times, slice):
        try:
            times.indices(1)
        except (TypeError, ValueError) as error:
            raise UnsupportedError(f"times={times!r} was given; take whole numbers, and a step other than 0") from error
    else:
        check_integer("times", times, "the number of a time point, or a slice of them", optional=True)


@dataclass(frozen=True)
class DecodeOptions:
    """How to decode. No option changes the result.

    threads   How many threads to use; None for one per core. Each holds one slab, so memory grows with them: some
              120 MB a thread for slices of 512².
    device    Where the network runs: "cpu", "cuda" (an error where there is no GPU that can), or "auto": a GPU where
              there is one and the volume has 8 million voxels or more (`paper`: a quarter of a million), else the CPU.
    """

    threads: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_work(self.threads, self.device)


def _check_work(threads: int | None, device: str) -> None:
    """Raise ArgumentError or UnsupportedError for what cannot be a number of threads, or is no device."""
    check_integer("threads", threads, "a whole number, or None for one per core", optional=True)
    if threads is not None and threads < 1:
        raise UnsupportedError(f"threads={threads} was given; give 1 or more, or None for one per core")
    check_type("device", device, str, '"auto", "cpu" or "cuda"')
    if device not in ("auto", "cpu", "cuda"):
        raise UnsupportedError(f"device {device!r} is not known; take auto, cpu or cuda")


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode. Up to effort 5 the bytes follow from voxels, model and effort alone.

    Options that cannot be followed are not made: UnsupportedError for an unknown model or effort, for an effort above 5
    with a model that cannot be fine-tuned, where torch is not installed, or for a share that parity cannot have.

    model     "turbo", "fast", "base" or "paper", or the record of a model that was never released. `base` makes files
              that are 1.3 % smaller than those of `fast`, and takes two to three times as long to write and three to
              four and a half to restore; `turbo` makes files that are 0.7 % larger in two thirds of the time. `paper`
              is the published predictor, kept for comparison: slow, and its files are larger.
    effort    1 (fastest) to 9 (smallest). 1 to 4 search less for the linear stage. 6 to 9 fine-tune the model to the
              volume, which needs torch; effort 9 takes three to seven times as long as 5 (measured with `base-2`,
              verification included). Decoding is as fast as before. `paper` takes 1 to 5.
    verify    Decode every payload and compare the voxels. It takes as long as decoding, on the threads that encode.
    threads   See `DecodeOptions`.
    device    See `DecodeOptions`.
    parity    Share of the file, from 0.01 to 0.5, that may be damaged in one stretch and is then repaired; 0 for none.
              See `protect`. It is for archives of files; of arrays, protect the file.
    """

    model: str | Model = DEFAULT
    effort: int = EFFORT
    verify: bool = True
    threads: int | None = None
    device: str = "auto"
    parity: float = 0.0

    def __post_init__(self) -> None:
        check_type("model", self.model, (str, Model), f"one of {', '.join(models.CHOICES)}")
        check_integer("effort", self.effort, f"a whole number from 1 to 9; {EFFORT} is the default")
        check_flags(verify=self.verify)
        _check_work(self.threads, self.device)
        check_share(self.parity)
        model, effort = self.record, self.effort
        if effort not in range(1, 10):
            raise UnsupportedError(
                f"effort {effort} is not known; take 1 (fastest) to 9 (smallest), {EFFORT} is the default"
            )
        if effort > EFFORT and not model.tunable:
            raise UnsupportedError(
                f"model {model.choice or model.name} cannot be fine-tuned to a volume: take an effort of 1 to 5"
            )
        if effort > EFFORT and not importlib.util.find_spec("torch"):
            raise UnsupportedError(
                f"effort {effort} fine-tunes the model to the volume, which needs torch: install volcomp[fit], or take "
                f"{EFFORT}"
            )

    @property
    def record(self) -> Model:
        """The record of the model."""
        return self.model if isinstance(self.model, Model) else models.chosen(self.model)

    @property
    def decoding(self) -> DecodeOptions:
        """Options for decoding, to verify what was encoded."""
        return DecodeOptions(self.threads, self.device)


DECODING = DecodeOptions()
ENCODING = EncodeOptions()
