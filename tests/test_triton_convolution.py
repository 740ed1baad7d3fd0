"""Backends of GPUs, bit for bit against int64: Triton's kernels, torch._int_mm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

pytest.importorskip("triton", reason="Triton is not installed")

from bitsback.integer import (  # noqa: E402
    selftest,
    triton_convolution,
    triton_inputs,
    worst_cases,
)
from bitsback.integer.config import EXACT  # noqa: E402
from bitsback.integer.convolution import Layer, Reference  # noqa: E402
from bitsback.integer.digits import digits, int8_layer, two_digits  # noqa: E402
from bitsback.integer.int_mm import IntMM  # noqa: E402
from bitsback.integer.network import IntegerNetwork  # noqa: E402
from bitsback.integer.triton_convolution import TritonInt8  # noqa: E402
from bitsback.integer.triton_layers import Blocks, block_sizes  # noqa: E402
from bitsback.integer.worst_cases import integer_convolution, network_input  # noqa: E402
from tests.commands import call  # noqa: E402
from tests.conftest import unshuffled  # noqa: E402
from tests.layers import make_layer  # noqa: E402

KINDS = [TritonInt8, IntMM]
REACHES = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.float32: (-1023, 1023)}


def tensor(x, kind, device):
    made = torch.from_numpy(np.ascontiguousarray(x)).to(device, kind)
    return made.contiguous(memory_format=torch.channels_last)


def random_layer(inputs, outputs, size, stride, largest, reach):
    """Weights up to `largest`, as many as sums below 2^24 allow; shifts of -1 to 11."""
    rng = np.random.default_rng(inputs + outputs + largest)
    weight = np.zeros((outputs, inputs * size**2), np.int64)
    most = max(1, min(inputs * size**2, (EXACT // 2) // (largest * reach)))
    for row in weight:
        chosen = rng.permutation(len(row))[:most]
        row[chosen] = rng.choice([largest, -largest, largest - 1, 1], most)
    weight[0], weight[-1] = np.abs(weight[0]), -np.abs(weight[-1])
    weight = weight.reshape(outputs, inputs, size, size)
    return make_layer(
        weight.astype(np.int8 if largest <= 64 else np.int32),
        bias=rng.integers(-(2**22), 2**22, outputs),
        shift=rng.integers(-1, 12, outputs),
        stride=stride,
    )


def random_inputs(shape, kind):
    low, high = REACHES[kind]
    rng = np.random.default_rng(sum(shape))
    x = rng.choice([low, low + 1, 0, 1, 127, high - 1, high], shape)
    x[..., : shape[3] // 2] = high
    return x


@pytest.mark.parametrize("backend", KINDS)
@pytest.mark.parametrize("largest", [64, 8256, 30000])
@pytest.mark.parametrize("kind", REACHES)
@pytest.mark.parametrize(
    "inputs, outputs, size, stride, shape",
    [
        (12, 48, 3, 1, (2, 9, 13)),  # two blocks of pixels, the second partial
        (5, 7, 3, 1, (1, 1, 1)),  # nothing but borders
        (33, 36, 2, 2, (3, 5, 7)),  # odd sizes lose their last row and column
        (96, 130, 1, 1, (1, 3, 2)),  # chunks and blocks of channels, both partial
    ],
)
def test_worst_cases(device, inputs, outputs, size, stride, shape, kind, largest, backend):
    reach = REACHES[kind][1]
    largest = min(largest, EXACT // 2 // reach)
    layer = random_layer(inputs, outputs, size, stride, largest, reach)
    x = random_inputs((shape[0], inputs, *shape[1:]), kind)
    made = backend({"l": layer}, device)
    for clamp in (False, True):
        got = made.convolve("l", tensor(x, kind, device), 0, clamp)
        assert got.dtype == (torch.uint8 if clamp else torch.float32)
        assert np.array_equal(got.cpu().numpy(), integer_convolution(layer, x, 0, clamp))


@pytest.mark.parametrize("backend", KINDS)
def test_every_product_at_its_largest(device, backend):
    """Sums of 0.88 * 2^24, of both signs, and no shift, so that every bit shows."""
    weight = np.full((4, 100, 3, 3), 64, np.int8)
    weight[1], weight[2:, 50:] = -64, -64
    layer, x = make_layer(weight, bias=[1, -1, 3, 0]), np.full((1, 100, 5, 4), 255)
    got = (
        backend({"l": layer}, device).convolve("l", tensor(x, torch.uint8, device), 0).cpu().numpy()
    )
    assert np.array_equal(got, integer_convolution(layer, x))
    assert got.max() == 900 * 64 * 255 + 1 and got.min() == -900 * 64 * 255 - 1


@pytest.mark.parametrize("backend", KINDS)
@pytest.mark.parametrize("shift", [-7, -2, 0, 1, 2, 7, 13, 20, 24, 25, 40])
def test_every_remainder(device, shift, backend):
    """Ties of both parities and signs, their neighbours, sums just within +-2^24.

    -7 is a shift that the Triton kernels leave to the reference.
    """
    half = 2 ** min(max(shift - 1, 0), 23)
    sums = np.add.outer(np.arange(-12, 12) * half, np.arange(-2, 3)).ravel()
    sums = np.unique(np.concatenate([sums, [EXACT - 1, 1 - EXACT]]))
    sums = sums[np.abs(sums) < EXACT]
    layer = make_layer(np.zeros((len(sums), 4, 1, 1), np.int8), bias=sums, shift=shift)
    got = backend({"l": layer}, device).convolve(
        "l", tensor(np.zeros((1, 4, 2, 1)), torch.uint8, device), 0
    )
    expected = [round(int(s) / 2**shift) for s in sums]  # exact: below 2^53
    assert got[0, :, 0, 0].tolist() == expected


@pytest.mark.parametrize("backend", KINDS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.int8])
@pytest.mark.parametrize("outputs, size, stride", [(36, 3, 1), (192, 1, 1), (12, 2, 2)])
def test_sums_narrowed_forms_and_limits(device, outputs, size, stride, kind, backend):
    layer = random_layer(20, outputs, size, stride, 64, 255)
    x = random_inputs((2, 20, 7, 5), kind)
    made = backend({"l": layer}, device)
    assert selftest._sums_agree(made, "l", tensor(x, kind, device), integer_convolution(layer, x))


@pytest.mark.parametrize("backend", KINDS)
def test_what_may_be_overwritten(device, backend):
    """convolve_narrow leaves wide alone, whatever its layout; strided inputs are read right."""
    layer = random_layer(16, 16, 3, 1, 64, 255)
    x = random_inputs((2, 16, 8, 9), torch.uint8)
    made = backend({"l": layer}, device)
    wide = torch.arange(2 * 16 * 4 * 5, dtype=torch.float32, device=device).view(2, 16, 4, 5)
    kept = wide.clone()
    part = tensor(x, torch.uint8, device)[:, :, ::2, 1::2]
    part = part[:, :, :, :4]
    got = made.convolve_narrow("l", part, 0, wide[:, :, :, 1:])
    assert torch.equal(wide, kept)
    expected = integer_convolution(layer, part.cpu().numpy()) + kept[:, :, :, 1:].cpu().numpy()
    assert np.array_equal(got.cpu().numpy(), np.round(expected / 16).clip(0, 255))


@pytest.mark.parametrize("behind", [0, 4])
def test_inputs_in_an_array_of_more_channels(device, behind):
    """They are read where they lie, whatever the further channels hold.

    Not where the memory ends `behind` the last pixel's own.
    """
    layer = random_layer(12, 16, 3, 1, 64, 127)
    room = torch.from_numpy(random_inputs((2, 5, 7, 16), torch.int8).astype(np.int8))
    memory = room.flatten()[: room.numel() - behind].clone().to(device)
    x = memory.as_strided((2, 5, 7, 12), room.stride()).permute(0, 3, 1, 2)
    got = TritonInt8({"l": layer}, device).convolve("l", x, 0).cpu().numpy()
    assert np.array_equal(got, integer_convolution(layer, x.cpu().numpy()))


@pytest.mark.parametrize("batch, height, width", [(0, 8, 8), (2, 0, 8), (2, 8, 0)])
def test_empty_arrays(device, batch, height, width):
    layer = random_layer(12, 36, 3, 1, 300, 1023)
    made = TritonInt8({"l": layer, "first": layer}, device)
    shape = batch, 36, height, width
    for kind in REACHES:
        x = torch.empty(batch, 12, height, width, device=device).to(kind)
        assert made.convolve("l", x, 0).shape == shape
        wide, narrow = made.convolve_sum("l", x, 0, shuffle=True)
        assert wide.shape == narrow.shape == (batch, 9, 2 * height, 2 * width)
    y = torch.empty(batch, 3, 2 * height, 2 * width, dtype=torch.int32, device=device)
    assert made.convolve("first", made.network_input(y, 256), 0).shape == shape


@pytest.mark.parametrize("scale", [1, 301, 70000])
@pytest.mark.parametrize("colours, height, width", [(3, 5, 9), (1, 13, 16)])
def test_network_input(device, colours, height, width, scale):
    """Digits of the input, strided latents and gray ones included."""
    rng = np.random.default_rng(scale)
    y = rng.integers(-(2**31) // scale // 2, 2**31 // scale // 2, (2, colours, height, 2 * width))
    y = torch.from_numpy(y.astype(np.int32)).to(device)[:, :, :, ::2]
    digits_ = TritonInt8({}, device).network_input(y, scale).cpu().long()
    got = digits_[:, :12] + 128 * digits_[:, 12:24]
    assert np.array_equal(got.numpy(), network_input(y.cpu().numpy(), scale))
    assert not digits_[:, 24:].any() and digits_[:, :12].min() >= -64
    assert np.array_equal(
        Reference({}, device).network_input(y, scale).cpu().numpy(),
        network_input(y.cpu().numpy(), scale),
    )


def outputs_of(model, backend, y, known):
    device = backend.device
    """Trunk, state and head of the first and the last step."""
    network, outputs = IntegerNetwork(backend, model.config, model.steps), []
    for k in (0, len(model.levels) - 1):
        out, state = network.trunk(k, torch.from_numpy(y.copy()).to(device))
        head = network.head(k, 1, state, torch.from_numpy(unshuffled(known)).to(device))
        outputs += [part.cpu().numpy() for part in (out, state, head)]
    return outputs


@pytest.mark.parametrize("backend", KINDS)
def test_network(device, backend, tiny_model):
    """All integers of a network, for images side by side and of odd size."""
    rng = np.random.default_rng(3)
    y = rng.integers(-200, 200, (2, 3, 13, 22)).astype(np.int32)
    known = rng.integers(-96, 97, (2, 3, 13, 22)).astype(np.int8)
    expected = outputs_of(tiny_model, Reference(tiny_model.layers), y, known)
    got = outputs_of(tiny_model, backend(tiny_model.layers, device), y, known)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(expected, got))


def test_like_keeps_the_blocks(device):
    layer = random_layer(16, 24, 3, 1, 64, 255)
    made = TritonInt8({}, device, lambda *_: Blocks(16, 16, 32, 4)).like({"l": layer})
    x = random_inputs((1, 16, 6, 9), torch.uint8)
    got = made.convolve("l", tensor(x, torch.uint8, device), 0).cpu().numpy()
    assert made._pack("l", torch.uint8, False).blocks.m == 16
    assert np.array_equal(got, integer_convolution(layer, x))
    assert IntMM({}, device).like({"l": layer}).layers["l"] is layer


def test_arrays_beyond_int32_are_left_to_the_reference(device, monkeypatch):
    layer = random_layer(12, 36, 3, 1, 300, 1023)
    made = TritonInt8({"l": layer, "first": layer}, device)
    monkeypatch.setattr(triton_convolution, "COUNT", 100)
    monkeypatch.setattr(triton_convolution, "convolve_kernel", None)
    monkeypatch.setattr(triton_inputs, "input_kernel", None)
    y = torch.arange(192, dtype=torch.int32, device=device).view(1, 3, 8, 8)
    x = made.network_input(y, 256)
    right = integer_convolution(layer, x.cpu().numpy())
    wide, _ = made.convolve_sum("first", x, 0)
    limited = made.convolve_limited("l", x, 0, ((-9, 9),) * 3)
    assert np.array_equal(wide.cpu().numpy(), right)
    assert np.array_equal(limited.cpu().numpy(), right.clip(-9, 9))


@pytest.mark.parametrize("outputs, n", [(9, 16), (16, 16), (36, 64), (96, 128), (384, 128)])
def test_blocks_hold_all_channels(outputs, n):
    assert [block_sizes(inputs, outputs)[1:3] for inputs in (12, 64, 96, 128)] == [
        (n, 32),
        (n, 64),
        (n, 32),
        (n, 64),
    ]


# Digits


@pytest.mark.parametrize("largest", [0, 64, 127, 128, 8255, 16319, 2**20])
def test_digits(largest):
    values = np.unique(np.linspace(-largest, largest, 9999).astype(np.int64))
    parts = digits(torch.from_numpy(values))
    assert sum(128**i * part.long() for i, part in enumerate(parts)).tolist() == values.tolist()
    assert all(part.abs().max() <= 64 for part in parts[:-1])
    assert len(parts) == (1 if largest <= 127 else 2 if largest <= 127 * 128 + 63 else 3)


def test_digits_of_weights_and_inputs():
    """Horner's rule over the parts gives the products, and nothing but int8 is multiplied."""
    rng = np.random.default_rng(1)
    layer = make_layer(rng.integers(-9000, 9000, (5, 4, 1, 1)).astype(np.int32), bias=7)
    x = torch.from_numpy(rng.integers(-8191, 8192, (6, 4)).astype(np.float32))
    parts, bias = int8_layer(layer, torch.float32)
    assert all(part.dtype == torch.int8 for part in [*parts, two_digits(x)])
    acc = torch.zeros(6, 5, dtype=torch.int64)
    for part in parts:
        acc = acc * 128 + two_digits(x).long() @ part[:, :, 0, 0].long().T
    assert torch.equal(acc, x.long() @ layer.weight[:, :, 0, 0].long().T)
    assert torch.equal(bias, layer.bias.long())


