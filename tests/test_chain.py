"""Bits back: a prior equal to the posterior costs nothing, a real one costs its bound."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.ans.gaussian_tables import Gaussians, forward_frequencies
from bitsback.codecs.segment_layout import STEP
from bitsback.coder.chain import Chain, Forward
from bitsback.coder.context import Context, no_context
from bitsback.coder.model import DEFAULT_MODEL, Model
from bitsback.coder.top import Top
from bitsback.diffusion.levels import default_levels, doubling, sigmas
from bitsback.diffusion.steps import COLOUR_BITS, MEAN_BITS, SCALE_UNIT
from bitsback.errors import DamagedFile, StackEmpty
from bitsback.integer.installed import shipped_models
from bitsback.integer.network import IntegerExperts
from bitsback.train.bound import gaussian_noise, level_nats, pixel_nats
from tests.conftest import unshuffled
from tests.laws import check_codec, credit


@pytest.fixture(scope="module")
def tiny_model(eight_pass_model):
    """Here, eight passes a level."""
    return eight_pass_model


BOUND_TOLERANCE = 0.005  # net rate of real coding against the bound of the same levels
IMAGES = sorted((Path(__file__).parent / "images").glob("*.png"))
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (7, 5), (8, 24), (16, 16)]


def planes(pixels):
    """(H, W, 3) uint8 -> (1, 3, H, W) int32, minus 128."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]).astype(np.int32) - 128


class Counting(Gaussians):
    """Notes the information of every push (+) and pop (-), in order."""

    def __init__(self, frequencies):
        super().__init__(frequencies)
        self.bits = []

    def push(self, stack, values, mean32, scale, escapes=True):
        self.bits.append(self.information_bits(values, mean32, scale, escapes))
        super().push(stack, values, mean32, scale, escapes)

    def pop(self, stack, mean32, scale, escapes=True):
        values = super().pop(stack, mean32, scale, escapes)
        self.bits.append(-self.information_bits(values, mean32, scale, escapes))
        return values


class Clean(Counting):
    """Pops from words of its own, so that pushes of the prior do not change the bits popped."""

    def __init__(self, frequencies, source):
        super().__init__(frequencies)
        self.source = source

    def pop(self, stack, mean32, scale, escapes=True):
        return super().pop(self.source, mean32, scale, escapes)


# --- the cheating prior: p = q ---------------------------------------------------------------


class Knows:
    """A prior equal to the posterior: p(y_k | y_{k+1}) := q(y_k | y_{k-1}), with y_{k-1} given.

    Under it x is certain, y_0 has the distribution q(y_0 | x) it was popped from, and so on up:
    every symbol is pushed under the frequencies it was popped with.  values[k]: y_{k-1}, x for 0.
    """

    def __init__(self, forward):
        self.forward, self.values = forward, {}

    def step(self, k):
        return KnowsStep(self, k)

    def push(self, gaussians, stack, value, context):
        """The top: y_{K-1} under q(y_{K-1} | y_{K-2})."""
        self.forward[-1].push(stack, value, self.values[len(self.forward) - 1], context)

    def pop(self, gaussians, stack, shape, context):
        return self.forward[-1].pop(stack, self.values[len(self.forward) - 1], context)


class KnowsStep:
    """Step k: values y_{k-1} (or x) given y_k."""

    def __init__(self, cheat, k):
        self.cheat, self.k = cheat, k

    def push(self, stack, value, y, context, counts=None, ledger=None):
        self.cheat.values[self.k] = value
        if self.k:
            self.cheat.forward[self.k - 1].push(
                stack, value, self.cheat.values[self.k - 1], context
            )

    def pop(self, stack, y, context, fixed=None, counts=None, ledger=None):
        if not self.k:
            return self.cheat.values[0]
        return self.cheat.forward[self.k - 1].pop(stack, self.cheat.values[self.k - 1], context)


