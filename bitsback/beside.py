"""Work of the host beside the thread that codes: in helper threads, or later where there are none.

Helpers do what the coding need not wait for: while a GPU codes, one core launches its kernels and
the others rest; on a CPU some loops have one thread.  Libraries that compress, and compiled loops,
run without Python's lock.  Where one thread is asked for, helpers would only compete, so that work
waits until it is asked for, and what is not asked for is not done.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bitsback.team import Helpers

MOST_HELPERS = 4  # an encoder has twice these: one half for what is not soon asked for

# Returns the result of what was begun; raises its error.  A helper must not call it: it would hold
# a thread that the work waits for.
Later = Callable[[], Any]
Beside = Callable[..., Later]  # (function, *arguments) -> Later


def later(function: Callable[..., Any], *arguments: Any) -> Later:
    """A Beside without helpers: the function is called when its result is first asked for."""
    return functools.cache(functools.partial(function, *arguments))


def at_once(function: Callable[..., Any], *arguments: Any) -> Later:
    """A Beside that calls the function now."""
    result = function(*arguments)
    return lambda: result


def helper_count() -> int:
    """How many helpers the thread that codes has: none where torch uses one thread (-T 1, and where
    several images are coded at once)."""
    import torch

    return min(MOST_HELPERS, torch.get_num_threads() - 1)


def helpers() -> AbstractContextManager[Beside]:
    """A Beside of the helpers that the thread that codes has: as `threads`."""
    return threads(helper_count())


@contextmanager
def threads(count: int) -> Iterator[Beside]:
    """A Beside of `count` threads, fewer where the system has no more; `later` for none.

    They end with the block.

    Work is begun in the order in which it is given.  At the end, or where the block raises, work
    not begun is dropped, work begun is waited for.
    """
    pool = Helpers("beside")
    if count < 1 or not pool.ensure(count):
        yield later
        return
    try:
        yield lambda function, *arguments: pool.begin(function, *arguments).result
    finally:
        pool.end()
