"""Convolutions of integers that give the same integers everywhere, and the proof at start-up.

Reference: float32 convolutions of integer values.  Every partial sum stays below 2^24 (the
exporter proves it from the weights), so the order of summation does not matter.
Fast: oneDNN's int8 convolution.  8-bit activations times weights within +-64 keep sums of two
products below 2^15, so that even instruction sets that add pairs in a saturating 16-bit register
(SSE4.1, AVX2, AVX-512 without VNNI) are exact.

Both end in the same requantisation: round_half_even((acc + bias) * 2^-shift), a power of two
per output channel, exact in float32 because acc + bias is below 2^24.
"""
import functools
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .errors import BitsbackError

TOP = 255                       # largest activation, steps
WEIGHT = 64                     # largest integer weight between two 8-bit activations
SPLIT = 7                       # weights of more bits are 2^7 high + low
WIDE = 16                       # wide sums are counted in 1/16 of an activation's step


@contextmanager
def plain_algorithms(device):
    """Direct or im2col convolution in full float32: no Winograd, no reduced precision.

    NNPACK (CPU builds without oneDNN) and cuDNN choose Winograd or TF32 by the size of a batch.
    """
    if device.type == "cuda":
        saved = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            with torch.backends.cudnn.flags(enabled=False):
                yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = saved
    elif torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available():
        yield
    else:
        with torch.backends.nnpack.flags(enabled=False):
            yield


@dataclass(frozen=True)
class Layer:
    """Integers of one convolution.  weight (O, I, k, k); bias (levels or 1, O); shift (O,)."""

    weight: torch.Tensor            # int8 between two 8-bit activations, else int32
    bias: torch.Tensor              # int32, in units of the accumulator
    shift: torch.Tensor             # int8
    stride: int = 1

    @property
    def inner(self):
        return self.weight.dtype == torch.int8

    @property
    def padding(self):
        return self.weight.shape[-1] // 2 if self.stride == 1 else 0

    def bias_of(self, index):
        return self.bias[index if len(self.bias) > 1 else 0]


class Reference:
    """Any device torch has; channels last."""

    name = "float32 reference"

    def __init__(self, layers, device="cpu"):
        self.device = torch.device(device)
        self.layers = layers
        self._prepared = {name: self._prepare(layer) for name, layer in layers.items()}

    def _prepare(self, layer):
        weight = layer.weight.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
        scale = torch.exp2(-layer.shift.to(self.device, torch.float32)).view(1, -1, 1, 1)
        return weight, scale, layer.bias.to(self.device, torch.float32)

    def like(self, layers):
        """This backend for other layers: what the self-test found of it holds for them."""
        return Reference(layers, self.device)

    def convolve(self, name, x, index, clamp=False):
        """x: (B, I, H, W) integers, uint8, int8 or float32 -> float32 integers, or uint8 0..255 if clamp."""
        weight, scale, bias = self._prepared[name]
        layer = self.layers[name]
        bias = bias[index if len(bias) > 1 else 0]
        with plain_algorithms(self.device):
            acc = F.conv2d(x.to(torch.float32), weight, bias, layer.stride, layer.padding)
        acc = acc.mul_(scale).round_()
        return acc.clamp_(0, TOP).to(torch.uint8) if clamp else acc

    def narrow(self, wide, divisor=WIDE):
        """Wide sums, float32 integers -> clamp(round_half_even(wide / divisor), 0, 255) uint8.  divisor: a power of two."""
        return in_four_passes(wide, divisor)