class GivesBack(KnowsStep):
    """The same prior, each y_k pushed under q(y_k given y_{k-1}) before the next is popped."""

    def push(self, stack, value, y, context, counts=None, ledger=None):
        self.cheat.values[self.k] = value
        self.cheat.forward[self.k].push(stack, y, value, context)

    def pop(self, stack, y, context, fixed=None, counts=None, ledger=None):
        value = self.cheat.values[self.k]
        assert np.array_equal(self.cheat.forward[self.k].pop(stack, value, context), y)
        return value


class Certain:
    """A top that has been told the last latent: it costs nothing."""

    def push(self, gaussians, stack, value, context):
        self.value = value

    def pop(self, gaussians, stack, shape, context):
        return self.value


def forward_table(levels):
    return Counting(forward_frequencies([level.step for level in levels]))


def cheating_chain(levels, step):
    """A real Chain, its Forward steps untouched, whose reverse steps are the cheat's."""
    chain = Chain(None, None, forward_table(levels), levels)
    cheat = Knows(chain.forward)
    chain.reverse = [step(cheat, k) for k in range(len(levels))]
    return chain, cheat


@pytest.mark.parametrize(
    "levels", [default_levels(), doubling(), doubling(1)], ids=["default", "doubling", "one"]
)
@pytest.mark.parametrize("seed", range(3))
def test_a_cheating_prior_codes_at_zero_net_bits(photograph, levels, seed):
    """p = q: every level pushes exactly the bits it popped, so the stack keeps its size.

    The message and the image return.
    """
    chain, cheat = cheating_chain(levels, KnowsStep)
    x, stack = planes(photograph(24, 40, seed)), credit(40_000, seed)
    words, held = stack.to_bytes(), stack.size_bits
    chain.push(stack, x, cheat, no_context(x))
    bits = chain.forward_table.bits
    popped, pushed = [-b for b in bits if b < 0], [b for b in bits if b > 0]
    assert len(popped) == len(pushed) == len(levels)
    assert popped == pushed  # float sums of the same logarithms: exactly equal
    assert min(popped) > 1.5 * x.size  # and not because nothing happened
    assert abs(stack.size_bits - held) <= len(stack)  # zero, but for where whole bits of lanes end
    assert np.array_equal(chain.pop(stack, x.shape, cheat, no_context(x)), x)
    assert stack.to_bytes() == words


@pytest.mark.parametrize("levels", [default_levels(), doubling()], ids=["default", "doubling"])
def test_a_cheating_prior_that_gives_back_at_once_leaves_no_trace(photograph, levels):
    """Pop y_k and push it under the same frequencies: after every level all words are unchanged."""
    chain, _ = cheating_chain(levels, GivesBack)
    x, stack = planes(photograph(16, 24)), credit(20_000)
    words, held, seen = stack.to_bytes(), stack.size_bits, []
    push = GivesBack.push

    class Watched(GivesBack):
        def push(self, stack, value, y, context, counts=None, ledger=None):
            push(self, stack, value, y, context)
            seen.append((stack.size_bits, stack.to_bytes()))

    chain.reverse = [Watched(step.cheat, step.k) for step in chain.reverse]
    top = Certain()
    chain.push(stack, x, top, no_context(x))
    assert seen == [(held, words)] * len(levels)
    assert np.array_equal(chain.pop(stack, x.shape, top, no_context(x)), x)
    assert (stack.size_bits, stack.to_bytes()) == (held, words)


def test_a_dearer_prior_is_seen(photograph):
    """That test can fail: a prior one scale (4 %) too wide costs bits, though it decodes."""
    levels = list(doubling(3))
    wider = [replace(level, step=level.step + 1) for level in levels]
    chain, cheat = cheating_chain(levels, KnowsStep)
    cheat.forward = [Forward(forward_table(wider), wider, k) for k in range(3)]
    x, stack = planes(photograph(64, 64)), credit(60_000)
    words, held = stack.to_bytes(), stack.size_bits
    chain.push(stack, x, cheat, no_context(x))
    assert stack.size_bits - held > 20
    assert (
        np.array_equal(chain.pop(stack, x.shape, cheat, no_context(x)), x)
        and stack.to_bytes() == words
    )


