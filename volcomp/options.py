"""The options of a user. Each has the same name in Python, on the command line and in a batch."""

from __future__ import annotations

from dataclasses import dataclass

from .constants import EFFORT
from .models import DEFAULT, Model


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

    @property
    def decoding(self) -> DecodeOptions:
        """Options for decoding, to verify what was encoded."""
        return DecodeOptions(self.threads, self.device)


DECODING = DecodeOptions()
ENCODING = EncodeOptions()
