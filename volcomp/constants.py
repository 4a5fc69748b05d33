"""Constants on which several stages must agree. All but EFFORT define the bits: other numbers make another format."""

EFFORT = 5  # of an encoder: the default, and the highest that leaves a model as it is

FRACTION_BITS = 4  # predictions and means are in sixteenths of a grey level
RADIUS = 7  # greatest distance of a neighbour within a slice, and so the margin of every padded slab
DEPTHS = 8  # slices of a slab that are distinguished, since no neighbour is more than seven slices back
LANES = 8  # neighbours that are read together

INPUTS = 64  # of the network that are computed from voxels; neighbouring rows pass on those after them
WEIGHT_LIMIT = 64  # of a network's int8 weights: int8 kernels cannot saturate their 16-bit pairs below it

CLASSES = 76  # of scales, a quarter of an octave each
QUARTERS = (1093, 1299, 1545, 1838)  # 1024 · 2^((4k + 1.5)/16) for k = 0 … 3: scales of the classes within an octave
TABLE_BITS = 20  # counts of a table of the entropy coder sum to 2^20
