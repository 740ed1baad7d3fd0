"""The same integers from both backends, all instruction sets, threads and batches.

And a self-test that can fail.
"""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bitsback.codecs import decode, encode, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.coder.model import Model
from bitsback.errors import BitsbackError
from bitsback.integer import convolution, selftest, sum_arrays, worst_cases
from bitsback.integer.config import EXACT
from bitsback.integer.convolution import Reference
from bitsback.integer.network import IntegerNetwork
from bitsback.integer.onednn import Fast
from tests import numpy_decoder as yardstick
from tests.conftest import unshuffled
from tests.layers import make_layer
from tests.sums import round_half_even


@pytest.fixture(scope="module")
def tiny_model(eight_pass_model):
    """Here, eight passes a level."""
    return eight_pass_model


BACKENDS = [Reference, Fast]

agrees = functools.cache(selftest.agrees)


def skip_if_unused(backend):
    if not agrees(backend):
        pytest.skip(f"{backend.name} is not exact on this machine, and not used")


def by_the_document(layer, x):
    """(I, H, W) int64 -> (O, h, w), by the decoder that was written from ARITHMETIC.md."""
    model = object.__new__(yardstick.Model)
    model.about = {"experts": [{"steps": [0, 1]}]}
    model.tensors = {
        f"0.l.{name}": getattr(layer, name).numpy() for name in ("weight", "bias", "shift")
    } | {"0.l.stride": np.array([layer.stride])}
    return model.conv("l", x, 0)


def by_backend(backend, layer, x, clamp=False, kind=None):
    tensor = (
        torch.from_numpy(x[None])
        .to(kind or (torch.uint8 if layer.inner else torch.float32))
        .contiguous(memory_format=torch.channels_last)
    )
    return backend({"l": layer}).convolve("l", tensor, 0, clamp)[0].cpu().numpy()


