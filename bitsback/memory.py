"""Keeps freed memory for the next array: the program's own process only, and only where glibc allocates.

By default glibc gives every large block back to the system, which then hands out zeroed pages for the
next one: a fifth of the coder's time went to page faults (benchmarks/speed.py).
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names and numbers of malloc.h
LARGE, KEPT = (
    2**27,
    2**30,
)  # bytes: blocks of a whole large image go back at once, those of a segment are kept


def keep_pages():
    """True if the allocator took it.  Changes the process: for a program's start, not for a library."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another libc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, KEPT))


def give_pages_back():
    """Hands the holes in freed memory back to the system: between segments of different sizes they would add up to several segments."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):  # another libc
            pass
