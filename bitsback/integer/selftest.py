"""The self-test of a backend, worst-case layers against convolutions in int64, and the choice.

It runs when a model is opened for a device: a backend that is not exact on this machine is not
used.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from bitsback.errors import BitsbackError
from bitsback.integer.convolution import TOP, Layer, Reference
from bitsback.integer.onednn import Fast
from bitsback.integer.worst_cases import (
    half_even,
    integer_convolution,
    network_input,
    shuffled,
    worst_case_layers,
)
from bitsback.memory import out_of_memory

SUMMED = ("48_3", "64_1", "bytes")  # layers whose sums are tested too


def _sums_agree(backend: Reference, name: str, x: torch.Tensor, out: np.ndarray) -> bool:
    """Whether sums, narrowed forms and limits of a layer are right.  out: integers of convolve."""
    limits = ((-4096, 4096), (-139, 69), (-256, 256))
    for shuffle in (False, True):
        expected = shuffled(out) if shuffle else out
        channels = expected.shape[1]
        values = np.arange(expected.size).reshape(expected.shape) * 7919 % 40009 - 20000
        bytes_ = values.astype(np.uint8).astype(np.int64)

        def tensor(array: np.ndarray, kind: torch.dtype) -> torch.Tensor:
            made = torch.from_numpy(array).to(x.device, kind)
            return made.contiguous(memory_format=torch.channels_last)

        wide = expected + values
        got = [*backend.convolve_sum(name, x, 0, tensor(values, torch.float32), shuffle)]
        right = [wide, half_even(wide, 4).clip(0, TOP)]
        got += backend.convolve_sum(name, x, 0, shuffle=shuffle)
        right += [expected, half_even(expected, 4).clip(0, TOP)]
        if not shuffle:
            got.append(backend.convolve_narrow(name, x, 0, tensor(values, torch.float32)))
            right.append(right[1])
            got.append(backend.convolve_narrow(name, x, 0, tensor(bytes_, torch.uint8), 1))
            right.append((expected + bytes_).clip(0, TOP))
        if channels % 3 == 0:
            got.append(backend.convolve_limited(name, x, 0, limits, shuffle))
            low, high = np.repeat(np.array(limits), channels // 3, 0).T[:, :, None, None]
            right.append(expected.clip(low, high))
        if not all(np.array_equal(a.cpu().numpy(), b) for a, b in zip(got, right)):
            return False
    return True


def _input_agrees(backend: Reference, layer: Layer, device: str | torch.device) -> bool:
    """Whether the layer "first" is right on network_input of images of odd sizes."""
    for colours, height, width in ((3, 21, 9), (1, 8, 17)):
        count = 2 * colours * height * width
        y = (np.arange(count, dtype=np.int32) * 7919 % 4093 - 2046).reshape(2, colours, height, -1)
        inputs = backend.network_input(torch.from_numpy(y).to(device), 301)
        got = backend.convolve("first", inputs, 0).cpu().numpy()
        if not np.array_equal(got, integer_convolution(layer, network_input(y, 301))):
            return False
    return True


def failure(
    make: Callable[[Mapping[str, Layer]], Reference], device: str | torch.device = "cpu"
) -> str | None:
    """None if the backend `make(layers)` returns the right integers on worst cases.

    Else the layer whose integers are wrong, or the error; a failed allocation is raised.
    """
    layers, inputs = worst_case_layers()
    name = "start"
    try:
        backend = make(layers)
        for name, layer in layers.items():
            x = (
                torch.from_numpy(inputs[name])
                .to(device)
                .contiguous(memory_format=torch.channels_last)
            )
            right = integer_convolution(layer, inputs[name])
            for clamp in (True, False) if layer.inner else (False,):
                got = backend.convolve(name, x, 0, clamp).cpu().numpy()
                if not np.array_equal(got, right.clip(0, TOP) if clamp else right):
                    return f"{name}: wrong integers"
            if name in SUMMED and not _sums_agree(backend, name, x, right):
                return f"{name}: wrong sums"
            if name == "first" and not _input_agrees(backend, layer, device):
                return "wrong input of the network"
    except Exception as error:  # compilers of kernels raise errors of their own
        if out_of_memory(error):
            raise  # it says nothing about the backend
        return f"{name}: {type(error).__name__}: {error}"
    return None


def agrees(
    make: Callable[[Mapping[str, Layer]], Reference], device: str | torch.device = "cpu"
) -> bool:
    """Whether the backend `make(layers)` returns integer_convolution's integers on worst cases."""
    return failure(make, device) is None


def in_small_strips(layers: Mapping[str, Layer]) -> Fast:
    """Fast with strips of four rows, so that the worst cases are cut too."""
    return Fast(layers, strip=2**12, rows=4)


def gpu_backends() -> list[type[Reference]]:
    """Backends of CUDA devices but the reference, the fastest first, as far as they load."""
    kinds: list[type[Reference]] = []
    try:
        from bitsback.integer.triton_convolution import TritonInt8

        kinds.append(TritonInt8)
    except Exception:  # no Triton here, or another interface
        pass
    from bitsback.integer.int_mm import IntMM

    return [*kinds, IntMM]


def choose(layers: Mapping[str, Layer], device: str | torch.device = "cpu") -> Reference:
    """The fastest backend that passes the self-test on `device`.

    Errors: BitsbackError if none does, or there is no such device.
    """
    try:
        device = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise BitsbackError(
            f"{device}: no such device here ({str(error).splitlines()[0]})"
        ) from None
    if device.type == "cpu" and agrees(in_small_strips):
        return Fast(layers)
    kinds = [*(gpu_backends() if device.type == "cuda" else []), Reference]
    for kind in kinds:
        if agrees(lambda these: kind(these, device), device):
            return kind(layers, device)
    raise BitsbackError(
        f"{device}: convolutions of integers are not exact here (a reduced-precision mode is on?); "
        "nothing was coded"
    )
