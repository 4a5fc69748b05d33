"""The erasure code: what zfec makes of the same blocks, and decoding by another method than the library's."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.container.independent_repair import power, product, solve
from volcomp.container import erasure

GOLDEN = sorted((Path(__file__).parent / "golden").glob("zfec-*.bin"))


def parity(blocks, count):
    """The first parity blocks of some data blocks."""
    k = len(blocks)
    sums = erasure.Sums(erasure.coefficients(range(k), range(k, k + count)), len(blocks[0]))
    for number, block in enumerate(blocks):
        sums.add(number, block)
    return [sums.output(number) for number in range(count)]


def test_there_are_golden_files():
    assert len(GOLDEN) == 4


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_parity_is_that_of_zfec(path):
    k, t, n = map(int, path.stem.split("-")[1:])
    i = np.arange(n)
    blocks = [(7 * j * j + 13 * i * (j + 3) + (i * i >> 3) + j).astype(np.uint8).tobytes() for j in range(k)]
    assert b"".join(parity(blocks, t)) == path.read_bytes()


def test_the_table_of_products_is_that_of_the_field():
    for a, b in itertools.product(range(256), range(0, 256, 7)):
        assert erasure.PRODUCT[a, b] == product(a, b)


def test_any_k_bytes_give_the_others():
    random = np.random.default_rng(0)
    for k, t in ((1, 1), (3, 2), (10, 9), (40, 17), (250, 6)):
        data = random.integers(0, 256, (k, 5), np.uint8)
        word = [*data, *(np.frombuffer(block, np.uint8) for block in parity([row.tobytes() for row in data], t))]
        for _ in range(20):
            order = random.permutation(k + t)
            known, wanted = order[:k].tolist(), order[k:].tolist()
            sums = erasure.Sums(erasure.coefficients(known, wanted), 5)
            for at, number in enumerate(known):
                sums.add(at, word[number].tobytes())
            assert [sums.output(at) for at in range(t)] == [word[number].tobytes() for number in wanted]


def test_another_way_to_decode_gives_the_same():
    """Gauss elimination for the coefficients of the polynomial, instead of Lagrange's formula for its values."""
    random = np.random.default_rng(1)
    for k, t in ((4, 3), (23, 11)):
        blocks = [random.bytes(3) for _ in range(k)]
        word = [*blocks, *parity(blocks, t)]
        known = sorted(random.permutation(k + t)[:k].tolist())
        points = [0 if number == 0 else power(2, number - 1) for number in range(k + t)]
        rows = [[power(points[number], degree) for degree in range(k)] for number in known]
        polynomials = solve(rows, [list(word[number]) for number in known])
        for number in range(k):
            values = [0, 0, 0]
            for degree in range(k):
                for i in range(3):
                    values[i] ^= product(power(points[number], degree), polynomials[degree][i])
            assert bytes(values) == blocks[number]


def test_a_short_block_counts_as_one_of_zeros_at_its_end():
    assert parity([b"abc", b"defg"[:3]], 2) == [block[:3] for block in parity([b"abc\0", b"def\0"], 2)]
    whole = erasure.Sums(erasure.coefficients(range(2), [2]), 4)
    whole.add(0, b"abcd")
    whole.add(1, b"ef")
    assert whole.output(0) == parity([b"abcd", b"ef\0\0"], 1)[0]
