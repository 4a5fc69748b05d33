"""The part of `decoder.py` for ranks that have factors, from docs/format.md alone."""

from tests.conformance.decoder_bits import Ans, Reader, check

EIGHTHS = [256, 279, 304, 332, 362, 395, 431, 470]


class Factors:
    """Factors of ranks: the list, and the symbols of a voxel."""

    def __init__(self, data: Reader, limit: int, near: Reader | None, depth: int):
        period, count = data.number(1), data.varint()
        check(1 <= period <= 16 and count <= limit + 1, "list of factors")
        exponents: list[int] = []
        for step in data.rice(count):
            exponents.append(step + (exponents[-period] if len(exponents) >= period else 0))
        check(all(-64 <= f <= 31 for f in exponents), "factors")
        exponents += [0] * (limit + 1 - count)
        self.factors = [EIGHTHS[f % 8] << f // 8 if f >= 0 else EIGHTHS[f % 8] >> -(f // 8) for f in exponents]

        check(near is None or depth == 1, "near factors of several slices")
        self.exponents = self.near(near) if near else []

    @staticmethod
    def near(data: Reader) -> list[int]:
        """Exponents of the distances to neighbours."""
        count = data.number(1)
        check(1 <= count <= 16, "number of near factors")
        exponents = data.rice(count)
        check(all(-64 <= f <= 31 for f in exponents), "near factors")
        return exponents

    def look(self, ranks: list[int], width: int, y: int, x: int) -> None:
        """Take the ranks around a voxel."""
        places = [(y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1)]
        self.around = [ranks[b * width + a] for b, a in places if b >= 0 <= a < width]

    def nearer(self, weight: int, rank: int) -> int:
        """A weight, given the ranks around the voxel."""
        distances = [abs(rank - other) for other in self.around]
        f = sum(self.exponents[d] for d in distances if d < len(self.exponents))
        f = min(max(f, -64), 31)
        factor = EIGHTHS[f % 8] << f // 8 if f >= 0 else EIGHTHS[f % 8] >> -(f // 8)
        return min(weight * factor // 256, 2**32 - 1)

    def sum(self, first: int, count: int) -> int:
        """Of the factors of ranks, where these exist."""
        return sum(self.factors[max(first, 0) : max(first + count, 0)])

    def rank(
        self, ans: Ans, raw: Reader, table: list[int], nearest: int, sign: int, low: int, limit: int
    ) -> tuple[int, bool]:
        """A voxel, from its symbols and raw bits, and whether it escaped."""
        reach, size = (len(table) - 1) // 2, 2**low
        # nearest + sign · (0 … size − 1 + size · (token − reach)): the least of them, and the token's count.
        lowest = [
            (nearest + sign * (size * (token - reach) + (0 if sign > 0 else size - 1)), table[token])
            for token in range(2 * reach)
        ]
        weights = [(first, count * (self.sum(first, size) // size)) for first, count in sorted(lowest)]
        if self.exponents and size == 1:
            weights = [(rank, self.nearer(weight, rank)) for rank, weight in weights]
        symbol = ans.symbol([*(weight for _, weight in weights), table[-1] * 256])
        if symbol == 2 * reach:
            return raw.bits(limit.bit_length()), True
        rank = weights[symbol][0]
        while size > 1:
            size //= 2
            lower, upper = self.sum(rank, size), self.sum(rank + size, size)
            if ans.between([0, 1 + lower * (2**24 - 2) // max(lower + upper, 1), 2**24]):
                rank += size
        return rank, False