# Worst cases


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("inputs", [3, 4, 12, 16, 33, 48, 96])
@pytest.mark.parametrize("size, stride", [(3, 1), (2, 2), (1, 1)])
def test_largest_sums(inputs, size, stride, backend):
    """Weights of +-64 and inputs of 255, so that every partial sum is as large as it can be.

    The first outputs have weights of one sign, the others change sign at one input channel; there
    is no shift, so every bit shows.
    """
    skip_if_unused(backend)
    outputs = 2 * min(inputs, 24) + 2
    weight = np.full((outputs, inputs, size, size), 64, np.int8)
    for i in range(outputs // 2):
        weight[i, :i] = -64
    weight[outputs // 2 :] = -weight[outputs // 2 :]
    layer = make_layer(weight, bias=np.arange(outputs) - 5)
    x = np.full((inputs, 10, 14), 255)
    x[:, 6:] = np.random.default_rng(inputs).choice([0, 1, 127, 128, 254, 255], x[:, 6:].shape)
    expected = by_the_document(layer, x)
    assert np.abs(expected).max() >= 64 * 255 * inputs * size**2 - outputs
    assert np.array_equal(by_backend(backend, layer, x), expected)
    assert np.array_equal(by_backend(backend, layer, x, clamp=True), expected.clip(0, 255))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shift", [-2, 0, 1, 2, 7, 13, 20])
def test_every_remainder(shift, backend):
    """Rounding: ties of both parities and signs, their neighbours, and sums just within +-2^24."""
    skip_if_unused(backend)
    half, rng = 2 ** max(shift - 1, 0), np.random.default_rng(shift + 9)
    steps = 4 * half if shift > 6 else 1
    sums = np.unique(
        np.concatenate(
            [
                np.add.outer(np.arange(-40, 40) * half, np.arange(-2, 3)).ravel(),
                rng.integers(-(2**23), 2**23, 300) // steps * steps,
                [EXACT - 1, 1 - EXACT, 255 << max(shift, 0), (255 << max(shift, 0)) + half],
            ]
        )
    )
    sums = sums[np.abs(sums) < EXACT]
    layer = make_layer(np.zeros((len(sums), 4, 1, 1), np.int8), bias=sums, shift=shift)
    x = np.zeros((4, 2, 2), np.int64)
    expected = [round_half_even(int(s), shift) for s in sums]
    assert by_the_document(layer, x)[:, 0, 0].tolist() == expected
    assert by_backend(backend, layer, x)[:, 0, 0].tolist() == expected
    assert by_backend(backend, layer, x, clamp=True)[:, 0, 0].tolist() == [
        min(max(value, 0), 255) for value in expected
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("inputs, outputs, size", [(12, 48, 3), (5, 7, 3), (48, 9, 1), (64, 36, 3)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.int8])
@pytest.mark.parametrize("largest", [64, 65, 300, 8255, 8256, 30000])
def test_weights_of_any_size_and_inputs_of_both_signs(
    inputs, outputs, size, kind, largest, backend
):
    """Weights of 7 bits, of two parts of 7 bits, and larger: sums as large as export allows."""
    skip_if_unused(backend)
    rng, low, high = (
        np.random.default_rng(inputs + largest),
        *((0, 255) if kind == torch.uint8 else (-128, 127)),
    )
    most = min(inputs * size**2, (EXACT // 2) // (largest * 255))
    weight = np.zeros((outputs, inputs * size**2), np.int64)
    for row in weight:
        row[rng.permutation(len(row))[:most]] = rng.choice(
            [largest, -largest, largest - 1, 1], most
        )
    weight[0], weight[1] = np.abs(weight[0]), -np.abs(weight[1])
    weight = weight.reshape(outputs, inputs, size, size)
    layer = make_layer(
        weight.astype(np.int8 if largest <= 64 else np.int32),
        bias=rng.integers(-(2**22), 2**22, outputs),
        shift=rng.integers(-1, 12, outputs),
    )
    x = rng.choice([low, low + 1, 0, 1, 127, high - 1, high], (inputs, 9, 14))
    x[:, :4] = high
    expected = by_the_document(layer, x)
    assert np.array_equal(by_backend(backend, layer, x, kind=kind), expected)
    assert np.array_equal(by_backend(backend, layer, x, True, kind), expected.clip(0, 255))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_layer_for_shapes_in_turn(backend):
    """Packed weights follow the latest shape: changing shapes or threads changes no output."""
    skip_if_unused(backend)
    rng, threads = np.random.default_rng(8), torch.get_num_threads()
    layer = make_layer(rng.integers(-64, 65, (96, 48, 3, 3)).astype(np.int8), shift=9)
    made = backend({"l": layer})
    try:
        for batch, height, width, count in (
            (1, 10, 14, 1),
            (1, 30, 47, 1),
            (2, 30, 47, 1),
            (1, 10, 14, 2),
            (1, 30, 47, 2),
            (1, 3, 5, 1),
            (1, 10, 14, 1),
            (1, 64, 70, 1),
            (2, 70, 60, 2),
            (1, 64, 70, 2),
        ):
            torch.set_num_threads(count)
            x = rng.integers(0, 256, (batch, 48, height, width))
            got = made.convolve(
                "l",
                torch.from_numpy(x).to(torch.uint8).contiguous(memory_format=torch.channels_last),
                0,
            )
            assert np.array_equal(got[-1].numpy(), by_the_document(layer, x[-1]))
    finally:
        torch.set_num_threads(threads)


def test_yardstick_of_the_self_test():
    """The self-test's own integer_convolution agrees with the decoder written from the document."""
    layers, inputs = worst_cases.worst_case_layers()
    for name, layer in layers.items():
        assert np.array_equal(
            worst_cases.integer_convolution(layer, inputs[name])[0],
            by_the_document(layer, inputs[name][0].astype(np.int64)),
        )


# The self-test: it passes what is exact and catches what is not


def test_self_test_passes_the_reference():
    assert selftest.agrees(Reference)


class Rounded(Reference):
    """Rounds acc * scale + `offset` down: half up where that is 1/2."""

    offset = 0.5

    def convolve(self, name, x, index, clamp=False):
        weight, scale, bias = self.prepared(name)
        layer = self.layers[name]
        acc = (
            F.conv2d(x.to(torch.float32), weight, bias[0], layer.stride, layer.padding) * scale
            + self.offset
        ).floor()
        return acc.clamp_(0, 255).to(torch.uint8) if clamp else acc


class Truncated(Rounded):
    offset = 0.0


class HalfAwayFromZero(Reference):
    def convolve(self, name, x, index, clamp=False):
        weight, scale, bias = self.prepared(name)
        layer = self.layers[name]
        acc = F.conv2d(x.to(torch.float32), weight, bias[0], layer.stride, layer.padding) * scale
        acc = torch.sign(acc) * (acc.abs() + 0.5).floor()
        return acc.clamp_(0, 255).to(torch.uint8) if clamp else acc


class Wrapped(Reference):
    """Takes the low 8 bits instead of clamping."""

    def convolve(self, name, x, index, clamp=False):
        acc = super().convolve(name, x, index)
        return acc.to(torch.int32).to(torch.uint8) if clamp else acc


class LowPrecision(Reference):
    """Computes and accumulates in `kind`."""

    kind = torch.bfloat16

    def convolve(self, name, x, index, clamp=False):
        weight, scale, bias = self.prepared(name)
        layer = self.layers[name]
        acc = F.conv2d(
            x.to(self.kind), weight.to(self.kind), None, layer.stride, layer.padding
        ).float()
        acc = ((acc + bias[0].view(1, -1, 1, 1)) * scale).round_()
        return acc.clamp_(0, 255).to(torch.uint8) if clamp else acc


class ShortOperands(Reference):
    """Operands keep `bits` significant bits, sums are exact, as matrix hardware works.

    8 bits are bfloat16, 11 bits TF32.
    """

    bits = 8

    def shorten(self, x):
        mantissa, exponent = torch.frexp(x.to(torch.float64))
        return torch.ldexp((mantissa * 2**self.bits).round(), exponent - self.bits).float()

    def _prepare(self, layer):
        weight, scale, bias = super()._prepare(layer)
        return self.shorten(weight), scale, bias

    def convolve(self, name, x, index, clamp=False):
        return super().convolve(name, self.shorten(x), index, clamp)


class TensorFloat(ShortOperands):
    bits = 11


class SaturatedSums(Reference):
    """Adds `together` neighbouring products in a saturating 16-bit register, then in full.

    Two is vpmaddubsw of SSE and AVX2.
    """

    together = 4

    def convolve(self, name, x, index, clamp=False):
        layer, n = self.layers[name], self.together
        if not layer.inner:
            return super().convolve(name, x, index, clamp)
        weight, pad, stride = layer.weight.to(torch.float64), layer.padding, layer.stride
        short = -weight.shape[1] % n
        x = F.pad(x.to(torch.float64), (pad, pad, pad, pad, 0, short))
        weight = F.pad(weight, (0, 0, 0, 0, 0, short))
        size, acc = weight.shape[-1], layer.bias_of(index).to(torch.float64).view(1, -1, 1, 1)
        height, width = ((side - size) // stride + 1 for side in x.shape[2:])
        for i in range(size):
            for j in range(size):
                tap = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
                for c in range(0, weight.shape[1], n):
                    acc = acc + torch.einsum(
                        "oc,bchw->bohw", weight[:, c : c + n, i, j], tap[:, c : c + n]
                    ).clamp(-(2**15), 2**15 - 1)
        acc = (acc * torch.exp2(-layer.shift.to(torch.float64)).view(1, -1, 1, 1)).round().float()
        return acc.clamp_(0, 255).to(torch.uint8) if clamp else acc


class SaturatedPairs(SaturatedSums):
    together = 2


class NoBorder(Reference):
    """Repeats the border instead of padding with zeros."""

    def convolve(self, name, x, index, clamp=False):
        layer = self.layers[name]
        pad = layer.padding
        out = super().convolve(
            name, F.pad(x.float(), (pad,) * 4, "replicate") if pad else x, index, clamp
        )
        return out[:, :, pad : out.shape[2] - pad, pad : out.shape[3] - pad]


class Missing(Reference):
    def convolve(self, name, x, index, clamp=False):
        raise NotImplementedError("no such kernel")


@pytest.mark.parametrize(
    "liar",
    [
        Rounded,
        Truncated,
        HalfAwayFromZero,
        Wrapped,
        LowPrecision,
        SaturatedSums,
        NoBorder,
        Missing,
        type("Half", (LowPrecision,), {"kind": torch.float16}),
        ShortOperands,
        TensorFloat,
    ],
)
def test_self_test_catches(liar):
    """By its integers: a backend that only fails is another case, Missing."""
    assert ("wrong" if liar is not Missing else "no such kernel") in selftest.failure(liar)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(tiny_model, photograph, backend, kind):
    """A file coded and decoded in the middle of a training in mixed precision is the same one."""
    skip_if_unused(backend)
    with torch.autocast("cpu", dtype=kind):
        assert selftest.agrees(backend)
        chain = tiny_model._built("cpu", backend(tiny_model.layers), None)
        y = torch.from_numpy(photograph(24, 40).transpose(2, 0, 1)[None].astype(np.int32)) - 128
        inside = chain.network.trunk(1, y)
        known = torch.ones(1, 12, 20, 12, dtype=torch.int8)
        inside = [*inside, chain.network.head(1, 1, inside[1], known)]
    outside = chain.network.trunk(1, y)
    outside = [*outside, chain.network.head(1, 1, outside[1], known)]
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(inside, outside))


def test_another_default_device_changes_nothing(tiny_model, photograph):
    """As notebooks set it; "meta" stands for a GPU, where arrays of the CPU would be missing."""
    pixels = photograph(24, 40)
    right = encode(pixels, model=tiny_model)
    one_pass = sum_arrays.one_pass_agrees()
    torch.set_default_device("meta")
    try:
        sum_arrays.one_pass_agrees.cache_clear()
        assert sum_arrays.one_pass_agrees() == one_pass
        assert selftest.agrees(Fast) == agrees(Fast)
        model = Model.open(tiny_model.path)
        assert encode(pixels, model=model) == right
        assert np.array_equal(decode(right, model=model), pixels)
    finally:
        torch.set_default_device(None)


def test_weights_are_made_float_only_where_floats_are_convolved(tiny_model):
    """They take four times the memory of a model; a worker process has one of its own."""
    if not selftest.agrees(Fast):
        pytest.skip("oneDNN's int8 is not used on this machine")
    expert = tiny_model.experts[0]
    backend = Fast(expert.layers)
    network = IntegerNetwork(backend, expert.config, tiny_model.steps)
    y = torch.zeros(1, 3, 16, 24, dtype=torch.int32)
    _, state = network.trunk(0, y)
    network.head(0, 1, state, torch.zeros(1, 8, 12, 12, dtype=torch.int8))
    assert set(backend._prepared) == {"first"}  # its inputs are floats
    assert all(
        backend._int8[name].weight is layer.weight
        for name, layer in expert.layers.items()
        if layer.inner
    )


def test_pairs_in_16_bits_are_exact():
    """Weights end at 64 because two products of 255 * 64 fit 16 bits.

    Instruction sets that saturate pairs are then exact; with 65 they are not.
    """
    assert selftest.agrees(SaturatedPairs)
    x = np.full((4, 3, 3), 255)
    for weight, same in ((64, True), (-64, True), (65, False), (-65, False)):
        layer = make_layer(np.full((4, 4, 3, 3), weight, np.int8))
        assert (
            np.array_equal(by_backend(SaturatedPairs, layer, x), by_the_document(layer, x)) == same
        )


def test_choose_falls_back(tiny_model, monkeypatch):
    assert selftest.choose(tiny_model.layers).name == (
        Fast.name if selftest.agrees(Fast) else Reference.name
    )
    for liar in (Rounded, SaturatedSums, Missing):
        monkeypatch.setattr(selftest, "Fast", liar)
        backend = selftest.choose(tiny_model.layers)
        assert type(backend) is Reference and backend.layers is tiny_model.layers
    monkeypatch.setattr(selftest, "Reference", LowPrecision)
    with pytest.raises(BitsbackError, match="not exact"):
        selftest.choose(tiny_model.layers)


@pytest.mark.parametrize("device", ["cpux", "cuda:99", ""])
def test_a_device_that_is_not_there(tiny_model, device):
    """One line, an error of ours, which names it, whichever way torch says no."""
    with pytest.raises(BitsbackError, match=f"^{device}: no such device here") as caught:
        tiny_model.chain(device)
    assert "\n" not in str(caught.value)


# Threads, batches, layouts


def network_outputs(model, backend, y, known):
    """All outputs for y and known innovations (B, 3, H, W), of every step and pass."""
    network, outputs = IntegerNetwork(backend, model.config, model.steps), []
    latents, innovations = (
        torch.from_numpy(array).to(network.device) for array in (y.copy(), unshuffled(known))
    )
    for k in range(len(model.levels)):
        out, state = network.trunk(k, latents)
        heads = [network.head(k, pass_number, state, innovations) for pass_number in (1, 2, 3)]
        outputs += [tensor.cpu().numpy() for tensor in (out, state, *heads)]
    return outputs


def make_latents(batch, height, width):
    rng = np.random.default_rng(batch * height + width)
    return rng.integers(-200, 200, (batch, 3, height, width)).astype(np.int32), rng.integers(
        -96, 97, (batch, 3, height, width)
    ).astype(np.int8)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_threads(backend, tiny_model):
    """One and two, on an area large enough to be shared between them."""
    skip_if_unused(backend)
    arrays, threads, outputs = make_latents(2, 64, 96), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            outputs.append(network_outputs(tiny_model, backend(tiny_model.layers), *arrays))
    finally:
        torch.set_num_threads(threads)
    assert all(map(np.array_equal, *outputs))


@pytest.mark.parametrize("batch, height, width", [(1, 45, 37), (3, 16, 24), (2, 8, 2)])
def test_strips(batch, height, width, tiny_model):
    """Outputs of a network in strips of four rows, the last one of fewer, in whole images, alike.

    Three threads finish sums by torch's operations, one by compiled loops.
    """
    skip_if_unused(Fast)
    y, known = make_latents(batch, height, width)
    expected = network_outputs(tiny_model, Reference(tiny_model.layers), y, known)
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for strip in (1, 2**12, 2**15):
                backend = Fast(tiny_model.layers, strip, 4)
                got = network_outputs(tiny_model, backend, y, known)
                assert all(map(np.array_equal, expected, got))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(16, 24), (13, 22), (8, 1)], ids=str)
def test_batches(size, backend, tiny_model):
    """Three together, each alone, in another order, and as views into larger arrays."""
    skip_if_unused(backend)
    backend = backend(tiny_model.layers)
    y, known = make_latents(3, *size)
    together = network_outputs(tiny_model, backend, y, known)
    for i in range(3):
        alone = network_outputs(tiny_model, backend, y[i : i + 1], known[i : i + 1])
        assert all(np.array_equal(a[i : i + 1], b) for a, b in zip(together, alone))
    turned = network_outputs(tiny_model, backend, y[::-1], known[::-1])
    assert all(np.array_equal(a[::-1], b) for a, b in zip(together, turned))
    strided = [np.repeat(np.repeat(a, 2, 2), 3, 3)[:, :, ::2, ::3] for a in (y, known)]
    assert all(map(np.array_equal, together, network_outputs(tiny_model, backend, *strided)))


def test_large_batch_without_onednn(tiny_model):
    """Exact, or not used, in builds of torch without oneDNN.

    They choose another algorithm by the size of the batch.
    """
    y, known = make_latents(16, 16, 16)
    expected = network_outputs(tiny_model, Reference(tiny_model.layers), y[:1], known[:1])
    enabled = torch.backends.mkldnn.set_flags(False)
    try:
        got = network_outputs(tiny_model, Reference(tiny_model.layers), y, known)
    finally:
        torch.backends.mkldnn.set_flags(*enabled)
    assert all(np.array_equal(a, b[:1]) for a, b in zip(expected, got))


@pytest.mark.parametrize("backend", BACKENDS)
def test_chain_of_a_batch(backend, tiny_model):
    """Groups side by side in a batch come back, and from the other backend."""
    skip_if_unused(backend)
    from bitsback.ans.lanes import Lanes
    from bitsback.coder.context import Context
    from bitsback.coder.top import Top

    rng = np.random.default_rng(8)
    x, below, right = (
        rng.integers(-128, 128, (3, 3, *shape)).astype(np.int32)
        for shape in ((8, 16), (32, 20), (8, 4))
    )
    top, credit = (
        Top.fitted(list((x + 128).astype(np.uint8).transpose(0, 2, 3, 1)), tiny_model.levels),
        rng.bytes(4000),
    )
    lanes = Lanes(credit)
    lanes.widen(3)
    tiny_model.chain(backend=backend(tiny_model.layers)).push(lanes, x, top, Context(below, right))
    got = tiny_model.chain(backend=Reference(tiny_model.layers)).pop(
        lanes, x.shape, top, Context(below, right)
    )
    lanes.narrow(0)
    assert np.array_equal(got, x) and lanes.credit(4000) == credit


# Instruction sets

SETTINGS = ["", "OMP_NUM_THREADS=2"]
SETTINGS += [f"ATEN_CPU_CAPABILITY={name}" for name in ("default", "avx2")]
SETTINGS += [
    f"ONEDNN_MAX_CPU_ISA={name}"
    for name in ("AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
]
LOWEST = "ONEDNN_MAX_CPU_ISA=SSE41"

# Prints for each backend: does the self-test pass, SHA-256 of the file.
ENCODE = """
import hashlib, sys
import numpy as np
from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.integer import convolution, onednn, selftest
from bitsback.coder.model import Model
pixels, model = np.load(sys.argv[2]), Model(sys.argv[1])
for backend in (convolution.Reference, onednn.Fast):
    passed, digest = selftest.agrees(backend), ""
    if passed:
        prior_codec.SMALLEST = 0
        model.chain = lambda device: Model.chain(model, device, backend(model.layers))
        entry = container.Entry(pixels.shape[1], pixels.shape[0])
        header = container.Header((entry,), container.pixel_digest([pixels]))
        data = container.write(*prior_codec.encode_stack([pixels], header, model))
        digest = hashlib.sha256(data).hexdigest()
    print(backend.name.replace(" ", "_"), passed, digest)
"""


@pytest.fixture(scope="module")
def small_image(tiny_model, tmp_path_factory):
    """(path of the pixels, SHA-256 of the file that this process makes of them)."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 24, 3), np.uint8)
    pixels[8:] = np.clip(128 + np.cumsum(rng.normal(0, 9, (32, 24, 3)), 0), 0, 255)
    path = tmp_path_factory.mktemp("exact") / "pixels.npy"
    np.save(path, pixels)
    header = container.Header((container.Entry(24, 40),), container.pixel_digest([pixels]))
    with patch.object(prior_codec, "SMALLEST", 0):
        return path, hashlib.sha256(
            container.write(*prior_codec.encode_stack([pixels], header, tiny_model))
        ).hexdigest()


@pytest.mark.parametrize(
    "setting", [LOWEST, *(pytest.param(setting, marks=pytest.mark.slow) for setting in SETTINGS)]
)
def test_instruction_sets(setting, tiny_model, small_image):
    """A file has the same bytes under every setting, each in its own process, from both backends.

    Where the processor lacks an instruction set, oneDNN and ATen use the next lower one, so that
    some of these are the same computation there.  The highest of each is the setting "".
    """
    path, expected = small_image
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
    }
    environment["PYTHONPATH"] = str(Path(convolution.__file__).parents[2])
    if setting:
        name, value = setting.split("=")
        environment[name] = value
    done = subprocess.run(
        [sys.executable, "-c", ENCODE, str(tiny_model.path), str(path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert printed["float32_reference"] == ["True", expected]
    assert printed["oneDNN_int8"] == (["True", expected] if selftest.agrees(Fast) else ["False"])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda(tiny_model):
    arrays = make_latents(3, 32, 40)
    assert selftest.agrees(lambda layers: Reference(layers, "cuda"), "cuda")
    on_cpu = network_outputs(tiny_model, Reference(tiny_model.layers), *arrays)
    assert all(
        map(
            np.array_equal,
            on_cpu,
            network_outputs(tiny_model, selftest.choose(tiny_model.layers, "cuda"), *arrays),
        )
    )
    for layer, x in zip(*(part.values() for part in worst_cases.worst_case_layers())):
        tensor = torch.from_numpy(x).to("cuda")
        got = Reference({"l": layer}, "cuda").convolve("l", tensor, 0).cpu().numpy()
        assert np.array_equal(got, worst_cases.integer_convolution(layer, x))
