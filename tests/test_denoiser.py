"""denoiser.py and quantised.py: rounding, and causality over the passes, also of the coder."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from bitsback.coder.conditional import Conditional, Distributions
from bitsback.coder.context import Context, no_context
from bitsback.diffusion.levels import sigmas
from bitsback.diffusion.passes import Places, coding_passes
from bitsback.integer.config import EXACT, INNOVATION_REACH, INPUT_REACH, NetworkConfig
from bitsback.integer.convolution import TOP
from bitsback.integer.convolution import WEIGHT as INNER_WEIGHT
from bitsback.train.denoiser import Denoiser
from bitsback.train.quantised import QConv, scale_exponent
from tests.conftest import random_network, unshuffled


@pytest.fixture(scope="module")
def tiny_network(eight_pass_network):
    """Here, eight passes a level."""
    return eight_pass_network


@pytest.fixture(scope="module")
def tiny_model(eight_pass_model):
    return eight_pass_model


REACH = {"first": INPUT_REACH, "head_known": INNOVATION_REACH}


def inputs(seed=0, batch=2, size=16):
    """(y, log_sigma, innovations) of a batch, one noise level an image."""
    generator = torch.Generator().manual_seed(seed)
    log_sigma = torch.linspace(-0.5, 4.0, batch)
    normal = lambda: torch.randn(batch, 3, size, size, generator=generator)  # noqa: E731
    return (
        60 * normal() + log_sigma.exp().view(-1, 1, 1, 1) * normal(),
        log_sigma,
        normal().clamp(-6, 6),
    )


def outputs(network, integer, seed=0):
    y, log_sigma, innovations = inputs(seed)
    out, features, e = network.trunk(y, log_sigma, integer)
    pixels = torch.tensor([True, False])
    return out, network.heads(features, e, 0.7 * ~pixels, pixels, innovations, integer)


def layers(network):
    return {name: module for name, module in network.named_modules() if isinstance(module, QConv)}


def test_integer_activations_are_bytes(tiny_network):
    """With rounding inner and last convolutions receive integers of 0..255, not only zeros."""
    seen = {}

    def note(name):
        return lambda module, args: seen.setdefault(name, []).append(args[0].detach().clone())

    hooks = [
        module.register_forward_pre_hook(note(name))
        for name, module in layers(tiny_network).items()
    ]
    try:
        outputs(tiny_network, True)
    finally:
        for hook in hooks:
            hook.remove()
    assert seen.keys() == layers(tiny_network).keys()
    for name, batches in seen.items():
        if name in REACH:
            continue
        for x in batches:
            assert torch.equal(x, x.round()) and x.min() >= 0 and x.max() <= TOP, name
        assert max(x.max() for x in batches) > 0, name


def test_float_activations_are_not_rounded(tiny_network):
    """integer=False is another function: nothing is rounded, outputs differ a little."""
    rounded, plain = outputs(tiny_network, True), outputs(tiny_network, False)
    for a, b in zip(rounded, plain):
        assert not torch.equal(a, b)
        assert (a - b).std() < 0.2 * b.std()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 100.0])
def test_effective_weights_are_integers_times_a_power_of_two(tiny_network, scale):
    """Inner weights are within +-64, the largest of a channel above 32.

    Outer sums times their reach stay below 2^24.
    """
    for name, layer in layers(tiny_network).items():
        copy = QConv(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size[0],
            reach=layer.reach,
            gain=layer.gain,
            stride=layer.stride[0],
        )
        copy.load_state_dict({"weight": layer.weight * scale, "bias": layer.bias})
        exponent = scale_exponent(copy.weight, copy.reach)
        assert torch.equal(exponent, exponent.round())
        integers = copy.effective_weight(True).detach().double() * torch.exp2(
            exponent.double()
        ).view(-1, 1, 1, 1)
        assert torch.allclose(integers, integers.round(), atol=1e-3), (
            name
        )  # weight + (rounded - weight), in float32
        integers = integers.round().abs()
        if layer.reach:
            assert (integers.flatten(1).sum(1) * layer.reach).max() < EXACT, name
            assert layer.reach == REACH.get(name, TOP)
        else:
            assert integers.max() <= INNER_WEIGHT, name
            if scale == 1.0:
                assert (integers.flatten(1).amax(1) >= INNER_WEIGHT / 2).all(), name


def test_straight_through_gradients_reach_every_weight():
    """Rounding lets gradients through: all parameters get one, finite, near the float network's."""
    gradients = {}
    for integer in (False, True):
        torch.manual_seed(3)
        network = Denoiser(NetworkConfig(16, 1, 16, 1, 16, 1, embedding=16, head=16))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.03 * torch.randn(parameter.shape))
        out, more = outputs(network, integer)
        (out.square().mean() + more.square().mean()).backward()
        gradients[integer] = {name: p.grad for name, p in network.named_parameters()}
    for name, grad in gradients[True].items():
        assert grad is not None and torch.isfinite(grad).all() and grad.abs().max() > 0, name
    flat = {k: torch.cat([g.flatten() for g in v.values()]) for k, v in gradients.items()}
    assert torch.nn.functional.cosine_similarity(flat[True], flat[False], dim=0) > 0.95


