"""remainders/: the bits of 16-bit images below the coarse plane come back, or it is damage."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback.ans import lanes_numba, lanes_numpy
from bitsback.codecs import decode_image, encode_image, mode_decision
from bitsback.codecs.bit_costs import bit_costs
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.depths import Deep, pack
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.depth import REPLICATED, SCALED, Depth
from bitsback.codecs.image import DEEP, ImageData, same
from bitsback.codecs.io.facts import describe
from bitsback.codecs.remainders import codec, fit, model
from bitsback.errors import DamagedFile, StackEmpty
from tests import numpy_decoder, numpy_remainders
from tests.image_modes import forced, of_mode
from tests.laws import check_codec, credit


def deep_photograph(photograph, height, width, channels, bits, noise=0.1, seed=0):
    """(H, W, C) uint16 numbers of so many bits: a photograph's gray levels, fine steps between."""
    levels = photograph(height + 1, width + 1, seed)[..., :channels].astype(float)
    levels = (levels[1:, 1:] + levels[:-1, 1:] + levels[1:, :-1] + levels[:-1, :-1]) / 4
    levels += np.random.default_rng(seed).normal(0, noise, levels.shape)
    return np.clip(levels * 2.0 ** (bits - 8), 0, 2**bits - 1).astype(np.uint16)


@settings(max_examples=15)
@given(
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    channels=st.sampled_from([1, 3]),
    bits=st.integers(1, 8),
    seed=st.integers(0, 9),
)
def test_remainders_come_back(gaussians, height, width, channels, bits, seed):
    """Numbers of any size and depth, noise and a flat area."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 2 ** (8 + bits), (height, width, channels), np.uint16)
    numbers[: height // 2] = numbers[0, 0]
    data = codec.encode_remainders(numbers, bits, gaussians)
    coarse = (numbers >> bits).astype(np.uint8)
    back = codec.decode_remainders(data, coarse, bits, gaussians)
    assert back.dtype == np.uint16 and np.array_equal(back, numbers)


@pytest.mark.parametrize("channels, bits", [(3, 8), (3, 3), (1, 5)])
def test_remainders_by_the_document(tiny_model, photograph, monkeypatch, channels, bits):
    """Weights, contexts and digits, computed by the document's decoder; two strips."""
    assert codec.STRIP == 2**18  # the document's, too slow for this test
    monkeypatch.setattr(codec, "STRIP", 2**6)
    numbers = deep_photograph(photograph, 11, 9, channels, 8 + bits)
    assert codec.strips(*numbers.shape[:2]) == [slice(0, 6), slice(6, 11)]
    data = codec.encode_remainders(numbers, bits, tiny_model.gaussians)
    yardstick = numpy_decoder.Model(tiny_model.path.read_bytes())
    coarse = (numbers >> bits).astype(np.uint8)
    back = numpy_remainders.decode(yardstick, data, coarse, bits, 2**6)
    assert np.array_equal(back, numbers)


def test_large_images(tiny_model):
    """Several lanes and strips, parameters from crops."""
    rng = np.random.default_rng(2)
    numbers = rng.integers(0, 1024, (300, 1000, 1), np.uint16)
    assert codec.LANES.count(numbers.size) == 3 and len(codec.strips(300, 1000)) == 2
    data = codec.encode_remainders(numbers, 2, tiny_model.gaussians)
    coarse = (numbers >> 2).astype(np.uint8)
    back = codec.decode_remainders(data, coarse, 2, tiny_model.gaussians)
    assert np.array_equal(back, numbers) and len(data) < 1.005 * numbers.size / 4


def test_the_laws_of_a_codec(gaussians, photograph):
    """Word for word in both directions, by numpy's lanes and the compiled ones alike."""
    numbers = deep_photograph(photograph, 14, 10, 3, 16)
    middles, values = model.split(numbers, 8)
    parameters = fit.fitted(numbers, 8, gaussians.frequencies)
    one = codec.Remainders(gaussians.frequencies, parameters, 8, middles)
    words = []
    for loops in lanes_numpy, lanes_numba:
        lanes = credit(4000, loops=loops)
        assert check_codec(one.push, one.pop, lanes, values, StackEmpty)
        one.push(lanes, values)
        words.append(lanes.to_bytes())
    assert words[0] == words[1]


