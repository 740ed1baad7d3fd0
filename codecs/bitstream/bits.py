"""A bit reader for the headers of other formats."""

from bitsback.errors import UnsupportedImage


class Bits:
    """Reads bytes bit by bit, from the lowest bit of a byte (JPEG XL) or, with high_first, from the
    highest (AV1).  Errors: UnsupportedImage at the end of the data.
    """

    def __init__(self, data: bytes, high_first: bool = False) -> None:
        self.data, self.high_first, self.position = data, high_first, 0

    def take(self, count: int) -> int:
        """The next unsigned integer of `count` bits."""
        first, last = self.position // 8, (self.position + count + 7) // 8
        if last > len(self.data):
            raise UnsupportedImage("damaged image (its header ends early)")
        whole = int.from_bytes(self.data[first:last], "big" if self.high_first else "little")
        skipped = 8 * last - self.position - count if self.high_first else self.position % 8
        self.position += count
        return whole >> skipped & (1 << count) - 1

    def align(self) -> None:
        """Skips to the next byte boundary."""
        self.position = -(-self.position // 8) * 8
