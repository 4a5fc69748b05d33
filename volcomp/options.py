"""The options of a user. Each has the same name in Python, on the command line and in a batch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from . import models
from .constants import EFFORT
from .errors import UnsupportedError
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


def check_share(share: float) -> None:
    """Raise UnsupportedError for a share of a file that parity cannot have; 0 is none."""
    if share != 0 and not 0.01 <= share <= 0.5:
        raise UnsupportedError(
            f"a parity of {100 * share:g}% was asked for; from 1% to 50% are possible, or 0 for none"
        )


def check_slices(slices: slice | None) -> None:
    """Raise UnsupportedError for what is no slice of whole numbers, or has a step of 0."""
    if slices is None:
        return
    if not isinstance(slices, slice):
        raise UnsupportedError(f"slices={slices!r} was given, which is no slice; give one such as slice(40, 44)")
    try:
        slices.indices(1)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"slices={slices!r} was given; take whole numbers, and a step other than 0") from error


def check_times(times: slice | int | None) -> None:
    """Raise UnsupportedError for what is neither the number of a time point nor a slice of such."""
    if isinstance(times, slice):
        try:
            times.indices(1)
        except (TypeError, ValueError) as error:
            raise UnsupportedError(f"times={times!r} was given; take whole numbers, and a step other than 0") from error
    elif times is not None and (isinstance(times, bool) or not hasattr(times, "__index__")):
        raise UnsupportedError(f"times={times!r} was given; give the number of a time point, or a slice of them")


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
