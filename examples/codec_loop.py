"""Take one slab through the codec by hand, and print what each stage leaves to be coded.

    voxels ─ histogram packing ─▶ grey levels ─ linear stage ─ LSTM ─▶ mean and class ─ symbols, ANS ─▶ payload

`volcomp.codec` does the same for all slabs of a volume, on several threads or on a GPU.
"""

import numpy as np
from phantom import phantom

from volcomp import models
from volcomp.codec.encode import encode
from volcomp.container.volume import DIGEST
from volcomp.encoder.linear_fit import fit_by_effort
from volcomp.pipelines.registry import PIPELINES
from volcomp.runtime.team import Team
from volcomp.stages import histogram_packing, linear
from volcomp.wire.cursor import Cursor


def order_zero(numbers: np.ndarray) -> int:
    """Count the bytes that an ideal entropy coder needs for these numbers, with no knowledge of their neighbours."""
    _, counts = np.unique(numbers, return_counts=True)
    return int((counts * np.log2(numbers.size / counts)).sum() / 8)


def report(stage: str, size: int) -> None:
    """Print one line of the table."""
    print(f"{stage:38}{size:8} bytes {8 * size / voxels.size:8.3f} bits per voxel")


voxels = phantom(slices=32)
voxels *= 3  # leaves two holes beside every value of the histogram, as a rescaling to HU may do
report("voxels", voxels.nbytes)
report("  by their own histogram", order_zero(voxels))

# Histogram packing: values that never occur get no number. The grey levels are 0 … limit.
packing = histogram_packing.find(voxels)
levels = packing.forward(voxels, histogram_packing.level_type(packing.limit))
print(f"{int(voxels.max()) - int(voxels.min()) + 1} values in range, {packing.limit + 1} occur")

# A pipeline is a kind of predictor. A model is a record, and its pipeline reads the weights.
model = models.chosen("fast")
pipeline = PIPELINES[model.pipeline]
weights = pipeline.load(model)
coder, network = pipeline.coder(model, weights), pipeline.network(weights, "cpu")

# Only an encoder has to `choose`: here it fits the linear stage to the slab. The payload brings that to a decoder.
stage = coder.choose(levels, packing.limit, 5, fit_by_effort)
report("linear stage, as it is sent", len(linear.to_bytes(stage)))

# `take` lays the slab out. `predict` states a mean and a class for every voxel, from voxels that precede it.
slab = coder.take(levels, packing.limit, stage)
predictions = network.predict(slab, Team(), lambda done: None)
nearest = (predictions.mean.astype(np.int32) + 8) >> 4  # means are in sixteenths of a grey level
residual = predictions.voxel - nearest
report("  residuals, by one histogram", order_zero(residual))

# The class is how sure the network is. It picks the table of a voxel's symbol, which is what saves the most here.
payload = coder.pack(slab, predictions)
report("payload", len(payload))

# The way back: `open` reads the linear stage, and `decode` turns symbols into grey levels, front by front.
stream = coder.open(Cursor(payload, "the payload"), voxels.shape, packing.limit)
decoded = network.decode(stream, Team(), lambda done: None)
restored = packing.backward(decoded, voxels.dtype)

# The codec puts a checksum before each payload, and a header before all of them. The rest are the same bytes.
header, payloads = encode(voxels)
report("header and checksum", len(header) + DIGEST)
assert payloads[0][DIGEST:] == payload
assert np.array_equal(restored, voxels)
print("the voxels are the same")
