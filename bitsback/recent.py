"""What was made lately, kept while there is room."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from bitsback.locks import ForkLock

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """What was made of groups lately, as long as it has no more than `limit` bytes together.

    Threads may share it: one makes what all of them wait for.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self._lock = limit, ForkLock()
        self.kept: OrderedDict[int, tuple[Kept, int]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return sum(size for _, size in self.kept.values())

    def get(self, key: int, make: Callable[[], tuple[Kept, int]]) -> Kept:
        """What is kept under a key, else what make() returns, with its bytes."""
        with self._lock:
            if key not in self.kept:
                self.kept[key] = make()
            self.kept.move_to_end(key)
            found = self.kept[key][0]
            while self.size > self.limit and len(self.kept) > 1:
                self.kept.popitem(last=False)
            return found
