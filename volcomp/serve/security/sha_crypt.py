"""Hashes of passwords by SHA-256 and SHA-512, as `openssl passwd -6` and `htpasswd -5` write them.

The scheme is U. Drepper's "Unix crypt using SHA-256 and SHA-512" (2007, public domain); its steps are numbered there.
Python's own `crypt` went with 3.13.
"""

from __future__ import annotations

import hashlib
import re
from hmac import compare_digest

_FORM = re.compile(r"\$([56])\$(?:rounds=([0-9]{1,9})\$)?([^$:\n]{0,16})\$([./0-9A-Za-z]{43}|[./0-9A-Za-z]{86})")
_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS, _FEWEST = 5000, 1000
MOST_ROUNDS = 1_000_000  # which takes seconds


def is_one(text: str) -> bool:
    """Return whether a text is such a hash, of neither too few rounds nor more than are computed here."""
    found = _FORM.fullmatch(text)
    if found is None or not _FEWEST <= int(found[2] or _ROUNDS) <= MOST_ROUNDS:
        return False
    return len(found[4]) == (43 if found[1] == "5" else 86)


def matches(password: bytes, text: str) -> bool:
    """Return whether a password has a hash for which `is_one` holds."""
    found = _FORM.fullmatch(text)
    assert found
    computed = _hash(password, found[3].encode(), int(found[2] or _ROUNDS), "sha256" if found[1] == "5" else "sha512")
    return compare_digest(_text(computed), found[4])


def _hash(password: bytes, salt: bytes, rounds: int, name: str) -> bytes:
    """Compute the digest before it is written as text."""

    def digest(data: bytes) -> bytes:
        return hashlib.new(name, data).digest()

    length = len(password)
    first = _repeated(digest(password + salt + password), length)  # steps 4 to 10
    data, bits = password + salt + first, length
    between = digest(password + salt + password)
    while bits:  # step 11
        data += between if bits & 1 else password
        bits >>= 1
    state = digest(data)
    p = _repeated(digest(password * length), length)  # steps 13 to 16
    s = _repeated(digest(salt * (16 + state[0])), len(salt))  # steps 17 to 20
    for number in range(rounds):  # step 21
        data = p if number & 1 else state
        if number % 3:
            data += s
        if number % 7:
            data += p
        state = digest(data + (state if number & 1 else p))
    return state


def _repeated(data: bytes, length: int) -> bytes:
    """Repeat bytes up to a length."""
    return (data * (length // len(data) + 1))[:length]


def _text(digest: bytes) -> str:
    """Write a digest as text (step 22): three bytes, from places that go around, to four characters."""
    third = len(digest) // 3
    a, b, c = 0, third, 2 * third
    text = ""
    for _ in range(third):
        text += _characters(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
        a, b, c = (c + 1, a + 1, b + 1) if len(digest) == 32 else (b + 1, c + 1, a + 1)
    return text + (_characters(digest[31] << 8 | digest[30], 3) if len(digest) == 32 else _characters(digest[63], 2))


def _characters(value: int, count: int) -> str:
    """Write six bits with each character, the lowest first."""
    return "".join(_DIGITS[value >> 6 * number & 63] for number in range(count))
