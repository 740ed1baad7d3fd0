"""Compiled loops shared out to threads, as many as torch uses for its own operations.

Compiled loops run without Python's lock.  Handing a part over takes some 30 microseconds, so that
only long arrays are shared out.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

LEAST = 2**14  # items of a part: fewer are done sooner than handed over


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The helpers of a process: a fork has none of its parent's threads."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "loops")


def parts(n: int, least: int = LEAST) -> list[tuple[int, int]]:
    """0..n in ranges (begin, end) of about one size, of at least `least`: one for each thread."""
    if n < 2 * least:
        return [(0, n)]
    import torch

    count = min(torch.get_num_threads(), n // least)
    edges = [n * i // count for i in range(count + 1)]
    return list(zip(edges[:-1], edges[1:]))


def shared_out(loop: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """[loop(*arguments) for arguments in calls], at once: the last here, the others by helpers.

    All have ended when it returns, or raises what one of them did.
    """
    if len(calls) == 1:
        return [loop(*calls[0])]
    *others, own = calls
    helped = [_pool(os.getpid()).submit(loop, *arguments) for arguments in others]
    try:
        last = loop(*own)
    finally:
        wait(helped)
    return [*(future.result() for future in helped), last]