def test_a_new_network_predicts_nothing():
    """The last layers start at zero: f = 0, so xhat = c_skip y, and the head changes nothing."""
    out, more = outputs(Denoiser(NetworkConfig(16, 1, 16, 1, 16, 1, embedding=16, head=16)), False)
    assert not out.any() and not more.any()


def test_config_travels():
    """NetworkConfig.from_dict(config.as_dict()) is the same network."""
    config = NetworkConfig(16, 1, 24, 2, 32, 1, embedding=16, head=8)
    assert NetworkConfig.from_dict(config.as_dict()) == config
    shapes = [
        {k: v.shape for k, v in Denoiser(c).state_dict().items()}
        for c in (config, NetworkConfig.from_dict(config.as_dict()))
    ]
    assert shapes[0] == shapes[1]


def test_multiply_adds_are_those_of_the_convolutions(tiny_network):
    """multiply_adds() a pixel: the outputs of each convolution times its weights an output."""
    counted = {"trunk": 0, "head": 0}

    def note(name):
        def hook(module, args, result):
            part = "head" if name.startswith("head") else "trunk"
            counted[part] += (
                result.shape[0] * result.shape[2] * result.shape[3] * module.weight.numel()
            )

        return hook

    hooks = [
        module.register_forward_hook(note(name)) for name, module in layers(tiny_network).items()
    ]
    try:
        y, log_sigma, innovations = inputs(batch=1, size=32)
        out, features, e = tiny_network.trunk(y, log_sigma)
        tiny_network.heads(features, e, log_sigma, torch.tensor([False]), innovations)
    finally:
        for hook in hooks:
            hook.remove()
    trunk, head = tiny_network.multiply_adds()
    assert (
        trunk == pytest.approx(counted["trunk"] / 32**2)
        and head == pytest.approx(counted["head"] / 32**2)
        and head > 0
    )


# --- causality -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(tiny_network):
    """{count: a network with that number of passes}."""
    return {
        count: random_network(7, dataclasses.replace(tiny_network.config, passes=count))
        for count in (2, 4, 8)
    }


def at(values, part):
    row, column, stride = part
    return values[:, :, row::stride, column::stride]


@pytest.mark.parametrize("count", [2, 4, 8])
def test_passes_take_every_pixel_once(count):
    """In equal shares, and no two pixels of a pass touch."""
    seen = torch.zeros(1, 1, 8, 8)
    for parts in coding_passes(count):
        before = seen.clone()
        for part in parts:
            at(seen, part).add_(1)
        new = (seen - before)[0, 0].nonzero()
        assert len(new) == 64 // count and (count == 2 or (new % 2 == new[0] % 2).all())
        apart = (new[:, None] - new).abs().sum(2)
        assert apart[apart > 0].min() == {2: 2, 4: 2, 8: 4}[count]
    assert (seen == 1).all()


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize(
    "count, pass_number",
    [(count, pass_number) for count in (2, 4, 8) for pass_number in range(count)],
)
def test_heads_see_only_earlier_passes(networks, integer, count, pass_number):
    """Changing the innovations of a pass changes heads of later passes only; pass 0 has no head."""
    network, order = networks[count], coding_passes(count)
    y, log_sigma, innovations = inputs(5)
    _, features, e = network.trunk(y, log_sigma, integer)
    ratio, pixels = torch.tensor([0.0, 0.7]), torch.tensor([True, False])
    before = network.heads(features, e, ratio, pixels, innovations, integer)
    changed = innovations.clone()
    for part in order[pass_number]:
        at(changed, part).mul_(-1).add_(1)
    after = network.heads(features, e, ratio, pixels, changed, integer)
    assert not any(at(before, part).any() for part in order[0])
    for other, parts in enumerate(order):
        assert all(
            torch.equal(at(after, part), at(before, part)) == (other <= pass_number)
            for part in parts
        )


def collected(network, index, y, values, context):
    """[(places, colour, mean32, scale)] of a step, in the order of decoding."""
    return [
        (places, colour, mean32.copy(), scale.copy())
        for places, colour, mean32, scale, *_ in Distributions(network, index, y, values, context)
    ]


def latents(model, index, height, width, seed=0):
    """(y, values, known): lattice indices of step `index` such as coding meets."""
    rng, levels = np.random.default_rng(seed), model.levels
    x = np.clip(np.rint(rng.normal(0, 40, (1, 3, height + 8, width))), -128, 127)
    noised = lambda k: np.rint(
        (x + rng.normal(0, sigmas(levels)[k], x.shape)) / levels[k].spacing
    ).astype(np.int32)  # noqa: E731
    y, values = noised(index), noised(index - 1) if index else x.astype(np.int32)
    return y[:, :, :height], values[:, :, :height], Context(y[:, :, height:], y[:, :, :height, :0])


