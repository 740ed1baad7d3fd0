"""Inputs of convolutions as the Triton kernels read them: channels last, in int8 or uint8."""

import torch
import torch.nn.functional as F

from bitsback.ans.launch import launch
from bitsback.integer.config import INPUT_REACH
from bitsback.integer.triton_kernels import digits_kernel, input_kernel

ALIGNED = 16  # bytes of a load: the channels of a pixel in memory are a multiple
COUNT = 2**31  # offsets are int32
DIGITS = 32  # channels in memory of the first layer's input: 24 digits, zeros
ELEMENTS = 1024  # of a program


def _widened(x: torch.Tensor, channels: int) -> torch.Tensor:
    """(B, H, W, C) -> (B, H, W, channels), for which the weights of the further ones are zero.

    A view where x lies in an array with so many channels.
    """
    (batch, height, width, _), stride = x.shape, x.stride()
    last = (x.storage_offset() + batch * height * width * channels) * x.element_size()
    if stride == (height * width * channels, width * channels, channels, 1):
        if last <= x.untyped_storage().nbytes():
            return x.as_strided((batch, height, width, channels), stride)
    return F.pad(x, (0, channels - x.shape[3]))


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """(B, I, H, W) -> (B, H, W, C) int8 or uint8, contiguous, C a multiple of 16."""
    x = x.permute(0, 2, 3, 1)
    channels = x.shape[3]
    if x.dtype == torch.float32:
        x = x.contiguous()
        pitch = -(-2 * channels // ALIGNED) * ALIGNED
        out = torch.empty(*x.shape[:3], pitch, dtype=torch.int8, device=x.device)
        if out.numel():
            grid, sizes = (-(-out.numel() // ELEMENTS),), (out.numel(), pitch, channels)
            launch(digits_kernel, grid, x, out, *sizes, BLOCK=ELEMENTS)
        return out
    if channels % ALIGNED:
        x = _widened(x, channels + -channels % ALIGNED)
    x = x.contiguous()
    return x if x.data_ptr() % ALIGNED == 0 else x.clone()


def input_digits(y: torch.Tensor, scale: int) -> torch.Tensor | None:
    """The network's input in digits: (B, 3 or 1, H, W) int32 -> (B, H/2, W/2, DIGITS) int8.

    None where it would have too many values.
    """
    batch, colours, height, width = y.shape
    shape = batch, -(-height // 8) * 4, -(-width // 8) * 4, DIGITS
    out = y.new_empty(shape, dtype=torch.int8)
    count = out.numel()
    if count >= COUNT:
        return None
    if count:
        launch(
            input_kernel,
            (-(-count // ELEMENTS),),
            y.contiguous(),
            out,
            count,
            height,
            width,
            shape[1],
            shape[2],
            colours,
            scale,
            REACH=INPUT_REACH,
            DIGITS=DIGITS,
            BLOCK=ELEMENTS,
        )
    return out