# The choice


def test_self_test_passes_int_mm(device):
    assert selftest.failure(lambda layers: IntMM(layers, device), device) is None


@pytest.mark.slow
def test_self_test_passes_triton(device, monkeypatch):
    """Interpreted: two of its layers; test_worst_cases and others have more."""
    if device.type == "cpu":
        names = "first", "64_1"
        parts = worst_cases.worst_case_layers()
        few = [{name: part[name] for name in names} for part in parts]
        monkeypatch.setattr(selftest, "worst_case_layers", lambda: few)
    assert selftest.failure(lambda layers: TritonInt8(layers, device), device) is None


class NoBorder(IntMM):
    """Takes pixels outside the image as 128."""

    def _columns(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        shifted = x.bitwise_xor(128).view(torch.int8) if x.dtype == torch.uint8 else x
        return super()._columns(layer, shifted)


class WrongSums(IntMM):
    """Rounds halves of narrowed sums up."""

    def narrow(self, wide: torch.Tensor, divisor: int = 16) -> torch.Tensor:
        return (wide / divisor + 0.5).floor().clamp(0, 255).to(torch.uint8)


class WrongInput(IntMM):
    """Rounds the network's input half to even."""

    def network_input(self, y: torch.Tensor, scale: int) -> torch.Tensor:
        exact = (y * scale / 256).round().clamp(-1023, 1023).to(torch.int32)
        return super().network_input(exact, 256)


class NoCompiler(IntMM):
    """A compiler's error, of a class of its own."""

    def convolve(self, *_):
        raise type("CompilationError", (Exception,), {})("at line 3")


@pytest.mark.parametrize(
    "liar, why",
    [
        (NoBorder, "64_3: wrong integers"),
        (WrongSums, "wrong sums"),
        (WrongInput, "wrong input"),
        (NoCompiler, "64_3: CompilationError: at line 3"),
    ],
)
def test_self_test_says_what_is_wrong(liar, why):
    assert why in selftest.failure(liar)
    assert not selftest.agrees(liar)


def test_choice_on_a_gpu(monkeypatch):
    assert selftest.gpu_backends() == [TritonInt8, IntMM]
    monkeypatch.setitem(sys.modules, "bitsback.integer.triton_convolution", None)
    assert selftest.gpu_backends() == [IntMM]


def test_info_and_v_name_the_backend(tiny_model, prior_file, photograph, tmp_path):
    """`info --device` and `compress -v`; a file without the prior has no convolutions."""
    name = selftest.choose(tiny_model.layers).name
    (tmp_path / "a.bbk").write_bytes(prior_file(photograph(64, 56)))
    told = call("info", "--device", "cpu", "--model", tiny_model.path, tmp_path / "a.bbk")
    assert f"{name} on cpu" in told.stdout.split("convolutions")[1].splitlines()[0]
    several = "info", "--device", "cpu,cpu", "--model", tiny_model.path, tmp_path / "a.bbk"
    facts = json.loads(call(*several, "--json").stdout)
    assert facts["convolutions"] == f"{name} on cpu" and facts["segments_coded"] == "host"
    assert facts["images_at_once"] == "1"
    assert "convolutions" not in call("info", tmp_path / "a.bbk").stdout
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    told = call("compress", "-v", "--model", tiny_model.path, tmp_path / "b.png")
    assert f"{name} on cpu" in told.output
    told = call("info", "--device", "cpu", "--json", tmp_path / "b.bbk")
    assert told.exit_code == 0 and "convolutions" not in told.stdout
    told = call("info", "--device", "cpux", "--model", tiny_model.path, tmp_path / "a.bbk")
    assert told.exit_code == 2 and "--device cpux" in told.output


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("constriction", "numba", "PIL", "tqdm"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
from benchmarks import device_convolutions
print(*device_convolutions.backends())
"""


def test_benchmark_needs_neither_constriction_nor_numba():
    """The machines that have a GPU lack them."""
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=ROOT, capture_output=True, text=True)
    names = " ".join(kind.name for kind in (*KINDS, Reference))
    assert done.stdout == names + "\n", done.stderr


# The compiler, which needs no device


def compiled(*arguments):
    backends = pytest.importorskip("triton.backends")
    tools = Path(backends.__file__).parent / "nvidia" / "bin"
    if not list(tools.glob("ptxas*")):
        pytest.skip("Triton has no compiler for NVIDIA here")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiled_kernels", *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_compile():
    """To machine code of an H100, with its int8 matrix products: the first four kernels."""
    assert compiled("fast", "4").startswith("compiled 4 of ")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["best-1.0", "self-test"])  # best-1.0 has the widest layers
def test_all_kernels_compile(model):
    done, count = compiled(model).split()[1::2]
    assert done == count and int(count) > 10
