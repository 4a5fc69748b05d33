"""What several stages must agree on. But for EFFORT, these numbers define the bits: with others it is another format."""

EFFORT = 5  # of an encoder: the default, and the highest that leaves a model as it is

FRACTION_BITS = 4  # predictions and means are in sixteenths of a grey level
RADIUS = 7  # widest reach of a neighbour within a slice, and so the margin of every padded slab
DEPTHS = 8  # slices of a slab that are told apart, for no neighbour lies more than seven slices back
LANES = 8  # neighbours that are read at once

INPUTS = 64  # of the network that are observed; those after them are what neighbouring rows pass on
WEIGHT_LIMIT = 64  # of a network's int8 weights: int8 kernels cannot saturate their 16-bit pairs below it

CLASSES = 76  # of scales, a quarter of an octave each
QUARTERS = (1093, 1299, 1545, 1838)  # 1024 · 2^((4k + 1.5)/16) for k = 0 … 3: scales of the classes within an octave
TABLE_BITS = 20  # counts of a table of the entropy coder sum to 2^20
