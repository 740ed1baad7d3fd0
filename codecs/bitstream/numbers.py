"""LEB128 numbers, as all parts of a file write them: 7 bits a byte, low first, the top bit set on all but the last."""

from bitsback.errors import DamagedFile


def number(value: int) -> bytes:
    """LEB128 bytes of an integer >= 0."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


class Reader:
    """Takes bytes off the front; DamagedFile if they run out or a number is too large."""

    def __init__(self, data, position=0, end=None):
        self.data, self.position, self.end = data, position, len(data) if end is None else end

    def take(self, count):
        if self.position + count > self.end:
            raise DamagedFile("cut short")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, limit):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if value > limit or shift > 63:
                raise DamagedFile("a number in the header is out of range")
            if byte < 128:
                return value
            shift += 7

    def signed(self, limit):
        value = self.number(2 * limit)
        return value // 2 if value % 2 == 0 else -(value + 1) // 2
