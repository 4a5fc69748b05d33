"""Write and read the coefficients of all bands, and decide how each is quantised while it is written.

A coefficient is a magnitude and a sign. The magnitude's bucket is told by flags (`network`), the place within it by
plain bits. The low band has no network: its coefficients are predicted from three neighbours.

Every flag's logit is corrected while an image is coded. Two corrections are added, one for each band and flag and one
for each activity and flag; after each bit both move against the error by a constant rate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..dtypes import Float32s, Int32s, Int64s, UInt8s
from ..runtime.compiled import entry, part
from . import coder
from .bands import HEIGHT, KIND, LEVEL, START, STRIDE, WIDTH
from .contexts import ABOVE, INPUTS, gather
from .network import ALL_FLAGS, BASES, EDGE, FLAGS, LEVELS, Network, hidden, logit

ACTIVITIES = 12
RATE = 1310  # of the corrections: 0.02 for an error of 1
FINE = 8  # bits that a correction is finer than a logit
TAIL = 2 << 8  # the first logit of flags that have no network
HALF = 1 << (coder.PROBABILITY - 1)
LARGEST = (1 << 24) - 1  # magnitude that can be told


class State(NamedTuple):
    """What coding needs beside the coefficients.

    inputs uint8 [INPUTS], first int32 [F], second int32 [S], quiet int32 [S]   scratch; `quiet` of inputs all zero
    of_band int32 [bands, ALL_FLAGS], of_activity int32 [ACTIVITIES, ALL_FLAGS]   corrections
    """

    inputs: UInt8s
    first: Int32s
    second: Int32s
    quiet: Int32s
    of_band: Int32s
    of_activity: Int32s


def state(network: Network, bands: int) -> State:
    """Return the state before the first coefficient."""
    first, second = network.first.shape[2], network.second.shape[2]
    return State(
        np.zeros(INPUTS, np.uint8),
        np.zeros(first, np.int32),
        np.zeros(second, np.int32),
        np.zeros(second, np.int32),
        np.zeros((bands, ALL_FLAGS), np.int32),
        np.zeros((ACTIVITIES, ALL_FLAGS), np.int32),
    )


@part
def _activity(inputs: Any) -> Any:
    """Return the class of activity of a coefficient's surroundings."""
    total = 2 * (np.int64(inputs[0]) + np.int64(inputs[3])) + inputs[4] + inputs[5] + np.int64(inputs[ABOVE])
    step = 0
    while step < ACTIVITIES - 1 and total > 6 * step * step:
        step += 1
    return step


@part
def _look(network: Any, s: Any, magnitudes: Any, table: Any, where: Any, y: Any, x: Any) -> Any:
    """Compute the hidden values of a coefficient in `s.second`; return its activity. `where` is (kind, level, band)."""
    kind, level, band = where
    gather(magnitudes, table, band, y, x, s.inputs)
    silent = True
    for i in range(INPUTS):
        if s.inputs[i]:
            silent = False
            break
    if silent:
        for j in range(s.second.shape[0]):
            s.second[j] = s.quiet[j]
        return 0
    hidden(network, kind, level, s.inputs, s.first, s.second)
    return _activity(s.inputs)


@part
def _probability(network: Any, s: Any, kind: Any, level: Any, band: Any, activity: Any, flag: Any) -> Any:
    """Return the probability that a flag is 1, in 2^-16. Kind −1 is the low band."""
    z = np.int64(TAIL)
    if kind >= 0 and flag < FLAGS:
        z = np.int64(logit(network, kind, level, s.second, flag))
    z += (s.of_band[band, flag] + s.of_activity[activity, flag]) >> FINE
    return network.squash[min(max(z, -EDGE), EDGE) + EDGE]


@part
def _adapt(s: Any, band: Any, activity: Any, flag: Any, bit: Any, probability: Any) -> None:
    """Move the corrections of a flag towards a bit that was coded with a probability."""
    change = np.int32((((np.int64(bit) << coder.PROBABILITY) - probability) * RATE) >> coder.PROBABILITY)
    s.of_band[band, flag] += change
    s.of_activity[activity, flag] += change


@part
def _seen(value: Any) -> Any:
    """Return the magnitude as far as the network tells magnitudes apart."""
    magnitude = abs(value)
    return magnitude if magnitude < 255 else 255


@part
def _predicted(flat: Any, at: Any, stride: Any, y: Any, x: Any) -> Any:
    """Predict a coefficient of the low band from those to the left, above, and above to the left."""
    left, above, corner = np.int64(flat[at - 1]), np.int64(flat[at - stride]), np.int64(flat[at - stride - 1])
    if y == 0:
        return left
    if x == 0:
        return above
    return min(max(left + above - corner, min(left, above)), max(left, above))


@part
def _put_value(network: Any, s: Any, where: Any, activity: Any, value: Any, range_state: Any, out: Any) -> None:
    """Write a value: flags, bits within the bucket, sign. `where` is (kind, level, band)."""
    kind, level, band = where
    magnitude = np.int64(abs(value))
    flag = 0
    while flag < ALL_FLAGS:
        bit = magnitude >= BASES[flag + 1]
        probability = _probability(network, s, kind, level, band, activity, flag)
        coder.put(range_state, out, bit, probability)
        _adapt(s, band, activity, flag, bit, probability)
        if not bit:
            break
        flag += 1
    if magnitude:
        within = BASES[flag + 1] - BASES[flag]
        rest = magnitude - BASES[flag]
        while within > 1:
            within >>= 1
            coder.put(range_state, out, (rest & within) != 0, HALF)
        coder.put(range_state, out, value < 0, HALF)


