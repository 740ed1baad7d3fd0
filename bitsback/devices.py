"""The device, and the stream on it, that a thread works with.

Launches go to the current device and stream of the calling thread.  Images that are coded at once
have a thread and a stream each: what one of them waits for does not stop the others.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bitsback.errors import BitsbackError

# what torch raises for a name that is no device's, or that of a device or backend that is not here
DEVICE_ERRORS = (RuntimeError, AssertionError, ImportError, TypeError, AttributeError)
_own = threading.local()  # the streams of each thread, by device


def is_gpu(device: Any) -> bool:
    """Whether a name, or a torch.device, is that of a CUDA device."""
    return str(device).split(":")[0] == "cuda"


def is_there(device: Any) -> bool:
    """Whether a CUDA device is one of this machine; True for other devices."""
    if not is_gpu(device):
        return True
    import torch

    return (torch.device(device).index or 0) < torch.cuda.device_count()


def is_usable(device: Any) -> bool:
    """Whether a device is here, by an empty tensor on it; no CUDA device is initialised.

    Errors: DEVICE_ERRORS for a name that is no device's, and devices but CUDA's that are not here.
    """
    import torch

    if not is_gpu(device):
        torch.empty(0, device=device)
    return is_there(device)


def require(device: Any) -> None:
    """Errors: BitsbackError for a name that is no device's, or a device that is not here."""
    if device is None:  # torch would take its default
        raise BitsbackError("None: no such device here")
    if device == "cpu":  # which is there, and needs no torch to tell
        return
    try:
        there = is_usable(device)
    except DEVICE_ERRORS:
        there = False
    if not there:
        raise BitsbackError(f"{device}: no such device here")


@contextmanager
def current(device: Any) -> Iterator[None]:
    """Makes a CUDA device that of this thread for the block.

    Nothing for other devices, or one that is not there: using that is an error of its own.
    """
    if not is_gpu(device) or not is_there(device):
        yield
        return
    import torch

    with torch.cuda.device(device):
        yield


@contextmanager
def own_stream(device: Any) -> Iterator[None]:
    """Work of the block goes to a stream of this thread alone; nothing changes on other devices.

    Memory that torch allocates in the block belongs to that stream: it must not outlive the block
    in hands of another thread, unless the device was synchronised.
    """
    if not is_gpu(device):
        yield
        return
    import torch

    if not hasattr(_own, "streams"):
        _own.streams = {}
    key = str(device)
    if key not in _own.streams:
        _own.streams[key] = torch.cuda.Stream(device)
    with torch.cuda.stream(_own.streams[key]):  # makes its device the current one, too
        yield


def settle(device: Any) -> None:
    """Waits for all work on a CUDA device, so that every stream may use what is in its memory."""
    if is_gpu(device):
        import torch

        torch.cuda.synchronize(device)
