"""torch's defaults for floating-point work, whatever the caller's are."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from bitsback.shared_block import SharedBlock


@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


_shared = SharedBlock(_float32)  # a setting of the process


@contextmanager
def plain_torch() -> Iterator[None]:
    """A block, or a decorated function, in which tensors are float32 and on the CPU unless told
    otherwise, and nothing is cast: the same numbers under torch.autocast and other defaults."""
    others = torch.get_default_device().type != "cpu"  # a device's block is seen by every call
    with (
        _shared,
        torch.device("cpu") if others else nullcontext(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield
