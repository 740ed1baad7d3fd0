"""What follows a convolution, by torch operations: rounding, the sum, its narrowed form, limits.

Each function writes into tensors that it is given.  `out` is what Fast.scaled_sums returns, not
rounded yet; it may be overwritten.
"""

import functools

import torch

from bitsback.integer.convolution import WIDE, Limits, clamp_kinds, in_four_passes
from bitsback.shared_block import without_warnings


def round_and_narrow(
    out: torch.Tensor, divisor: int, wide: torch.Tensor, narrow: torch.Tensor
) -> None:
    """wide = round(out), and its narrowed form; float32, float32, uint8."""
    narrow.copy_(narrowed(wide.copy_(out.round_()), divisor))


def add_and_narrow(
    out: torch.Tensor, divisor: int, wide: torch.Tensor, narrow: torch.Tensor
) -> None:
    """wide += round(out), and its narrowed form."""
    narrow.copy_(narrowed(wide.add_(out.round_()), divisor))


def narrow_sum(out: torch.Tensor, divisor: int, wide: torch.Tensor, narrow: torch.Tensor) -> None:
    """The narrowed form of wide + round(out); wide: float32 or uint8, not changed."""
    narrow.copy_(narrowed(out.round_().add_(wide), divisor))


def limit(out: torch.Tensor, limits: Limits, limited: torch.Tensor) -> None:
    """round(out) within the limits of each third of the channels; float32 (B, C, H, W), int32."""
    limited.copy_(clamp_kinds(out.round_(), limits))


def narrowed(wide: torch.Tensor, divisor: int) -> torch.Tensor:
    """clamp(round_half_even(wide / divisor), 0, 255) uint8 of float32 integers on a CPU."""
    return (in_one_pass if one_pass_agrees() else in_four_passes)(wide, divisor)


def in_one_pass(wide: torch.Tensor, divisor: int) -> torch.Tensor:
    """in_four_passes by torch's quantiser, its memory read as uint8: six times as fast."""
    quantised = torch.quantize_per_tensor(wide, float(divisor), 0, torch.quint8)
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(
        quantised.untyped_storage(),
        quantised.storage_offset(),
        quantised.size(),
        quantised.stride(),
    )


@functools.cache
def one_pass_agrees() -> bool:
    """Whether in_one_pass returns what in_four_passes does.

    Tested at every sixteenth around 0..255, between halves, and far outside.
    """
    near = torch.arange(-16 * 300, 16 * 300, dtype=torch.float32, device="cpu")
    far = torch.tensor([2.0**24, -(2.0**24), 2.0**24 - 1], device="cpu")
    wide = torch.cat([near, near * 3495, far]).view(1, 1, -1, 3).expand(1, 5, -1, -1)
    try:
        with without_warnings():  # torch means to drop its quantiser one day
            return all(
                torch.equal(in_one_pass(some, divisor), in_four_passes(some, divisor))
                for divisor in (1, WIDE)
                for some in (wide.contiguous(), wide.contiguous(memory_format=torch.channels_last))
            )
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