@pytest.mark.parametrize(
    "index, array",
    [(index, array) for index, arrays in ((0, 24), (1, 24), (6, 12)) for array in range(arrays)],
)
def test_distributions_depend_on_what_is_decoded_only(expert_model, index, array):
    """Changing one colour of a pass changes a later distribution, not its own or an earlier one."""
    network, tiny_model = expert_model.chain().network, expert_model
    y, values, context = latents(tiny_model, index, 8, 12)
    before = collected(network, index, y, values, context)
    changed = values.copy()
    assert len(before) == {4: 12, 8: 24}[network.of(index).config.passes]
    places, colour = before[array][:2]
    places.put(changed[:, colour : colour + 1], places.of(values)[:, colour : colour + 1] - 2)
    after = collected(network, index, y, changed, context)
    same = [
        np.array_equal(a[2], b[2]) and np.array_equal(a[3], b[3]) for a, b in zip(before, after)
    ]
    assert all(same[: array + 1])
    assert array == len(before) - 1 or not all(same)


@pytest.mark.parametrize("index", [0, 1, 6])
@pytest.mark.parametrize("height, width", [(1, 1), (1, 8), (7, 9), (8, 8)])
def test_pop_side_meets_the_distributions_of_the_push_side(tiny_model, index, height, width):
    """Every value is popped under the (mean32, scale) it was pushed with, position by position."""

    class Recorder:
        """Stands in for Gaussians over a list: push stores the distribution, pop checks it."""

        def __init__(self):
            self.stack = []

        def push(self, _, values, mean32, scale):
            self.stack.append((values.copy(), mean32.copy(), scale.copy()))

        def pop(self, _, mean32, scale):
            values, *pushed = self.stack.pop()
            assert np.array_equal(pushed[0], mean32) and np.array_equal(pushed[1], scale)
            return values

    y, values, context = latents(tiny_model, index, height, width)
    context = context if height % 2 == 0 else no_context(y)
    recorder = Recorder()
    codec = Conditional(tiny_model.chain().network, recorder, index)
    codec.push(None, values, y, context)
    assert sum(len(part[0]) for part in recorder.stack) == values.size
    assert np.array_equal(codec.pop(None, y, context), values) and not recorder.stack


def test_each_place_is_coded_once(tiny_model):
    """The positions of a step cover (B, 3, H, W) exactly, greens before reds before blues."""
    y, values, context = latents(tiny_model, 1, 9, 7)
    count, order = np.zeros(y.shape, int), []
    for places, colour, mean32, scale in collected(
        tiny_model.chain().network, 1, y, values, no_context(y)
    ):
        places.put(count[:, colour : colour + 1], places.of(count)[:, colour : colour + 1] + 1)
        order.append(colour)
        assert mean32.shape == scale.shape == (places.n,)
    assert (count == 1).all() and order == [1, 0, 2] * 8


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("height, width", [(1, 1), (2, 3), (9, 7), (8, 16)])
def test_places(count, height, width):
    """`put` restores what `of` gathers, and all passes together are the image.

    A block's numbers are its pixels'; `put_unshuffled` is put and pixel_unshuffle.
    """
    rng = np.random.default_rng(height * width)
    values, back = rng.integers(0, 99, (2, 3, height, width)), np.full((2, 3, height, width), -1)
    blocks = rng.integers(0, 99, (2, 5, (height + 7) // 8 * 4, (width + 7) // 8 * 4))
    spread, total = blocks.repeat(2, 2).repeat(2, 3), 0
    unshuffled_values = torch.zeros((2, *blocks.shape[2:], 12), dtype=torch.int8)
    for parts in coding_passes(count):
        places = Places(parts, height, width)
        total += places.n
        if not places.n:
            continue
        assert places.of(values).shape == (2, 3, places.n) and np.array_equal(
            places.of(spread), places.of_blocks(blocks)
        )
        places.put(back, places.of(values))
        places.put_unshuffled(unshuffled_values, torch.from_numpy(places.of(values)))
    assert total == height * width and np.array_equal(back, values)
    assert np.array_equal(unshuffled_values, unshuffled(values))


def test_fixed_weights_change_nothing(tiny_network):
    """Outputs and gradients of biases are those of weights that are rounded each time."""
    fixed = copy.deepcopy(tiny_network)
    for module in fixed.modules():
        if isinstance(module, QConv):
            module.fix_weights()
    x, log_sigma = 50 * torch.randn(2, 3, 16, 16), torch.tensor([0.1, 3.0])
    gradients = []
    for network in (tiny_network, fixed):
        bias = network.last.bias = network.last.bias.requires_grad_()
        bias.grad = None
        out = network.trunk(x, log_sigma, True)[0]
        (out * out).sum().backward()
        gradients += [out.detach(), bias.grad.clone()]
        bias.requires_grad_(False)
    assert torch.equal(gradients[0], gradients[2]) and torch.equal(gradients[1], gradients[3])