@part
def _choose(network: Any, s: Any, where: Any, activity: Any, scaled: Any, options: Any, costs: Any) -> Any:
    """Choose the magnitude of a coefficient of magnitude `scaled`, in steps: least distortion + weight · bits.

    options is (weight, shift of 1, of 2, of more): a magnitude m is restored as m − shift.
    """
    kind, level, band = where
    nearest = np.int64(scaled + 0.5)
    if nearest == 0:
        return np.int64(0)
    weight = options[0]
    lowest = nearest - 1 if nearest > 2 else np.int64(0)
    best, least = np.int64(0), np.float32(1e30)
    told = np.float32(0)
    flag = 0
    m = np.int64(-1)
    while m < nearest:
        m += 1
        # Buckets are walked together with magnitudes.
        while flag < ALL_FLAGS and m >= BASES[flag + 1]:
            p = _probability(network, s, kind, level, band, activity, flag)
            told += costs[p >> 4]
            flag += 1
        if m < lowest:
            continue
        p = _probability(network, s, kind, level, band, activity, flag)
        bits = told + costs[4096 - (p >> 4)]
        error = scaled
        if m:
            bits += np.float32(1 + np.log2(np.float32(BASES[flag + 1] - BASES[flag])))
            error = scaled - (m - options[m if m < 3 else 3])
        total = error * error + weight * bits
        if total < least:
            best, least = m, total
    return best


@entry
def write(
    network: Network, s: State, table: Int64s, scaled: Float32s, options: Float32s, costs: Float32s,
    flat: Int32s, magnitudes: UInt8s, range_state: Int64s, out: UInt8s,
) -> None:  # fmt: skip
    """Quantise and write all coefficients.

    Parameters:
        network: the weights.
        s: the state, at its start.
        table: of the bands.
        scaled: float32 [size], the coefficients in steps.
        options: see `_choose`.
        costs: float32 [4097], bits of something of probability n/4096.
        flat: int32 [size], zeros: becomes the quantised coefficients.
        magnitudes: uint8 [size], zeros: scratch.
        range_state, out: of the coder.
    """
    for band in range(table.shape[0]):
        stride, kind = table[band, STRIDE], table[band, KIND] - 1
        level = min(max(table[band, LEVEL] - 1, 0), LEVELS - 1)
        where = (kind, level, band)
        if kind >= 0:
            for i in range(INPUTS):
                s.inputs[i] = 0
            hidden(network, kind, level, s.inputs, s.first, s.quiet)
        for y in range(table[band, HEIGHT]):
            for x in range(table[band, WIDTH]):
                at = table[band, START] + y * stride + x
                if kind < 0:
                    value = np.int64(np.floor(scaled[at] + 0.5))
                    guess = _predicted(flat, at, stride, y, x)
                    _put_value(network, s, where, 0, value - guess, range_state, out)
                else:
                    activity = _look(network, s, magnitudes, table, where, y, x)
                    value = _choose(network, s, where, activity, abs(scaled[at]), options, costs)
                    if scaled[at] < 0:
                        value = -value
                    _put_value(network, s, where, activity, value, range_state, out)
                flat[at] = value
                magnitudes[at] = network.magnitudes[_seen(value)]


@part
def _get_value(network: Any, s: Any, where: Any, activity: Any, range_state: Any, data: Any) -> Any:
    """Read a value that `_put_value` wrote."""
    kind, level, band = where
    flag = 0
    while flag < ALL_FLAGS:
        probability = _probability(network, s, kind, level, band, activity, flag)
        bit = coder.get(range_state, data, probability)
        _adapt(s, band, activity, flag, bit, probability)
        if not bit:
            break
        flag += 1
    if flag == 0:
        return np.int64(0)
    magnitude = BASES[flag]
    within = BASES[flag + 1] - BASES[flag] if flag < ALL_FLAGS else np.int64(1)
    while within > 1:
        within >>= 1
        if coder.get(range_state, data, HALF):
            magnitude += within
    return -magnitude if coder.get(range_state, data, HALF) else magnitude


@entry
def read(
    network: Network, s: State, table: Int64s, flat: Int32s, magnitudes: UInt8s, range_state: Int64s, data: UInt8s
) -> bool:
    """Read all coefficients into `flat` int32 [size], which has zeros.

    Returns whether all fit: magnitudes above LARGEST, or reading far beyond the end, are damage.
    """
    for band in range(table.shape[0]):
        stride, kind = table[band, STRIDE], table[band, KIND] - 1
        level = min(max(table[band, LEVEL] - 1, 0), LEVELS - 1)
        where = (kind, level, band)
        if kind >= 0:
            for i in range(INPUTS):
                s.inputs[i] = 0
            hidden(network, kind, level, s.inputs, s.first, s.quiet)
        for y in range(table[band, HEIGHT]):
            for x in range(table[band, WIDTH]):
                at = table[band, START] + y * stride + x
                if kind < 0:
                    value = _predicted(flat, at, stride, y, x) + _get_value(network, s, where, 0, range_state, data)
                else:
                    activity = _look(network, s, magnitudes, table, where, y, x)
                    value = _get_value(network, s, where, activity, range_state, data)
                if abs(value) > LARGEST:
                    return False
                flat[at] = value
                magnitudes[at] = network.magnitudes[_seen(value)]
            if range_state[coder.AT] > data.shape[0] + coder.BEYOND:
                return False
    return True