# --- a real prior ----------------------------------------------------------------------------


def chain_laws(model, x, context, pixels, size=20_000):
    """Both laws of a chain; words that no push made may be refused as damage.

    Its q has no frequency far out.
    """
    chain, top = model.chain(), Top.fitted([pixels], model.levels)
    return check_codec(
        lambda s, v: chain.push(s, v, top, context),
        lambda s: chain.pop(s, x.shape, top, context),
        credit(size, x.size),
        x,
        refuses=DamagedFile,
    )


@pytest.mark.parametrize("height, width", SHAPES)
@pytest.mark.parametrize("rows, columns", [(0, 0), (1, 0), (8, 0), (0, 3), (8, 9)])
def test_chain_laws(tiny_model, photograph, height, width, rows, columns):
    """Segments of any size, with and without context below and to the right.

    With context, they end at multiples of 8.
    """
    height += -height % STEP if rows else 0
    width += -width % STEP if columns else 0
    pixels = photograph(height + rows, width + columns)
    x = planes(pixels)
    known = Context(x[:, :, height:], x[:, :, :height, width:])
    chain_laws(tiny_model, np.ascontiguousarray(x[:, :, :height, :width]), known, pixels)


def test_random_words_are_a_message(tiny_model, photograph):
    """Most random words decode to some small image, and pushing it returns them."""
    pixels = [photograph(1, width, 2) for width in range(1, 9)]
    assert sum(chain_laws(tiny_model, planes(p), no_context(planes(p)), p) for p in pixels) >= 6


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.full((8, 8, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 2, (9, 8, 3), dtype=np.uint8) * 255,
    ],
    ids=["black", "white", "both"],
)
def test_chain_laws_at_the_ends_of_the_range(tiny_model, pixels):
    """Black, white and pixels of either."""
    chain_laws(tiny_model, planes(pixels), no_context(planes(pixels)), pixels)


def test_a_batch_is_coded_at_once(tiny_model, photograph):
    """B images of one shape obey the laws too."""
    x = np.concatenate([planes(photograph(8, 12, seed)) for seed in range(3)])
    chain_laws(tiny_model, x, no_context(x), photograph(8, 12), 30_000)


def test_the_context_changes_the_code(tiny_model, photograph):
    """Another context makes other words, and cannot decode these ones to the same pixels."""
    pixels, chain, top = photograph(16, 24), tiny_model.chain(), Top((0, 0, 0), (70, 70, 70))
    x, context, wrong = (planes(p) for p in (pixels[:8], pixels[8:], 255 - pixels[8:]))
    context, wrong = (Context(rows, x[:, :, :, :0]) for rows in (context, wrong))
    words = []
    for known in (context, wrong):
        stack = credit(20_000)
        chain.push(stack, x, top, known)
        words.append(stack.to_bytes())
    assert words[0] != words[1]
    try:
        assert not np.array_equal(chain.pop(stack, x.shape, top, context), x)
    except (StackEmpty, DamagedFile):
        pass


def test_growth_is_information_pushed_minus_popped(tiny_model, photograph):
    """The stack grows by the sum of all pushes' -log2 frequencies minus all pops', within 0.1 %."""
    prior, forward, pixels = (
        Counting(tiny_model.gaussians.frequencies),
        forward_table(tiny_model.levels),
        photograph(48, 64),
    )
    chain = Chain(tiny_model.chain().network, prior, forward, tiny_model.levels)
    x, stack = planes(pixels), credit(60_000)
    held = stack.size_bits
    chain.push(stack, x, Top.fitted([pixels], tiny_model.levels), no_context(x))
    net = sum(prior.bits) + sum(forward.bits)
    assert net > x.size and min(prior.bits) > 0 > max(forward.bits)
    assert stack.size_bits - held == pytest.approx(net, rel=1e-3)


