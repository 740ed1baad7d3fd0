"""LEB128 numbers, as all parts of a file store them.

7 bits a byte, low bits first, the top bit set on all bytes but the last.
"""

from bitsback.errors import DamagedFile


def number(value: int) -> bytes:
    """LEB128 bytes of an integer >= 0."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def signed(value: int) -> bytes:
    """LEB128 bytes of any integer, zigzag: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
    return number(2 * value if value >= 0 else -2 * value - 1)


class Reader:
    """Takes bytes off the front of data[position:end].

    Errors of all its methods: DamagedFile where the bytes run out or a number is too large.
    """

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data, self.position, self.end = data, position, len(data) if end is None else end

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if self.position + count > self.end:
            raise DamagedFile("cut short")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, limit: int) -> int:
        """The mirror of `number`, at most `limit`."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if value > limit or shift > 63:
                raise DamagedFile("a number in the header is out of range")
            if byte < 128:
                return value
            shift += 7

    def signed(self, limit: int) -> int:
        """The mirror of `signed`, at most `limit` in absolute value or one less below."""
        value = self.number(2 * limit)
        return value // 2 if value % 2 == 0 else -(value + 1) // 2
