"""Where the bits of a file go: what each segment, level, coding pass and colour pops and pushes."""

from collections.abc import Callable, Hashable
from typing import NamedTuple

from bitsback.ans.device_lanes import DeviceLanes
from bitsback.ans.lanes import Lanes


class Entry(NamedTuple):
    """Bits that one operation took from and added to the stack.

    segment: its number, in the order of encoding.  level: k of y_k popped under q(y_k | y_{k-1})
    and of p(y_{k-1} | y_k), 0 for the pixel term; K for the top.  coding_pass and colour (R, G, B
    or gray: 0, 1, 2 or 0): None where all are coded at once.
    """

    segment: int
    level: int
    coding_pass: int | None
    colour: int | None
    popped: int
    pushed: int


class Ledger:
    """Records the bits that coding pops and pushes, by the message's size before and after.

    An encoder's cost is pushed - popped, a decoder's popped - pushed.  Entries of a segment add up
    to the change of `lanes.size_bits`.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._segment, self._bits = 0, 0

    def begin(self, segment: int, lanes: Lanes) -> None:
        """Starts a segment; entries of an earlier attempt at it, which failed, are dropped."""
        while self.entries and self.entries[-1].segment == segment:
            self.entries.pop()
        self._segment, self._bits = segment, lanes.size_bits

    def record(
        self,
        lanes: Lanes | DeviceLanes,
        level: int,
        coding_pass: int | None = None,
        colour: int | None = None,
    ) -> None:
        """Records what the stack lost or gained since the last call; waits for a device."""
        bits = int(lanes.size_bits) - self._bits
        self._bits += bits
        self.entries.append(
            Entry(self._segment, level, coding_pass, colour, max(0, -bits), max(0, bits))
        )

    def sums(self, key: Callable[[Entry], Hashable]) -> dict[Hashable, tuple[int, int]]:
        """{key(entry): (popped bits, pushed bits)}, summed over all entries of equal key."""
        found: dict[Hashable, tuple[int, int]] = {}
        for entry in self.entries:
            popped, pushed = found.get(key(entry), (0, 0))
            found[key(entry)] = popped + entry.popped, pushed + entry.pushed
        return found
