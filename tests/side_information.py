"""Block means, read by FORMAT.md's words."""

from itertools import groupby

import numpy as np

from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.fallback.codec import decode_fallback


def grids(data, sizes):
    """Block means: a list of (r, c, C), or None, of each image; None for a file without any.

    sizes: (height, width, channels) of each image.
    """
    reader, found = Reader(data), []
    if not data:
        return None
    for (height, width, channels), run in groupby(sizes):
        count, length = len(list(run)), reader.number(len(data))
        rows, columns = (height + 31) // 32, (width + 31) // 32
        small = (
            decode_fallback(reader.take(length), (count * rows, columns, channels))
            if length
            else None
        )
        found += [
            None if small is None else small[i * rows : (i + 1) * rows].astype(np.int64)
            for i in range(count)
        ]
    assert reader.position == len(data)
    return found