class Fast(Reference):
    """Layers with 8-bit inputs by oneDNN's int8 kernels; the others as in the reference.  CPU only.

    Weights of more than 7 bits are two of 7, w = 128 high + low, convolved side by side.  Signed inputs are counted from -128.
    """

    name = "oneDNN int8"

    def __init__(self, layers):
        super().__init__(layers)
        self._parts = {name: self._split(layer) for name, layer in layers.items()}
        self._packed = {}                   # of each layer the latest: (what it was packed for, weights)
        self._narrow = in_one_pass if one_pass_agrees() else in_four_passes

    @staticmethod
    def _split(layer):
        """(weight int8, scale, zero, bias rows, what signed inputs add to them), or None where float32 could not hold a sum."""
        weight, bias, scale = layer.weight.long(), layer.bias.long(), torch.exp2(-layer.shift.to(torch.float32))
        if not layer.inner:
            high = (weight + WEIGHT) >> SPLIT
            weight, bias, scale = torch.cat([weight - (high << SPLIT), high]), F.pad(bias, (0, len(weight))), torch.cat([scale, scale * 2**SPLIT])
        reach, largest = weight.flatten(1).abs().sum(1), bias.abs().amax(0)
        if weight.abs().max() > WEIGHT or (reach * TOP + largest).max() >= 2**24:
            return None
        signed = (reach * (TOP + 128) + largest).max() < 2**24
        offset = -128 * weight.flatten(1).sum(1) * scale if signed else None
        return weight.to(torch.int8), scale, torch.zeros(len(scale), dtype=torch.int64), bias.to(torch.float32) * scale, offset

    def _pack(self, name, x, padding):
        """Weights in the order that oneDNN wants for this shape.  In another it puts them right in every call, which can take ten times as long as the convolution."""
        key, (kept, packed) = (x.shape, torch.get_num_threads()), self._packed.get(name, (None, None))
        if kept != key:
            weight, scale = self._parts[name][:2]
            packed = torch.ops.onednn.qconv_prepack(weight, scale, 1.0, 0, [self.layers[name].stride] * 2, [padding] * 2, [1, 1], 1, list(x.shape))
            self._packed[name] = key, packed
        return packed

    def like(self, layers):
        return Fast(layers)

    def convolve(self, name, x, index, clamp=False):
        layer, parts, padding = self.layers[name], self._parts[name], self.layers[name].padding
        if parts is None or x.dtype == torch.float32 or x.dtype == torch.int8 and parts[-1] is None:
            return super().convolve(name, x, index, clamp)
        _, scale, zero, bias, offset = parts
        bias = bias[index if len(bias) > 1 else 0]
        if x.dtype == torch.int8:
            x, bias, padding = F.pad(x.view(torch.uint8).bitwise_xor(128), [padding] * 4, value=128), bias + offset, 0
        at_once = clamp and layer.inner
        out = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, 0, self._pack(name, x, padding), scale, zero, bias, [layer.stride] * 2, [padding] * 2, [1, 1], 1,
            1.0, 0, None if at_once else torch.float32, "relu" if at_once else "none", [], "")
        if at_once:
            return out
        out = (out if layer.inner else torch.add(*out.tensor_split(2, 1))).round_()
        return out.clamp_(0, TOP).to(torch.uint8) if clamp else out

    def narrow(self, wide, divisor=WIDE):
        return self._narrow(wide, divisor)


def in_four_passes(wide, divisor):
    """clamp(round_half_even(wide / divisor), 0, 255) uint8 of float32 integers."""
    return (wide * (1 / divisor)).round_().clamp_(0, TOP).to(torch.uint8)


def in_one_pass(wide, divisor):
    """The same by torch's quantiser, whose numbers are taken for uint8 where they lie: six times as fast."""
    quantised = torch.quantize_per_tensor(wide, float(divisor), 0, torch.quint8)
    return torch.empty(0, dtype=torch.uint8).set_(quantised.untyped_storage(), quantised.storage_offset(), quantised.size(), quantised.stride())


