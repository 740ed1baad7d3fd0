"""Worst cases of the self-test: layers, inputs, and what must come out, computed in int64."""

import numpy as np
import torch

from bitsback.integer.config import INPUT_REACH
from bitsback.integer.convolution import TOP, WEIGHT, Layer


def worst_case_layers() -> tuple[dict[str, Layer], dict[str, np.ndarray]]:
    """Layers and inputs at the exporter's limits, with sums that need every bit."""
    generator = np.random.default_rng(5)
    layers: dict[str, Layer] = {}
    inputs: dict[str, np.ndarray] = {}
    for width, size, stride in (
        (64, 3, 1),
        (48, 3, 1),
        (64, 1, 1),
        (48, 2, 2),
        (128, 3, 1),
        (16, 3, 1),
    ):
        weight = generator.choice(
            [-WEIGHT, -WEIGHT, WEIGHT, WEIGHT, 63, -63, 1, 0], (width, width, size, size)
        )
        weight[:2], weight[2:4] = WEIGHT, -WEIGHT
        bias = generator.integers(-(2**18), 2**18, (1, width))
        shifts = generator.integers(0, 13, width)
        name = f"{width}_{size}"
        layers[name] = Layer(
            torch.from_numpy(weight.astype(np.int8)),
            torch.from_numpy(bias.astype(np.int32)),
            torch.from_numpy(shifts.astype(np.int8)),
            stride,
        )
        x = generator.choice(
            [0, 1, 127, 128, 254, 255, 255, 255], (16 if width == 16 else 1, width, 16, 24)
        )
        x[:, :, :8] = TOP
        inputs[name] = x.astype(np.uint8)
    for name, weights, values, shift in (
        ("last", (56, -56, 55), (TOP, TOP, 254), 7),
        ("first", (149, -148, 147, -149), (1023, 1021, -767, -1023), 9),
        ("fine", (4095, -4093, 3001), (1023, -1021, 767), 10),
    ):
        wide = generator.choice(weights, (36, 64 if name == "last" else 12, 3, 3))
        if name == "fine":  # operands of 12 bits: two of them an output, the rest 0
            wide = np.where(generator.random(wide.shape) < 2 / 108, wide, 0)
        layers[name] = Layer(
            torch.from_numpy(wide.astype(np.int32)),
            torch.full((1, 36), 2**22 - 1, dtype=torch.int32, device="cpu"),
            torch.full((36,), shift, dtype=torch.int8, device="cpu"),
        )
        # 16 images: libraries choose other algorithms for batches
        inputs[name] = generator.choice(values, (16, wide.shape[1], 16, 24)).astype(np.float32)
    layers["last"].weight[0], inputs["last"][0] = 56, TOP  # 576 * 56 * 255 = 0.98 * 2^23
    layers["bytes"], inputs["bytes"] = layers["last"], inputs["last"].astype(np.uint8)
    layers["signed"] = Layer(
        torch.from_numpy(
            generator.choice([-WEIGHT, WEIGHT, 63, 0], (48, 12, 3, 3)).astype(np.int8)
        ),
        torch.from_numpy(generator.integers(-(2**22), 2**22, (1, 48)).astype(np.int32)),
        torch.full((48,), 9, dtype=torch.int8, device="cpu"),
    )
    inputs["signed"] = generator.choice([-128, -127, -1, 0, 1, 126, 127], (3, 12, 16, 24)).astype(
        np.int8
    )
    layers["split"] = Layer(
        torch.from_numpy(
            generator.choice([-8256, 8255, 8127, -8193, 64, -65, 0], (9, 4, 1, 1)).astype(np.int32)
        ),
        torch.from_numpy(generator.integers(-(2**22), 2**22, (1, 9)).astype(np.int32)),
        torch.full((9,), 3, dtype=torch.int8, device="cpu"),
    )
    inputs["split"] = generator.choice([0, 1, 127, 254, 255], (2, 4, 16, 24)).astype(np.uint8)
    return layers, inputs


def integer_convolution(
    layer: Layer, x: np.ndarray, index: int = 0, clamp: bool = False
) -> np.ndarray:
    """What convolve must return, computed tap by tap in int64.  x: (B, I, H, W) int.

    The products of a tap are summed in float64, exact below 2^53, in a quarter of the time that
    numpy's integers take.
    """
    weight = layer.weight.numpy().astype(np.int64)
    pad, size, stride = layer.padding, layer.weight.shape[-1], layer.stride
    x = np.pad(np.asarray(x, np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    if weight.shape[1] * int(np.abs(weight).max()) * int(np.abs(x).max()) >= 2**53:
        raise ValueError("sums beyond 2^53")
    height, width = (x.shape[2] - size) // stride + 1, (x.shape[3] - size) // stride + 1
    acc = np.zeros((len(x), len(weight), height, width), np.int64)
    for i in range(size):
        for j in range(size):
            tap = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            tap = tap.reshape(*tap.shape[:2], -1).astype(np.float64)
            sums = np.matmul(weight[:, :, i, j].astype(np.float64), tap)
            acc += sums.reshape(acc.shape).astype(np.int64)
    acc += layer.bias_of(index).numpy().astype(np.int64)[:, None, None]
    shift = layer.shift.numpy().astype(np.int64)[:, None, None]
    right = np.maximum(shift, 0)
    floor, rest, half = acc >> right, acc & ((1 << right) - 1), (1 << right) >> 1
    up = (rest > half) | ((rest == half) & (right > 0) & (floor & 1 == 1))
    acc = (floor + up) << np.maximum(-shift, 0)
    return np.clip(acc, 0, TOP) if clamp else acc


def half_even(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers / 2^bits, rounded to the nearest integer, ties to the even one; bits >= 1."""
    floor, rest, half = values >> bits, values & ((1 << bits) - 1), 1 << (bits - 1)
    return floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))


def shuffled(out: np.ndarray) -> np.ndarray:
    """pixel_shuffle(2)."""
    batch, channels, height, width = out.shape
    out = out.reshape(batch, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
    return out.reshape(batch, channels // 4, 2 * height, 2 * width)


def network_input(y: np.ndarray, scale: int) -> np.ndarray:
    """(B, 3 or 1, H, W) int32 -> (B, 12, H/2, W/2) int64: the input of the first layer."""
    batch, _, height, width = y.shape
    x = ((y.astype(np.int64) * scale + 128) >> 8).clip(-INPUT_REACH, INPUT_REACH)
    x = np.pad(x, ((0, 0), (0, 0), (0, -height % 8), (0, -width % 8)))
    height, width = x.shape[2] // 2, x.shape[3] // 2
    x = np.broadcast_to(x, (batch, 3, 2 * height, 2 * width))
    x = x.reshape(batch, 3, height, 2, width, 2).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, 12, height, width)
