"""Words that lanes have pushed (lanes_push_triton.py) are put on the stack: one Triton program."""

import triton
import triton.language as tl

from bitsback.ans.lanes_push_triton import IMPOSSIBLE
from bitsback.ans.lanes_triton import DRY

BLOCK = 4096  # of `given` at once
WARPS = 16


@triton.jit
def _block(given, low, end, BLOCK: tl.constexpr):
    """The elements from place `low` to before `end`, the last first."""
    i = end - 1 - tl.arange(0, BLOCK)
    return tl.load(given + i, mask=i >= low, other=-1)


@triton.jit(do_not_specialize=["given", "low", "end", "words", "count", "room"])
def append_words(given, low, end, words, count, room, BLOCK: tl.constexpr):
    """Pushes the words of given[low:end] int64, the last first; what is no word is below 0.

    The count becomes -2^40 where a value was IMPOSSIBLE, or for a word more than the `room` of
    words.
    """
    p = tl.load(count)
    impossible = low * 0
    word = _block(given, low, end, BLOCK)
    while end > low:
        end -= BLOCK
        after = _block(given, low, end, BLOCK)  # loaded while this block is placed
        is_word = (word >= 0).to(tl.int32)
        place = p + tl.cumsum(is_word, 0) - 1
        tl.store(words + place, word, mask=(word >= 0) & (place >= 0) & (place < room))
        sums = tl.sum(is_word + ((word == IMPOSSIBLE).to(tl.int32) << 16), 0)  # both in one
        p += sums & 0xFFFF
        impossible += sums >> 16
        word = after
    tl.store(count, tl.where((impossible > 0) | (p >= room), DRY, p))
