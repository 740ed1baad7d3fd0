"""Numbers of a few bits, as headers of other formats hold them."""

from bitsback.errors import UnsupportedImage


class Bits:
    """Reads bytes bit by bit: the lowest of a byte first (JPEG XL) or, with high_first, the highest
    (AV1).  Errors: UnsupportedImage at the end.
    """

    def __init__(self, data: bytes, high_first: bool = False):
        self.data, self.high_first, self.position = data, high_first, 0

    def take(self, count: int) -> int:
        """The next number of `count` bits."""
        first, last = self.position // 8, (self.position + count + 7) // 8
        if last > len(self.data):
            raise UnsupportedImage("damaged image (its header ends early)")
        whole = int.from_bytes(self.data[first:last], "big" if self.high_first else "little")
        skipped = 8 * last - self.position - count if self.high_first else self.position % 8
        self.position += count
        return whole >> skipped & (1 << count) - 1

    def align(self) -> None:
        """Goes on at the next whole byte."""
        self.position = -(-self.position // 8) * 8
