"""The Triton kernel of the published LSTM over the neighbourhoods of many voxels.

A program computes BLOCK voxels from the first step to the last; their cells and hidden outputs stay in registers. All
numbers are integers, defined by `pipelines/paper/reference.py`. The loop writes no memory, so the compiler hoists all
reads of the model, and the table is looked up in shared memory; `docs/decisions/gpu.md` explains why that matters.
Triton's division of integers rounds towards zero and its shift to the right rounds down; no dividend is negative here.
"""

# No annotations from the future: Triton reads them.
import triton
import triton.language as tl

from ...pipelines.paper import reference
from ...pipelines.paper.weights import OUTPUT_BITS, SIGMOID_STEPS, UNITS

BLOCK = 32  # voxels of a program
# Builds for sm_90 spill no register with these; with 64 voxels, or four warps, some are spilled.
OPTIONS = {"num_warps": 8, "num_stages": 1, "enable_fp_fusion": False}  # there is nothing to fuse
ENTRIES = 16 * SIGMOID_STEPS  # of the table for both signs; the first is unused

_UNITS = tl.constexpr(UNITS)
_VALUE_ONE, _VALUE_SHIFT = tl.constexpr(1 << reference.VALUE_BITS), tl.constexpr(reference.VALUE_SHIFT)
_GATE_ONE, _SPLIT = tl.constexpr(reference.GATE_ONE), tl.constexpr(reference.SPLIT)
_HIDDEN_MOST, _CELL_MOST = tl.constexpr(reference.HIDDEN_MOST), tl.constexpr(reference.CELL_MOST)
_OUTPUT_ONE, _OUTPUT_SHIFT = tl.constexpr(1 << OUTPUT_BITS), tl.constexpr(OUTPUT_BITS + 1)
_ENTRIES, _LAST = tl.constexpr(ENTRIES), tl.constexpr(8 * SIGMOID_STEPS - 1)


@triton.jit
def _sigmoid(z, table):
    """Return σ in 1/32768 of z in 1/1024, int32 [v, UNITS]."""
    index = tl.minimum(tl.maximum(z, -_LAST), _LAST) + (_LAST + 1)
    entries = tl.load(table + tl.arange(0, _ENTRIES))
    found = tl.gather(entries, tl.reshape(index, [index.numel]), 0)
    return tl.reshape(found, index.shape).to(tl.int32)


@triton.jit
def _gate(high, low, value, first, matrix, shift, entrance, bias, table):
    """Return the gate int32 [v, UNITS] whose columns begin at `first`.

    `high` and `low` int8 [v, UNITS] are halves of the hidden outputs, `value` is int32 [v]. `matrix` is transposed, so
    that the terms of a sum are adjacent in memory.
    """
    column = first + tl.arange(0, _UNITS)
    weights = tl.load(matrix + column[None, :] * _UNITS + tl.arange(0, _UNITS)[:, None])
    sums = tl.dot(high, weights, out_dtype=tl.int32) << 8
    sums = tl.dot(low, weights, sums, out_dtype=tl.int32)
    z = sums >> (tl.load(shift + column) + _SPLIT)[None, :]
    read = value[:, None] * tl.load(entrance + column).to(tl.int32)[None, :] + tl.load(bias + column)[None, :]
    return _sigmoid(z + (read >> _VALUE_SHIFT), table)


@triton.jit(do_not_specialize=["begin", "voxels_n", "steps_n", "limit"])
def predict(
    known, steps, places, matrix, shift, entrance, bias, table, head, head_bias, predicted, begin, voxels_n, steps_n,
    limit, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the predicted ranks int32 [v] of voxels. Grid: (blocks of voxels,).

    known int32 [n]     ranks within their margins, flat
    steps int64 [K]     offset from a voxel to what is read at each step
    places int64        places of the voxels in `known`, from `begin` on
    matrix int8 [512, 128], shift int32 [512], entrance int16 [512], bias int32 [512], head int16 [128], head_bias
    int32 [1]           of `PaperWeights`, with the matrix transposed
    table int16 [ENTRIES]
    """
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    taken = v < voxels_n
    at = known + tl.load(places + begin + v, mask=taken, other=0)
    most = tl.maximum(limit, 1)
    hidden = tl.zeros([BLOCK, _UNITS], tl.int32)
    cell = tl.zeros([BLOCK, _UNITS], tl.int32)
    for k in range(steps_n):
        rank = tl.load(at + tl.load(steps + k), mask=taken, other=0)
        value = (rank * (2 * _VALUE_ONE) + most // 2) // most - _VALUE_ONE  # the dividend is at most 2^31 - 1
        top = (hidden + 128) >> 8
        high, low = top.to(tl.int8), (hidden - (top << 8)).to(tl.int8)
        i = _gate(high, low, value, 0, matrix, shift, entrance, bias, table)
        g = _gate(high, low, value, 3 * _UNITS, matrix, shift, entrance, bias, table)
        added = (i * (2 * g - _GATE_ONE)) >> 3
        f = _gate(high, low, value, _UNITS, matrix, shift, entrance, bias, table)
        cell = (f * cell + added + (1 << 14)) >> 15
        cell = tl.minimum(tl.maximum(cell, -_CELL_MOST), _CELL_MOST)
        o = _gate(high, low, value, 2 * _UNITS, matrix, shift, entrance, bias, table)
        squashed = 2 * _sigmoid((cell + 1) >> 1, table) - _GATE_ONE
        hidden = tl.minimum((o * squashed + (1 << 14)) >> 15, _HIDDEN_MOST)
    weights = tl.load(head + tl.arange(0, _UNITS)).to(tl.int64)
    output = tl.sum(hidden.to(tl.int64) * weights[None, :], axis=1) + tl.load(head_bias)
    wide = limit.to(tl.int64)
    rank = (output * wide + _OUTPUT_ONE * wide + _OUTPUT_ONE) >> _OUTPUT_SHIFT
    tl.store(predicted + v, tl.minimum(tl.maximum(rank, 0), wide).to(tl.int32), mask=taken)
