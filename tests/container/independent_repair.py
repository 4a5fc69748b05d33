"""A repairer written from docs/format.md, "Parity", alone: no table, no numpy, and nothing of the package."""

import hashlib
import struct
import zlib

SIGNATURE = b"\x89VCP\r\n\x1a\n"
HEAD = "<8sBBBBIIIQ32s"


def product(a, b):
    """The product of two bytes in the field of x^8 + x^4 + x^3 + x^2 + 1."""
    total = 0
    while b:
        total ^= a * (b & 1)
        a = a << 1 ^ (0x11D if a & 128 else 0)
        b >>= 1
    return total


def power(a, exponent):
    """A power; anything to the power of 0 is 1."""
    result = 1
    for _ in range(exponent):
        result = product(result, a)
    return result


def solve(rows, right):
    """Solve linear equations over the field by Gauss elimination; `right` may have several columns."""
    count = len(rows)
    table = [[*row, *values] for row, values in zip(rows, right, strict=True)]
    for column in range(count):
        pivot = next(i for i in range(column, count) if table[i][column])
        table[column], table[pivot] = table[pivot], table[column]
        inverse = power(table[column][column], 254)
        table[column] = [product(inverse, value) for value in table[column]]
        for i in range(count):
            if i != column and (factor := table[i][column]):
                table[i] = [a ^ product(factor, b) for a, b in zip(table[i], table[column], strict=True)]
    return [row[count:] for row in table]


def repair(data):
    """Return the archive of a protected file in which bytes were overwritten or its end was cut off."""
    found = {}
    for offset in range(len(data)):
        if data.startswith(SIGNATURE, offset) and len(data) >= offset + 68:
            _, version, k, t, number, length, groups, group, size, sha = struct.unpack_from(HEAD, data, offset)
            end = offset + 68 + (4 * k + length if number < t else 0)
            if version == 1 and data[end - 4 : end] == struct.pack("<I", zlib.crc32(data[offset : end - 4])):
                layout = k, t, length, groups, size, sha
                found[group, number] = data[offset + 64 : end - 4]
    k, t, length, groups, size, sha = layout
    archive = bytearray(data[:size].ljust(size, b"\0"))
    for group in range(groups):
        parity = {number: found[group, number] for number in range(t) if (group, number) in found}
        if not parity:
            continue
        checksums = struct.unpack_from(f"<{k}I", next(iter(parity.values())))
        word = {}
        for j in range(k):
            block = bytes(archive[(j * groups + group) * length : (j * groups + group + 1) * length])
            if zlib.crc32(block) == checksums[j]:
                word[j] = block.ljust(length, b"\0")
        missing = [j for j in range(k) if j not in word]
        for number in list(parity)[: len(missing)]:
            word[k + number] = parity[number][4 * k :]
        if missing:
            points = {n: power(2, n - 1) if n else 0 for n in [*word, *missing]}
            rows = [[power(points[n], degree) for degree in range(k)] for n in word]
            polynomials = solve(rows, [list(block) for block in word.values()])
            for j in missing:
                values = [0] * length
                for degree in range(k):
                    factor = power(points[j], degree)
                    for i in range(length):
                        values[i] ^= product(factor, polynomials[degree][i])
                start = (j * groups + group) * length
                archive[start : start + length] = values[: size - start]
    assert hashlib.sha256(archive).digest() == sha
    return bytes(archive)
