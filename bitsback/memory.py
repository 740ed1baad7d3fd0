"""Tuning of glibc's allocator, and what failed allocations look like.

By default glibc returns every large block to the system, which zeroes the pages of the next one:
page faults took a fifth of the coding time (benchmarks/speed.py).  Here freed memory is kept.
"""

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names and numbers of malloc.h
LARGE = 2**27  # bytes: larger blocks, such as whole large images, are returned at once
KEPT = 2**30  # bytes of freed blocks that the process keeps, such as those of segments


def _libc():
    """The C library of a Linux process, else None."""
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def keep_pages() -> bool:
    """Sets the allocator's thresholds; returns whether it accepted them.

    This changes the whole process: programs call it at their start, libraries should not.
    """
    try:
        libc = _libc()
        if libc is None:
            return False
        mallopt = libc.mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, KEPT))


def give_pages_back() -> None:
    """Returns free memory to the system.

    Without it, the gaps left by segments of different sizes add up to the memory of several.
    """
    try:
        libc = _libc()
        if libc is not None:
            libc.malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        pass


# What errors of torch, its libraries and Triton say where an allocation failed.  Too little shared
# memory for a kernel is another error ("out of resource").
_SIGNS = ("out of memory", "can't allocate memory", "_status_alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory could not be allocated, on the host or on a device."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SIGNS)


def give_device_memory_back() -> None:
    """Returns the free blocks of torch's allocator to the devices, after one was out of memory.

    Call it outside of `except`: the frames of an exception hold their tensors.
    """
    gc.collect()
    torch = sys.modules.get("torch")  # without it there is nothing to return
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
