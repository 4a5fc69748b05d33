"""The part of `decoder.py` for ranks that have factors, from docs/format.md alone."""

from tests.conformance.decoder_bits import Ans, Reader, check

EIGHTHS = [256, 279, 304, 332, 362, 395, 431, 470]


class Factors:
    """Factors of ranks: the list, and the symbols of a voxel."""

    def __init__(self, data: Reader, limit: int):
        period, count = data.number(1), data.varint()
        check(1 <= period <= 16 and count <= limit + 1, "list of factors")
        exponents: list[int] = []
        for step in data.rice(count):
            exponents.append(step + (exponents[-period] if len(exponents) >= period else 0))
        check(all(-64 <= f <= 31 for f in exponents), "factors")
        exponents += [0] * (limit + 1 - count)
        self.factors = [EIGHTHS[f % 8] << f // 8 if f >= 0 else EIGHTHS[f % 8] >> -(f // 8) for f in exponents]

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
