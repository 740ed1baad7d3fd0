"""Keeps freed memory for the next array: the program's own process only, and only where glibc allocates.

By default glibc gives every large block back to the system, which then hands out zeroed pages for the
next one: a fifth of the coder's time went to page faults (benchmarks/speed.py).
"""
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # names and numbers of malloc.h
LARGE = 2**30


def keep_pages():
    """True if the allocator took it.  Changes the process: for a program's start, not for a library."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):           # another libc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, LARGE))
