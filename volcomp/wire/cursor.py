"""Read small untrusted binary structures: LEB128 integers, and a cursor that cannot leave its bytes."""

from __future__ import annotations

from ..errors import DamagedError

_LONGEST_VARINT = 9  # bytes of 7 bits each, so every value is below 2^63 and fits a signed 64-bit integer


def varint(value: int) -> bytes:
    """Encode 0 <= value < 2^63 in 7-bit groups, lowest first; the top bit is set if another byte follows (LEB128)."""
    assert 0 <= value < 1 << 63, value
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: bytes) -> bytes:
    """Encode a byte string after its length."""
    return varint(len(text)) + text


class Cursor:
    """Reads `data` from its start; missing or non-canonical bytes raise a DamagedError that names `what`."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.position = 0
        self.what = what

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count > len(self.data) - self.position:
            raise self.damaged()
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self, limit: int = (1 << 63) - 1) -> int:
        """Return the next integer; DamagedError if it is larger than `limit`."""
        value = 0
        for shift in range(0, 7 * _LONGEST_VARINT, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                # A value has one encoding: a last group of zero would be a second one.
                if value > limit or (byte == 0 and shift):
                    raise self.damaged()
                return value
        raise self.damaged()

    def varints(self, count: int, limit: int = (1 << 63) - 1) -> list[int]:
        """Return the next `count` integers; DamagedError at once if fewer bytes are left."""
        if count > len(self.data) - self.position:
            raise self.damaged()
        return [self.varint(limit) for _ in range(count)]

    def string(self) -> bytes:
        """Return the next byte string, which follows its length."""
        return self.take(self.varint())

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(len(self.data) - self.position)

    def end(self) -> None:
        """Raise DamagedError if any bytes are left."""
        if self.position != len(self.data):
            raise self.damaged()

    def damaged(self) -> DamagedError:
        """Return the error for contents that no writer makes."""
        return DamagedError(f"{self.what} is damaged at its byte {self.position}")