def test_smooth_images_have_cheap_remainders(gaussians):
    """A ramp, borders included, saves 2.4 bits and more of 8; noise costs 8."""
    smooth = (np.add.outer(np.arange(48) * 61, np.arange(64) * 83) + 9000).astype(np.uint16)
    noise = np.random.default_rng(1).integers(0, 2**16, (48, 64), np.uint16)
    rates = [
        8 * len(codec.encode_remainders(one[..., None], 8, gaussians)) / one.size
        for one in (smooth, noise)
    ]
    assert rates[0] < 5.6 and 7.95 < rates[1] < 8.3


@pytest.mark.parametrize("mode", sorted(DEEP))
@pytest.mark.parametrize("bits, step", [(16, 1), (12, 16), (10, 1)])
def test_16_bit_files_under_the_prior(tiny_model, photograph, monkeypatch, mode, bits, step):
    """All modes, alpha and metadata included, alone; info and ledger name the remainders."""
    image = of_mode(mode, 40, 32, photograph)
    channels = 1 if image.samples.ndim == 2 else image.samples.shape[2]
    numbers = deep_photograph(photograph, 40, 32, 1, bits).repeat(channels, 2)
    image = replace(image, samples=(numbers * step).astype("<u2").reshape(image.samples.shape))
    assert image.depth == Depth(bits, step)
    data = forced([image], tiny_model, monkeypatch)
    header = container.read_header(data)
    assert same(decode_image(data, model=tiny_model), image)
    assert [deep.depth for deep in header.depths] == [Depth(bits, step)]
    facts, costs = describe("x", data), bit_costs(data, model=tiny_model)
    assert facts["depth"] == [str(image.depth)] and costs.total == 8 * len(data)
    assert 8 * facts["remainder_bytes"] == costs.remainders == 8 * header.remainder_bytes > 0
    parts = [key for key in facts if key.endswith("bits_per_dim")]
    overhead = [key for key in parts if key.split("_")[0] not in ("bits", "net", "remainder")]
    overhead.remove("overhead_bits_per_dim")
    total = sum(facts[key] for key in overhead)
    assert math.isclose(total, facts["overhead_bits_per_dim"], abs_tol=1e-12)


@settings(max_examples=8)
@given(
    height=st.integers(17, 34),
    width=st.integers(17, 34),
    mode=st.sampled_from(sorted(DEEP)),
    depth=st.builds(Depth, st.integers(8, 16), st.sampled_from([REPLICATED, SCALED])),
)
def test_files_of_any_size_and_depth(tiny_model, photograph, height, width, mode, depth):
    """Files under the prior, decoded; the fewest bits are found, whatever spread them."""
    image = of_mode(mode, height, width, photograph)
    channels = image.samples.size // (height * width)
    numbers = deep_photograph(photograph, height, width, 1, depth.bits).repeat(channels, 2)
    numbers[0, 0] = 2**depth.bits - 1
    image = replace(image, samples=depth.samples(numbers).reshape(image.samples.shape))
    with pytest.MonkeyPatch.context() as patch:
        data = forced([image], tiny_model, patch)
    assert same(decode_image(data, model=tiny_model), image)
    (deep,) = container.read_header(data).depths
    assert deep.depth.bits <= depth.bits and deep.depth == image.depth


def test_remainders_are_the_credit(tiny_model, photograph, monkeypatch):
    """A 16-bit image begins without a start block; 8 bits in 16 cost what 8 bits do."""
    numbers = deep_photograph(photograph, 64, 64, 3, 16)
    data = forced([ImageData("RGB;16", numbers)], tiny_model, monkeypatch)
    assert container.read_header(data).start == (0, 0, 0)
    coarse = (numbers >> 8).astype(np.uint8)
    plain = forced([ImageData("RGB", coarse)], tiny_model, monkeypatch)
    wide = ImageData("RGB;16", coarse.astype(np.uint16) * 257)
    data = forced([wide], tiny_model, monkeypatch)
    assert container.read_header(data).depths == [Deep(Depth(8, 257), 0)]
    assert abs(len(data) - len(plain)) < 16 and same(decode_image(data, model=tiny_model), wide)