def test_watch_sees_every_pop_and_the_deepest_debt(tiny_model, photograph):
    """watch is called once a level, after the pop, when the level's stack is smallest."""
    pixels = photograph(16, 16)
    x, stack, seen = planes(pixels), credit(20_000), []
    held = stack.size_bits
    tiny_model.chain().push(
        stack,
        x,
        Top.fitted([pixels], tiny_model.levels),
        no_context(x),
        watch=lambda s: seen.append(s.size_bits),
    )
    assert len(seen) == len(tiny_model.levels)
    assert 1.5 * x.size < held - seen[0] < 3 * x.size  # y_0: 2.05 bits and what the lattice adds


def test_a_segment_beyond_the_credit_is_an_error(tiny_model, photograph):
    """Too little credit is StackEmpty at the first pops, and the caller's copy is untouched."""
    pixels = photograph(16, 16)
    stack = credit(100)
    words, attempt = stack.to_bytes(), stack.copy()
    with pytest.raises(StackEmpty):
        tiny_model.chain().push(
            attempt,
            planes(pixels),
            Top.fitted([pixels], tiny_model.levels),
            no_context(planes(pixels)),
        )
    assert stack.to_bytes() == words


def test_top_is_the_gaussian_of_the_image(gaussians, photograph):
    """Top.fitted codes y_{K-1} at the entropy of its Gaussian, within 1 %; both laws."""
    levels, pixels = default_levels(), photograph(96, 96)
    rng, x = np.random.default_rng(1), planes(pixels).astype(float)
    spacing, sigma = levels[-1].spacing, sigmas(levels)[-1]
    y = np.rint(
        (x + rng.normal(0, math.sqrt(sigma**2 - spacing**2 / 12), x.shape)) / spacing
    ).astype(np.int32)
    top, stack = Top.fitted([pixels], levels), credit(200_000)
    held = stack.size_bits
    top.push(gaussians, stack, y, no_context(y))
    entropy = sum(
        y[0, c].size
        * 0.5
        * math.log2(2 * math.pi * math.e * (x[0, c].var() + sigma**2) / spacing**2)
        for c in range(3)
    )
    assert stack.size_bits - held == pytest.approx(entropy, rel=0.01)
    check_codec(
        lambda s, v: top.push(gaussians, s, v, no_context(v)),
        lambda s: top.pop(gaussians, s, y.shape, no_context(y)),
        stack,
        y,
    )


# --- the bound -------------------------------------------------------------------------------


class RealInputs:
    """The coder's network behind the float interface of bound.py: any real y, real outputs.

    Inputs reach the network in units of its own first layer (input_scale 1: 1/65536), so that
    latents need not lie on a lattice; everything else is the network that codes.
    """

    def __init__(self, network, levels):
        self.network = IntegerExperts([(steps, copy.copy(one)) for steps, one in network.networks])
        self.scales = [
            step.input_scale / 2.0**level.exponent for step, level in zip(network.steps, levels)
        ]
        for _, one in self.network.networks:
            one.steps = [replace(step, input_scale=1) for step in network.steps]
        self.log_sigma = np.log(sigmas(levels))
        units = [2**-MEAN_BITS] * 3 + [math.log(2) / SCALE_UNIT] * 3 + [2**-COLOUR_BITS] * 3
        self.units = torch.tensor(units).view(1, 9, 1, 1)
        self.head_units = self.units * torch.tensor([1.0] * 3 + [2.0] * 3 + [1.0] * 3).view(
            1, 9, 1, 1
        )  # log v, not log sd

    def trunk(self, y, log_sigma, integer):
        index = int(np.argmin(np.abs(self.log_sigma - log_sigma[0].item())))
        out, state = self.network.trunk(index, torch.round(y * self.scales[index]).to(torch.int32))
        return out * self.units, state, index

    def heads(self, state, index, log_ratio, pixels, innovations, integer):
        known = np.zeros(innovations.shape, np.int8)
        all_known = np.rint(innovations.numpy() * 16).clip(-96, 96).astype(np.int8)
        more = torch.zeros(len(known), 9, *known.shape[2:])
        for pass_number, parts in enumerate(self.network.order(index)):
            said = (
                self.network.head(index, pass_number, state, torch.from_numpy(unshuffled(known)))
                * self.head_units
                if pass_number
                else None
            )
            for row, column, stride in parts:
                if pass_number:
                    here = more[:, :, row::stride, column::stride]
                    here.copy_(
                        said[:, :, row // 2 :: stride // 2, column // 2 :: stride // 2][
                            :, :, : here.shape[2], : here.shape[3]
                        ]
                    )
                known[:, :, row::stride, column::stride] = all_known[
                    :, :, row::stride, column::stride
                ]
        return more