@functools.cache
def one_pass_agrees():
    """True if in_one_pass gives what in_four_passes does: at every sixteenth around 0..255, between halves, and far outside."""
    near = torch.arange(-16 * 300, 16 * 300, dtype=torch.float32)
    wide = torch.cat([near, near * 3495, torch.tensor([2.0**24, -2.0**24, 2.0**24 - 1])]).view(1, 1, -1, 3).expand(1, 5, -1, -1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                 # torch means to drop its quantiser one day: then four passes do
            return all(torch.equal(in_one_pass(some, divisor), in_four_passes(some, divisor))
                       for divisor in (1, WIDE) for some in (wide.contiguous(), wide.contiguous(memory_format=torch.channels_last)))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def _worst_case_layers():
    """Layers and inputs that reach the limits the exporter allows, with sums that need every bit."""
    generator = np.random.default_rng(5)
    layers, inputs = {}, {}
    for width, size, stride in ((64, 3, 1), (48, 3, 1), (64, 1, 1), (48, 2, 2), (128, 3, 1), (16, 3, 1)):
        weight = generator.choice([-WEIGHT, -WEIGHT, WEIGHT, WEIGHT, 63, -63, 1, 0], (width, width, size, size))
        weight[:2], weight[2:4] = WEIGHT, -WEIGHT
        bias, shift = generator.integers(-2**18, 2**18, (1, width)), generator.integers(0, 13, width)
        name = f"{width}_{size}"
        layers[name] = Layer(torch.from_numpy(weight.astype(np.int8)), torch.from_numpy(bias.astype(np.int32)),
                             torch.from_numpy(shift.astype(np.int8)), stride)
        x = generator.choice([0, 1, 127, 128, 254, 255, 255, 255], (16 if width == 16 else 1, width, 16, 24))
        x[:, :, :8] = TOP
        inputs[name] = x.astype(np.uint8)
    for name, weights, values, shift in (("last", (56, -56, 55), (TOP, TOP, 254), 7), ("first", (149, -148, 147, -149), (1023, 1021, -767, -1023), 9),
                                         ("fine", (4095, -4093, 3001), (1023, -1021, 767), 10)):
        wide = generator.choice(weights, (36, 64 if name == "last" else 12, 3, 3))
        if name == "fine":                          # operands of 12 bits: two of them an output, the rest 0
            wide = np.where(generator.random(wide.shape) < 2 / 108, wide, 0)
        layers[name] = Layer(torch.from_numpy(wide.astype(np.int32)), torch.full((1, 36), 2**22 - 1, dtype=torch.int32),
                             torch.full((36,), shift, dtype=torch.int8))
        inputs[name] = generator.choice(values, (16, wide.shape[1], 16, 24)).astype(np.float32)    # 16: where batches change algorithms
    wide = layers["last"].weight
    wide[0], inputs["last"][0] = 56, TOP            # 576 * 56 * 255 = 0.98 * 2^23
    layers["bytes"], inputs["bytes"] = layers["last"], inputs["last"].astype(np.uint8)
    layers["signed"] = Layer(torch.from_numpy(generator.choice([-WEIGHT, WEIGHT, 63, 0], (48, 12, 3, 3)).astype(np.int8)),
                             torch.from_numpy(generator.integers(-2**22, 2**22, (1, 48)).astype(np.int32)), torch.full((48,), 9, dtype=torch.int8))
    inputs["signed"] = generator.choice([-128, -127, -1, 0, 1, 126, 127], (3, 12, 16, 24)).astype(np.int8)
    layers["split"] = Layer(torch.from_numpy(generator.choice([-8256, 8255, 8127, -8193, 64, -65, 0], (9, 4, 1, 1)).astype(np.int32)),
                            torch.from_numpy(generator.integers(-2**22, 2**22, (1, 9)).astype(np.int32)), torch.full((9,), 3, dtype=torch.int8))
    inputs["split"] = generator.choice([0, 1, 127, 254, 255], (2, 4, 16, 24)).astype(np.uint8)
    return layers, inputs


def integer_convolution(layer, x, index=0, clamp=False):
    """The same numbers in int64, tap by tap: slow, the yardstick of the self-test.  x: (B, I, H, W) int."""
    weight = layer.weight.numpy().astype(np.int64)
    pad, size, stride = layer.padding, layer.weight.shape[-1], layer.stride
    x = np.pad(np.asarray(x, np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = (x.shape[2] - size) // stride + 1, (x.shape[3] - size) // stride + 1
    acc = np.zeros((len(x), len(weight), height, width), np.int64)
    for i in range(size):
        for j in range(size):
            tap = x[:, :, i:i + stride * height:stride, j:j + stride * width:stride]
            acc += np.einsum("oc,bchw->bohw", weight[:, :, i, j], tap)
    acc += layer.bias_of(index).numpy().astype(np.int64)[:, None, None]
    shift = layer.shift.numpy().astype(np.int64)[:, None, None]
    right = np.maximum(shift, 0)
    floor, rest, half = acc >> right, acc & ((1 << right) - 1), (1 << right) >> 1
    up = (rest > half) | ((rest == half) & (right > 0) & (floor & 1 == 1))
    acc = (floor + up) << np.maximum(-shift, 0)
    return np.clip(acc, 0, TOP) if clamp else acc


def agrees(make, device="cpu"):
    """True if the backend that `make(layers)` builds gives the yardstick's integers on worst cases."""
    layers, inputs = _worst_case_layers()
    try:
        backend = make(layers)
        for name, layer in layers.items():
            x = torch.from_numpy(inputs[name]).to(device).contiguous(memory_format=torch.channels_last)
            for clamp in (True, False) if layer.inner else (False,):
                got = backend.convolve(name, x, 0, clamp).cpu().numpy()
                if not np.array_equal(got, integer_convolution(layer, inputs[name], 0, clamp)):
                    return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True


def choose(layers, device="cpu"):
    """The fastest backend that passes the self-test here.  Errors: BitsbackError if none does."""
    device = torch.device(device)
    if device.type == "cpu" and agrees(Fast):
        return Fast(layers)
    if agrees(lambda these: Reference(these, device), device):
        return Reference(layers, device)
    raise BitsbackError(f"{device}: convolutions of integers are not exact here (a reduced-precision mode is on?); nothing was coded")