def test_archives_hold_8_and_16_bits(tiny_model, photograph, monkeypatch):
    """One stack for all of them; each has its own depth."""
    images = [of_mode(mode, 24, 16, photograph) for mode in ("RGB", "I;16", "RGB;16", "L")]
    deep = deep_photograph(photograph, 24, 16, 3, 14)
    images[2] = replace(images[2], samples=deep)
    data = forced(images, tiny_model, monkeypatch, archive=True)
    from bitsback.codecs.decoder import decode_images

    header, back = decode_images(data, model=tiny_model)
    found = {entry.name: one for entry, one in zip(header.entries, back)}
    assert all(same(found[f"{i}.png"], one) for i, one in enumerate(images))


def test_damaged_remainders(tiny_model, photograph, monkeypatch):
    """Depths, lengths, parameters and words that are none, behind a right CRC."""
    numbers = deep_photograph(photograph, 32, 32, 3, 12)
    data = forced([ImageData("RGB;16", numbers)], tiny_model, monkeypatch)
    header, payload = container.read(data)
    (deep,) = header.depths
    wrong = [
        b"",
        b"\2",
        bytes([2, 7]),
        bytes([2, 17]) + b"\1",
        pack([deep]) + b"\0",
        pack([Deep(Depth(12, 2**15), deep.remainder_bytes)]),
        pack([Deep(Depth(13, 1), deep.remainder_bytes)]),
        pack([Deep(Depth(12, 2), deep.remainder_bytes)]),
        pack([Deep(Depth(8, 1), 0)]),
        pack([Deep(deep.depth, deep.remainder_bytes - 4)]),
        pack([Deep(deep.depth, deep.remainder_bytes + 4)]),
        pack([Deep(deep.depth, header.credit_bytes + 1)]),
        pack([Deep(deep.depth, 2**40)]),
    ]
    for section in wrong:
        sections = {**header.sections, int(Tag.DEPTH): section}
        sections = {tag: body for tag, body in sections.items() if body}
        with pytest.raises(DamagedFile):
            decode_image(
                container.write(replace(header, sections=sections), payload), model=tiny_model
            )
            pytest.fail(f"decoded with {section}")
    plain = forced([ImageData("RGB", photograph(32, 32))], tiny_model, monkeypatch)
    header, payload = container.read(plain)
    sections = {**header.sections, int(Tag.DEPTH): pack([deep])}
    with pytest.raises(DamagedFile):
        container.read(container.write(replace(header, sections=sections), payload))


def test_damaged_parameters(gaussians, photograph):
    """Every byte cut or altered is damage or other numbers, never another error."""
    numbers = deep_photograph(photograph, 9, 8, 1, 12)
    data = codec.encode_remainders(numbers, 4, gaussians)
    coarse = (numbers >> 4).astype(np.uint8)
    for end in range(len(data)):
        with pytest.raises(DamagedFile):
            codec.decode_remainders(data[:end], coarse, 4, gaussians)
    same_numbers = 0
    for i in range(len(data)):
        other = data[:i] + bytes([data[i] ^ 65]) + data[i + 1 :]
        try:
            back = codec.decode_remainders(other, coarse, 4, gaussians)
        except DamagedFile:
            continue
        same_numbers += np.array_equal(back, numbers)
    assert same_numbers <= 44  # deviations of contexts that no sample has


def test_parameters_come_back():
    """The largest and smallest weights and deviations; one beyond is refused."""
    weights = np.array([[[-4096, 4096, 0, 1]]] * 4)
    deviations = np.array([[[0, 31] * 11]] * 2)
    told = model.Parameters(weights, deviations)
    back = model.Parameters.read(Reader(told.to_bytes()), 1)
    assert np.array_equal(back.weights, weights) and np.array_equal(back.deviations, deviations)
    for wrong in (told._replace(weights=weights + 1), told._replace(deviations=deviations + 1)):
        with pytest.raises(DamagedFile):
            model.Parameters.read(Reader(wrong.to_bytes()), 1)


def test_the_fallback_codec_is_taken_where_it_is_smaller(tiny_model, photograph):
    """With random weights the prior loses: no stack, and the file is not larger for the trial."""
    image = ImageData("RGB;16", deep_photograph(photograph, 64, 64, 3, 16))
    data = encode_image(image, model=tiny_model)
    assert mode_decision.prior_possible(image) and not container.read_header(data).model
    assert same(decode_image(data), image)
