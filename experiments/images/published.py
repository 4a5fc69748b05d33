"""What is published of each system, and at what rate it stands on its own terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

FLOAT = 32  # bits of a latent that is published as a number of a network


class Published(NamedTuple):
    """A published system.

    figure    what its publication states
    terms     how it counts
    bits      of an image of a side, so counted; None where the publication does not say
    """

    figure: str
    terms: str
    bits: Callable[[int], int] | None


PUBLISHED: dict[str, Published] = {
    "cae16": Published("16:1 at MSE 0.0003", "a byte for each of side²/16 latents", lambda side: side * side // 16 * 8),
    "dense128": Published("65536 → 128", "128 floats", lambda side: 128 * FLOAT),
    "cnn1": Published("latent 128, loss 1 − MS-SSIM", "128 floats", lambda side: 128 * FLOAT),
    "cnn2": Published("latent 512, loss ½ MSE + ½ (1 − MS-SSIM)", "512 floats", lambda side: 512 * FLOAT),
    "two_stage": Published("loss 1 − IoU", "twice 128 floats", lambda side: 256 * FLOAT),
    "rwnet": Published("loss 0.4785", "the cross-entropy; no rate", None),
}
