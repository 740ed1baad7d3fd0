"""Bytes taken off the front: fixed numbers and those called n and z (FORMAT.md)."""

from tests.second_decoder.errors import check


class Reader:
    def __init__(self, data):
        self.data, self.position = bytes(data), 0

    @property
    def left(self):
        return len(self.data) - self.position

    def take(self, count):
        check(count <= self.left, "the data ends early")
        self.position += count
        return self.data[self.position - count : self.position]

    def rest(self):
        return self.take(self.left)

    def end(self, what):
        check(not self.left, f"bytes after {what}")

    def fixed(self, count):
        return int.from_bytes(self.take(count), "little")

    def n(self, most, least=0):
        value = 0
        for i in range(10):
            (byte,) = self.take(1)
            value += (byte & 127) << 7 * i
            if byte < 128:
                check(least <= value <= most, f"the number {value} is not in {least}..{most}")
                return value
        check(False, "a number of more than ten bytes")

    def z(self, most, least=None):
        """most: its largest value, and the smallest is -most unless `least` says more."""
        n = self.n(2**64)
        value = n // 2 if n % 2 == 0 else -(n + 1) // 2
        least = -most if least is None else least
        check(least <= value <= most, f"the number {value} is not in {least}..{most}")
        return value

    def sized(self, most=2**60, least=0):
        """An n length and as many bytes."""
        return self.take(self.n(most, least))
