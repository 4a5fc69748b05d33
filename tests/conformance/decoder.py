"""A second decoder for the `.vcz` of an array, written from docs/format.md alone: one voxel at a time, as it reads.

It takes nothing from the package but the arrays of the models. `decoder_archive.py` is the part for archives. That it
decodes what the package writes shows that the document is enough; where the two differ, one of the three is wrong.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.conformance import decoder_paper
from tests.conformance.decoder_bits import Ans, Reader, check, clip, odds, unzigzag, varint
from tests.conformance.decoder_container import sections
from tests.conformance.decoder_factors import Factors
from tests.conformance.decoder_lossy import preview
from tests.conformance.decoder_model import MODELS, NAMES, Model
from tests.conformance.decoder_series import discs, nearest, read, times

TYPES = ["<u1", "<i1", "<u2", "<i2"]
Offset = tuple[int, int, int]
Found = dict[tuple[bytes, int, int], bytes]


def disc(dz: int, radius2: int) -> list[Offset]:
    """Linear stage: the causal offsets of one slice within a disc, in their order."""
    within = [(dy, dx) for dy in range(-5, 6) for dx in range(-5, 6) if dx * dx + dy * dy <= radius2]
    within.sort(key=lambda o: (o[0] ** 2 + o[1] ** 2, -o[0], o[1]))
    return [(dz, *o) for o in within if dz < 0 or o < (0, 0)]


def chosen(data: Reader) -> list[Offset]:
    """Slab: the support of the runs that it lists."""
    runs = [(-data.number(1), data.number(1) - 7, data.number(1) - 8) for _ in range(data.number(1))]
    check(runs == sorted(set(runs)), "runs")
    offsets = {(dz, dy, dx + i) for dz, dy, dx in runs for i in range(8) if abs(dx + i) <= 7}
    return sorted((o for o in offsets if o < (0, 0, 0)), key=lambda o: (-o[0], o[1] ** 2 + o[2] ** 2, -o[1], o[2]))


RADII = ((5, 2, 0), (10, 5, 2), (20, 10, 2), (52, 10, 2), (52, 26, 5))
SUPPORTS = [disc(0, a) + disc(-1, b) + disc(-2, c) for a, b, c in RADII]
# Scale and inputs.
HERE = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1)]
BACK = [(0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (-2, 0), (0, 2), (2, 0)]
BACK += [(-1, -2), (-2, -1), (-1, 2), (-2, 1), (1, -2), (2, -1), (1, 2), (2, 1)]
LEVELS = [(0, *o) for o in HERE] + [(-1, *o) for o in BACK] + [(-2, *o) for o in BACK[:9]]
ERRORS = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (0, 2)]
RESIDUALS = [(0, *o) for o in HERE[:8]] + [(-1, *o) for o in ERRORS]
NEAR = [(0, dy, dx) for dy in (-2, -1, 0) for dx in range(-2, 3) if (dy, dx) < (0, 0)]
BEFORE = [(-1, dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
NEAR_FIRST, NEAR_LATER = {1: 711, 2: 503, 4: 356, 5: 318, 8: 251}, {1: 560, 2: 396, 4: 280, 5: 251, 8: 198}
BEFORE_LATER = {0: 224, 1: 112, 2: 93}
# Symbols, and the spike.
REACHES = [4] * 9 + [5] * 4 + [6, 6, 7, 7, 8, 9, 10, 11, 12, 14, 16, 18, 21, 25, 29, 33, 39, 46, 54, 63, 75, 88, 104]
REACHES += [123, 146, 173, 205] * 10
SHIFTS = [8] * 20 + [4] * 4 + [2] * 4 + [1] * 48
FIRST_TABLE = [0, *itertools.accumulate(n // 2 + 1 for n in SHIFTS)]
SAME = [(0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0)]
STEPS, Q = [1, 2, 4, 6, 8, 12, 16, 24, 32], [1093, 1299, 1545, 1838]


def decode(data: bytes, seen: Counter | None = None, place: int | None = None) -> np.ndarray:
    """Time points: the array of a file, or a volume of an archive; `seen` counts which means it needed."""
    found = sections(data)
    counter = Counter() if seen is None else seen
    if place is not None or not found[b"VHDR", 0, 0][0] & 4:
        return volume(found, place or 0, counter)
    numbers = sorted(number for tag, number, _ in found if tag == b"VHDR")
    flags = [found[b"VHDR", number, 0][0] & 4 for number in numbers]
    check(all(flags) and numbers == [*range(len(numbers))], "a time point is missing")
    points: dict[int, np.ndarray] = {}
    for number in sorted(numbers, key=lambda number: found[b"VHDR", number, 0][0] & 2):  # keys first
        points[number] = volume(found, number, counter, points)
    check(len({(point.shape, point.dtype) for point in points.values()}) == 1, "time points differ in shape")
    return np.stack([points[number] for number in numbers])


def volume(found: Found, place: int, seen: Counter, known: dict[int, np.ndarray] | None = None) -> np.ndarray:
    """Volumes: one of a file. `known` has some that are decoded already."""
    section = Reader(found[b"VHDR", place, 0])
    flags = section.number(1)
    check(flags < 32 and flags & 5 != 5 and flags & 18 != 18, "flags of a later version")
    key = None
    if flags & 2:
        number = section.varint()
        check(not found[b"VHDR", number, 0][0] & 2, "a key refers to another")
        key = known[number] if known and number in known else volume(found, number, Counter())
    if flags & 8:
        times(section)
    sha = section.take(32)
    header = Reader(section.data[section.at // 8 :])
    number, dtype = header.number(1), np.dtype(TYPES[header.number(1)])
    if number == 16:
        model: Any = decoder_paper.Model(MODELS / f"{NAMES[number]}.npz", header.take(8))
    else:
        model = Model(number % 128, header.take(8))
    if number >= 128:
        model.fit(header.string())
    depth, height, width, slabs = (header.varint() for _ in range(4))
    runs, at, values = header.varint(), unzigzag(header.varint()), []
    for i, length in enumerate(header.rice(2 * runs - 1)):
        values += range(at, at + length + 1) if i % 2 == 0 else []
        at += length + 1
    voxels = np.empty((depth, height, width), dtype)
    check(key is None or key.shape == voxels.shape, "a key of another shape")
    for k in range(slabs):
        part = voxels[k * depth // slabs : (k + 1) * depth // slabs]
        payload = Reader(found[b"SLAB", place, k])
        wanted = payload.take(8)
        beside = None if key is None else key[k * depth // slabs : (k + 1) * depth // slabs]
        if flags & 16:
            beside = preview(found[b"PREV", place, k], part.shape, dtype)
            seen["preview"] += 1
        reference = None if beside is None else nearest(beside, values)
        if number == 16:
            ranks = decoder_paper.slab(payload, model, part.shape, len(values) - 1, seen)
        else:
            ranks = Slab(payload, model, part.shape, len(values) - 1, seen, reference).decode()
        part[:] = np.array(values, dtype)[ranks].reshape(part.shape)
        check(hashlib.sha256(header.data + varint(k) + part.tobytes()).digest()[:8] == wanted, "check of a slab")
    check(hashlib.sha256(voxels.tobytes()).digest() == sha, "SHA-256 of the voxels")
    return voxels[0] if flags & 1 else voxels


def schedule(support: list[Offset]) -> tuple[int, int]:
    """The order of voxels: b and c of x + b·y + c·z (a is 1, for the voxel on the left to be earlier)."""
    needed = [*support, *LEVELS, *RESIDUALS, *NEAR, *BEFORE, *SAME]
    needed += [(dz, dy - 1, 0) for dz, dy, dx in needed if dx < 0]
    b = next(b for b in itertools.count() if all(dx + b * dy < 0 for dz, dy, dx in needed if dz == 0))
    return b, next(c for c in itertools.count() if all(dx + b * dy + c * dz < 0 for dz, dy, dx in needed))


def index(s: int) -> int:
    """Scale and inputs."""
    e = s.bit_length() - 1
    return 16 * (e - 6) + (s >> e - 4 & 15)


class Slab:
    """Slab: its fields, and its voxels in ranks."""

    def __init__(
        self, data: Reader, model: Model, shape: tuple[int, int, int], limit: int, seen: Counter,
        reference: np.ndarray | None = None,
    ):  # fmt: skip
        check(reference is not None or not model.refers, "model for volumes that refer")
        self.model, self.shape, self.limit, self.seen = model, shape, limit, seen
        code = data.number(1)
        refers, coarse, kind = code // 32, code // 16 % 2, code % 16
        check(refers < 2, "support of a later version")
        self.support = SUPPORTS[kind] if kind < 5 else chosen(data)
        self.around = discs(data, reference) if refers else []
        self.reference = reference
        seen["reference"] += refers
        self.height, classes = data.number(1), data.number(1)
        self.inside = sum(dz == 0 for dz, _, _ in self.support)
        self.reach = max(-dz for dz, _, _ in self.support)
        groups = 1 + self.group(shape[0] - 1)
        steps = np.array(data.string().rice(groups * (classes - 1)), int).reshape(groups, classes - 1)
        self.thresholds = steps.cumsum(axis=1).tolist()
        shifts = data.string().rice(groups * classes) if coarse else [0] * (groups * classes)
        check(all(0 <= s <= 10 for s in shifts), "shifts")
        used = [len(self.used(g)) + len(self.around) for g in range(groups)]
        listed, self.weights = iter(data.string().rice(classes * sum(used))), []
        for g in range(groups):
            self.weights.append([[0] * used[g]])
            for s in shifts[g * classes : (g + 1) * classes]:
                before = self.weights[g][-1]
                self.weights[g].append([(next(listed) + (b + 2**s // 2 >> s)) * 2**s for b in before])
            del self.weights[g][0]
        corrections, spike, self.factors = data.string(), data.string(), None
        if corrections.data[:1] in (b"\xff", b"\xfe"):
            near, corrections = corrections.data[0] == 254, Reader(corrections.data[1:])
            self.factors = Factors(data.string(), limit, data.string() if near else None, shape[0])
            seen.update({"near": near, "factors": not near})
        self.classes = np.arange(76) + (corrections.rice(76) if corrections.data else 0)
        check(self.classes.min() >= 0 and self.classes.max() < 76, "class does not exist")
        self.spike, self.codes = (spike.varint(), spike.data[spike.at // 8 :]) if spike.data else (-1, b"")
        check(len(self.codes) in (0, 80), "codes of flags")
        self.codes = self.codes or bytes(80)
        self.ans, self.data = Ans([data.number(4) for _ in range(data.varint())]), data
        self.ranks, self.errors = [0] * int(np.prod(shape)), [0] * int(np.prod(shape))
        self.states: dict[tuple[int, int], list[np.ndarray]] = {}
        self.shared: dict[Offset, np.ndarray] = {}
        self.head, self.exact = model.head, 65536 * model.head
        self.sum, self.count = np.zeros_like(model.head), 0
        seen.update({f"support {kind}": 1, "slab": 1, "classes": classes - 1, "later groups": groups - 1})
        seen.update({"corrections": bool(corrections.data), "shifts": sum(shifts)})

    def decode(self) -> list[int]:
        """The order of voxels: front by front."""
        b, c = schedule(self.support)
        where = itertools.product(*map(range, self.shape))
        order = sorted((x + b * y + c * z, b * y + c * z, z, y, x) for z, y, x in where)
        for _, front in itertools.groupby(order, key=lambda v: v[0]):
            self.front([(z, y, x) for _, _, z, y, x in front])
        check(self.ans.state == 0 and not self.ans.words, "words are left")
        self.data.end()
        return self.ranks

    def read(self, array: list[int], voxel: Offset, offset: Offset) -> int:
        """The order of voxels: what a neighbour reads."""
        _, height, width = self.shape
        z, y, x = max(voxel[0] + offset[0], 0), voxel[1] + offset[1], voxel[2] + offset[2]
        if not 0 <= y < height:
            return 0
        if x < 0:
            return array[(z * height + y - 1) * width] if y else 0
        return array[(z * height + y) * width + min(x, width - 1)]

    def group(self, z: int) -> int:
        """Slab: which group a slice is in."""
        if self.reach > 2:
            return min(z, 1) if z < self.reach else 2 + (z - self.reach) // self.height
        return 1 + (z - 1) // self.height if z else 0

    def used(self, group: int) -> list[Offset]:
        """Slab: the neighbours that a group uses."""
        back = 0 if group == 0 else 2 if group == 1 and self.reach > 2 else 7
        return [o for o in self.support if -o[0] <= back]

    def linear(self, voxel: Offset) -> int:
        """Linear stage: the prediction."""
        z, group = voxel[0], self.group(voxel[0])
        near = [self.read(self.ranks, voxel, o) for o in self.used(group)]
        base = (sum(near[:4]) + 2) >> 2
        activity = sum(abs(n - base) for n in near[:10])
        later = sum(abs(n - base) for n in near[self.inside : self.inside + 9])
        near[self.inside : self.inside] = [read(self.reference, voxel, o) for o in self.around]
        activity = activity + later if z else 19 * activity // 10
        weights = self.weights[group][sum(t <= activity for t in self.thresholds[group])]
        total = sum(w * (n - base) for w, n in zip(weights, near, strict=True))
        return clip(16 * base + ((total + 128) >> 8), 16 * self.limit, 0)

    def predict(self, voxel: Offset) -> tuple[int, int, int, np.ndarray]:
        """Scale and inputs, LSTM: prediction, mean and class of a voxel, and what the head saw."""
        z, y, x = voxel
        prediction = self.linear(voxel)
        errors = {o: self.read(self.errors, voxel, o) for o in {*NEAR, *BEFORE, *RESIDUALS} if z or o[0] == 0}
        weights = NEAR_LATER if z else NEAR_FIRST
        near = sum(weights[o[1] ** 2 + o[2] ** 2] * abs(errors[o]) for o in NEAR)
        before = sum(BEFORE_LATER[o[1] ** 2 + o[2] ** 2] * abs(errors[o]) for o in BEFORE) if z else 0
        k = index(((near + before) >> 8) + 77)
        scale = (2 * (16 + k % 16) + 1) * 2 ** (k // 16 + 1)
        inverse = (2**28 + scale // 2) // scale

        def squash(d: int) -> int:
            u = clip(d * inverse >> 14, 8192)
            return min((u - (u * abs(u) >> 14) + 16) >> 5, 127)

        levels = [16 * self.read(self.ranks, voxel, o) - prediction if z or o[0] == 0 else 0 for o in LEVELS]
        inputs = [squash(d) for d in levels] + [squash(errors.get(o, 0)) for o in RESIDUALS]
        inputs += [clip(k - 96, 127), 8 * (prediction % 16 - 8), 64 if z else 0]
        inputs += [clip(index((near >> 8) + 77) - index((15 * before >> 10) + 77), 127) if z else 0]
        inputs += [clip(index(8 * sum(map(abs, levels[:10])) // 5 + 77) - k, 127), squash(prediction), 64, 0]
        if self.model.refers:
            self.refer(voxel, prediction, k, squash, inputs)
        zero = np.zeros(self.model.units, np.int64)
        ahead, nothing = min(x + 2, self.shape[2] - 1), zero[: self.model.shared]
        passed = [self.shared.get(place, nothing) for place in ((z, y - 1, ahead), (z - 1, y, ahead))]
        step = self.model.step([*inputs, *np.concatenate(passed)], *self.states.get((z, y), [zero, zero]), self.head)
        offset, octaves, seen, *self.states[z, y] = step
        self.shared[voxel] = self.states[z, y][0][: self.model.shared]
        self.seen["passed"] += any(map(np.any, passed))
        mean = clip(prediction + ((offset * scale + 2**13) >> 14), 16 * self.limit, 0)
        return prediction, mean, clip((k + octaves + 64) >> 2, 75, 0), seen

    def refer(self, voxel: Offset, prediction: int, k: int, squash: Callable[[int], int], inputs: list[int]) -> None:
        """Models that see the reference: other inputs."""
        first, moved = voxel[0] == 0, {-1: (4, 0), 0: (0, 4), 1: (1, 3)}

        def r(dy: int, dx: int) -> int:
            return read(self.reference, voxel, (0, dy, dx))

        for n, (dz, dy, dx) in enumerate(LEVELS):
            down, right = moved[dy] if first and dz == -2 else (0, 0)
            if dz < (0 if first else -1):
                inputs[n] = squash(16 * r(dy + down, dx + right) - prediction)
        far = sum(abs(self.read(self.ranks, voxel, o) - r(*o[1:])) for o in LEVELS[:10])
        inputs[63] = clip(index(128 * far // 5 + 77) - k, 127)
        if first:
            active = sum(abs(r(dy, dx) - r(0, 0)) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
            inputs[59] = clip(index(32 * active + 77) - k, 127)
        self.seen["sees"] += 1

    def learn(self, d: int, c: int, seen: np.ndarray) -> None:
        """Heads that learn: what a voxel says."""
        e = max(c, 20)
        slopes = self.model.slopes[:, c, min(abs(d) * (2**39 // (Q[e % 4] * 2 ** (e // 4))) >> 24, 63)]
        self.sum = self.sum + np.outer([-slopes[0] if d > 0 else slopes[0], slopes[1]], seen)
        self.count += 1

    def move(self) -> None:
        """Heads that learn: a step."""
        step = (2**8 * self.sum // self.count) @ self.model.metric.T
        most = 65536 * ((2**24 - max(abs(self.model.bias)) - 1) // (128 * self.model.seen))
        self.exact = np.clip(self.exact - (step >> 6), -most, most)
        self.head, self.sum, self.count = (self.exact + 2**15) >> 16, 0 * self.sum, 0
        self.seen["step of the head"] += 1

    def context(self, voxel: Offset, mean: int, c: int) -> int:
        """Spike: the context of a voxel."""
        same = sum(self.read(self.ranks, voxel, o) == self.spike for o in SAME if voxel[0] or o[0] == 0)
        return 10 * same + sum(s * Q[c % 4] * 2 ** (c // 4) <= 2**14 * abs(mean - 16 * self.spike) for s in STEPS)

    def front(self, voxels: list[Offset]) -> None:
        """Symbols, spike, entropy coder: the voxels of a front."""
        found = {v: self.predict(v) for v in voxels}
        codes = {v: self.codes[self.context(v, mean, c)] for v, (_, mean, c, _) in found.items()}
        settled = {v: self.ans.symbol(odds(codes[v])) for v in sorted(voxels, key=codes.__getitem__) if codes[v]}
        self.seen.update({"flag": len(settled), "spike": sum(settled.values())})
        places = {}
        for v in voxels:
            _, mean, c, _ = found[v]
            c = int(self.classes[c])
            q = (mean * SHIFTS[c] + 8) >> 4
            nearest = (q + SHIFTS[c] // 2) // SHIFTS[c]
            shift = q - nearest * SHIFTS[c]
            places[v] = (FIRST_TABLE[c] + abs(shift), c, nearest, -1 if shift < 0 else 1)
        others = sorted((v for v in voxels if not settled.get(v)), key=lambda v: places[v][0])
        tokens = {} if self.factors else {v: self.ans.symbol(self.model.tables[places[v][0]]) for v in others}
        for v in voxels:
            _, c, nearest, sign = places[v]
            low = max(c // 4 - 9, 0)
            if settled.get(v):
                rank = self.spike
            elif self.factors:
                table = self.model.tables[places[v][0]]
                self.factors.look(self.ranks, self.shape[2], *v[1:])
                rank, escaped = self.factors.rank(self.ans, self.data, table, nearest, sign, low, self.limit)
                self.seen.update({"escape": escaped, "low bits": low > 0})
            elif tokens[v] == 2 * REACHES[c]:
                rank = self.data.bits(self.limit.bit_length())
                self.seen["escape"] += 1
            else:
                rank = nearest + sign * ((tokens[v] - REACHES[c] << low) + self.data.bits(low))
                self.seen["low bits"] += low > 0
            check(0 <= rank <= self.limit, "no such value")
            at = (v[0] * self.shape[1] + v[1]) * self.shape[2] + v[2]
            self.ranks[at], self.errors[at] = rank, 16 * rank - found[v][0]
            if self.model.learns and rank != self.spike:
                self.learn(16 * rank - found[v][1], found[v][2], found[v][3])
        if self.count >= 256:
            self.move()
