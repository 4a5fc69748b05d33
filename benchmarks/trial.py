"""Files of models that were never released: volcomp writes them, and nobody but whoever has the model reads them."""

from __future__ import annotations

import hashlib
from contextlib import closing

import numpy as np

from volcomp.codec.decode import decode_volume
from volcomp.container.inspection import opened
from volcomp.container.volume import read_volume
from volcomp.errors import DamagedError
from volcomp.models import RELEASED, Model
from volcomp.options import DECODING, DecodeOptions


def decompress(data: bytes, model: Model, options: DecodeOptions = DECODING) -> np.ndarray:
    """As `volcomp.decompress`, the voxels [Z, Y, X] of a file's only volume, for files that name this model too."""
    with opened(data) as reader:
        volume = read_volume(reader, 0, {**RELEASED, model.number: model})
        layout = volume.layout
        voxels = np.empty(layout.shape, layout.dtype)
        slabs = decode_volume(reader, volume, [*range(len(layout.slabs))], options)
        with closing(slabs):
            for k, slab in slabs:
                if isinstance(slab, DamagedError):
                    raise slab
                voxels[slice(*layout.slabs[k])] = slab
                del slab
    if hashlib.sha256(voxels.data).digest() != volume.sha256:
        raise DamagedError("the SHA-256 of its voxels does not fit")
    return voxels