def bound_bits(model, pixels, seeds=2):
    """The bound of the model's levels on an image in bits, by VDM's formulas in floats.

    The top is an exact Gaussian.
    """
    x, sigma = torch.from_numpy(planes(pixels)).float(), sigmas(model.levels)
    network, logs = (
        RealInputs(model.chain().network, model.levels),
        torch.tensor(sigma).log().float(),
    )
    total = 0.0
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        for k in range(len(sigma)):
            y = x + sigma[k] * gaussian_noise(x, generator)
            nats = (
                pixel_nats(network, x, y, logs[:1])
                if k == 0
                else level_nats(network, x, y, logs[k - 1 : k], logs[k : k + 1], generator)
            )
            total += nats.double().sum().item() / math.log(2) / seeds
    variance = x[0].var((1, 2)).double() / sigma[-1] ** 2
    return total + (0.5 * torch.log2(1 + variance)).sum().item() * x[0, 0].numel()


def coded_bits(model, pixels, seed):
    """Growth of a stack with plenty of credit, one group."""
    x, stack = planes(pixels), credit(pixels.size, seed)
    held = stack.size_bits
    model.chain().push(stack, x, Top.fitted([pixels], model.levels), no_context(x))
    return stack.size_bits - held


def test_information_is_the_bound_for_random_weights(tiny_model, photograph):
    """For any network, pushes minus pops are the bound by VDM's formulas, within 0.5 %.

    That is what lattices, tables and integers cost.

    A prior this bad pushes bits that are far from random, and noise popped from them is not
    Gaussian (2 % more bits): here the pops take random words, below the real stack does.
    """
    pixels = photograph(128, 128)
    x, net = planes(pixels), []
    for seed in range(2):
        forward = Clean(forward_table(tiny_model.levels).frequencies, credit(4 * pixels.size, seed))
        prior = Counting(tiny_model.gaussians.frequencies)
        chain, top = (
            Chain(tiny_model.chain().network, prior, forward, tiny_model.levels),
            Top.fitted([pixels], tiny_model.levels),
        )
        chain.push(credit(100), x, top, no_context(x))
        net.append(sum(prior.bits) + sum(forward.bits))
    assert np.mean(net) == pytest.approx(bound_bits(tiny_model, pixels), rel=BOUND_TOLERANCE)


@pytest.mark.skipif(DEFAULT_MODEL not in shipped_models(), reason="no model is shipped yet")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow) if "kodim07" in path.stem else path
        for path in IMAGES
    ],
    ids=lambda path: path.stem,
)
def test_net_rate_is_the_bound_shipped_model(path):
    """The shipped model's net rate on 256x256 pixels of a photograph: 0.5 % from the bound."""
    model, pixels = Model.open(), np.array(Image.open(path).convert("RGB"))[:256, :256]
    coded = np.mean([coded_bits(model, pixels, seed) for seed in range(2)])
    assert coded == pytest.approx(bound_bits(model, pixels), rel=BOUND_TOLERANCE)
