"""Bias updates of a model: their codec, what they change, what is refused, files with them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans.stack import Stack
from bitsback.codecs import decode, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.borders import border_bits
from bitsback.codecs.io import files
from bitsback.diffusion.levels import sigmas
from bitsback.errors import DamagedFile
from bitsback.integer import bias_updates
from bitsback.integer.convolution import Layer
from bitsback.sampling.preview import preview
from bitsback.train.dequantise import dequantised, real_scales
from bitsback.train.quantised import QConv
from tests import numpy_decoder as yardstick
from tests.side_information import grids


def some_differences(model, size=4.0, seed=0):
    """Whole numbers of a Gaussian with sd `size`."""
    return (
        np.rint(np.random.default_rng(seed).normal(0, size, bias_updates.count(model.layers)))
        .astype(np.int32)
        .clip(-bias_updates.MAX_UPDATE, bias_updates.MAX_UPDATE)
    )


@pytest.fixture(scope="module")
def tuned_file(tiny_model, photograph):
    """(file's bytes, its pixels, the deltas it carries)."""
    pixels, updates = photograph(72, 88), some_differences(tiny_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_codec, "tune", lambda *_, **__: updates)
        header = Header((Entry(88, 72),), pixel_digest([pixels]))
        return (
            container.write(*prior_codec.encode_stack([pixels], header, tiny_model, tuning=1)),
            pixels,
            updates,
        )


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 3.0, 60.0]))
def test_what_is_pushed_is_popped(tiny_model, seed, size):
    """Any updates come back and leave the stack as it was."""
    updates, codec, stack = (
        some_differences(tiny_model, size, seed),
        tiny_model.update_codec,
        Stack(b"what lay there before"),
    )
    before = stack.to_words()
    codec.push(stack, updates)
    assert np.array_equal(codec.pop(stack), updates) and stack.to_words() == before


def test_they_cost_what_their_sizes_say(tiny_model):
    """Close to nothing where they are zero; about their entropy where they are Gaussian."""
    count, layers = bias_updates.count(tiny_model.layers), len(tiny_model.layers)
    for size, least, most in (
        (0.0, 0, 10 * layers + 32),
        (4.0, 3.7 * count, 4.6 * count + 10 * layers),
    ):
        stack = Stack(bytes(8))
        before = stack.size_bits
        tiny_model.update_codec.push(stack, some_differences(tiny_model, size))
        assert least <= stack.size_bits - before <= most


def test_biases_move_and_nothing_else(tiny_model):
    """Each level's biases move by update * unit.

    In the float twin the unit is 1/256 of an activation's 1.0.
    """
    updates = some_differences(tiny_model)
    moved, parts = (
        bias_updates.updated_layers(tiny_model.layers, updates),
        bias_updates.split(updates, tiny_model.layers),
    )
    twin = dequantised(tiny_model.layers, tiny_model.config, sigmas(tiny_model.levels))
    assert list(moved) == list(tiny_model.layers) and {
        n for n, m in twin.named_modules() if isinstance(m, QConv)
    } == set(moved)
    for name, layer in tiny_model.layers.items():
        assert torch.equal(moved[name].weight, layer.weight) and torch.equal(
            moved[name].shift, layer.shift
        )
        units = bias_updates.update_units(name, layer)
        assert torch.equal(
            moved[name].bias - layer.bias,
            (torch.from_numpy(parts[name]) * units).to(torch.int32).expand_as(layer.bias),
        )
        real = units * real_scales(name, layer)[1]
        # exact but for channels of weights so small that the unit would not fit, and the scales'
        # unit, a power of two near 1/64
        shares = real[(layer.shift + 2 < bias_updates.FARTHEST) & (layer.shift >= 3)] * 256
        assert ((shares > 0.6) & (shares < 1.5)).all() and (
            name == "last" or name.startswith("head_out") or (shares == 1).all()
        )


def test_sums_that_could_overflow_are_refused(tiny_model):
    layer = tiny_model.layers["head_known"]
    full = Layer(layer.weight, torch.full_like(layer.bias, 2**24 - 2**12), layer.shift)
    with pytest.raises(DamagedFile, match="tuned"):
        bias_updates.updated_layers(
            tiny_model.layers | {"head_known": full},
            np.zeros(bias_updates.count(tiny_model.layers), np.int32),
        )


def test_an_update_out_of_range_is_refused(tiny_model):
    """What no encoder writes: 129 under the widest scale, which escapes."""
    stack, updates = Stack(bytes(8)), some_differences(tiny_model, 0.0)
    updates[-1] = bias_updates.MAX_UPDATE + 2
    tiny_model.update_codec.push(stack, updates)
    with pytest.raises(DamagedFile, match="range"):
        tiny_model.update_codec.pop(stack)


def test_a_scale_out_of_range_is_refused(tiny_model):
    stack = Stack(bytes(8))
    stack.push_uniform(np.array([113]), 128)
    stack.push_uniform(np.array([0]), 8)
    stack.push_uniform(np.array([1]), 2)
    with pytest.raises(DamagedFile, match="scale"):
        tiny_model.update_codec.pop(stack)


def test_a_tuned_file_decodes(tiny_model, tuned_file):
    data, pixels, _ = tuned_file
    assert container.read_header(data).section(Tag.BIAS_UPDATES) and np.array_equal(
        decode(data, model=tiny_model), pixels
    )


def test_a_tuned_file_decodes_by_the_document(tiny_model, tuned_file):
    """ARITHMETIC.md, section 9, in numpy: equal own_stack, pixels and largest sums."""
    data, pixels, updates = tuned_file
    header, payload = container.read(data)
    model, lanes = yardstick.Model(tiny_model.path.read_bytes()), yardstick.Lanes(payload)
    own_stack = yardstick.Stack(header.section(Tag.BIAS_UPDATES))
    theirs = yardstick.pop_deltas(model, own_stack)
    assert own_stack.credit(1) == b"\1"
    assert np.array_equal(np.concatenate([theirs[name] for name in sorted(theirs)]), updates)
    assert yardstick.tune(model, theirs) < 2**24
    means = grids(header.section(Tag.BLOCK_MEANS), header.sizes)
    images = yardstick.decode(
        model,
        lanes,
        header.sizes,
        header.start,
        header.segments,
        header.top,
        sharpness=header.sharpness,
        means=means,
    )
    turned = pixels[:: -1 if header.flips & 2 else 1, :: -1 if header.flips & 1 else 1]
    rows, columns = header.start[1:]
    got = images[0]
    got[:rows, :columns] = turned[:rows, :columns]  # the start lies in the credit
    assert (
        np.array_equal(got, turned)
        and len(lanes.credit(header.credit_bytes)) == header.credit_bytes
    )


def with_updates(header, payload, data):
    """The same file with other bytes as its bias updates."""
    sections = {**header.sections, int(Tag.BIAS_UPDATES): data}
    return container.write(dataclasses.replace(header, sections=sections), payload)


def test_without_its_bias_updates_a_file_is_damaged(tiny_model, tuned_file):
    """They are needed: a file that has lost them is found out by a checksum, not by luck."""
    header, payload = container.read(tuned_file[0])
    sections = {tag: data for tag, data in header.sections.items() if tag != Tag.BIAS_UPDATES}
    with pytest.raises(DamagedFile):
        decode(
            container.write(dataclasses.replace(header, sections=sections), payload),
            model=tiny_model,
        )


def test_bias_updates_that_are_none(tiny_model, tuned_file, prior_file, photograph):
    """Words too few, too many, altered, or of another file; and where there is no stack."""
    header, payload = container.read(tuned_file[0])
    words = header.section(Tag.BIAS_UPDATES)
    for wrong in (words[:-4], words + bytes([1, 0, 0, 0]), words[4:], b"\1\0\0\0", words[:-1]):
        with pytest.raises(DamagedFile):
            decode(with_updates(header, payload, wrong), model=tiny_model)
    untuned = container.read(prior_file(photograph(56, 56)))
    with pytest.raises(DamagedFile):
        decode(with_updates(*untuned, words), model=tiny_model)
    plain = container.Header((Entry(1, 1),), bytes(4), sections={int(Tag.BIAS_UPDATES): words})
    with pytest.raises(DamagedFile, match="no stack"):
        container.read(container.write(plain, b"\5\x08\1\0\2\x4e\xcc\x40\0"))


def test_info_preview_and_borders_of_a_tuned_file(tiny_model, tuned_file, tmp_path, monkeypatch):
    """`info` prints their size; previews and border costs use the tuned network."""
    data, pixels, _ = tuned_file
    (tmp_path / "t.bbk").write_bytes(data)
    facts = files.describe(tmp_path / "t.bbk")
    header = container.read_header(data)
    assert (
        facts["tuned_bytes"] == len(header.section(Tag.BIAS_UPDATES))
        and facts["tuned_bits_per_dim"] == 8 * len(header.section(Tag.BIAS_UPDATES)) / header.dims
    )
    total = sum(
        facts[f"{part}_bits_per_dim"]
        for part in ("header", "start", "tuned", "flat", "mean", "rest")
    )
    assert total == pytest.approx(facts["overhead_bits_per_dim"])
    whole, first = (preview(data, model=tiny_model, segments=count) for count in (2, 1))
    assert first.known.any() and np.array_equal(
        whole.pixels[first.known], pixels[first.known]
    )  # of two segments the first is decoded to its end
    assert 0 < abs(border_bits(data, model=tiny_model)) < 0.2 * header.net_bits


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(0, bias_updates.COARSENESS - 1))
def test_coarser_updates_cost_less(tiny_model, seed, coarse):
    """Multiples of 2^c are stored as multiples, for the bits of the quotients."""
    updates, codec, sizes = some_differences(tiny_model, 3.0, seed), tiny_model.update_codec, []
    for part in bias_updates.split(updates, tiny_model.layers).values():
        part[0] = 1  # odd: so that nothing coarser would do
    for values in (updates, updates << coarse):
        stack = Stack(bytes(8))
        codec.push(stack, values)
        sizes.append(stack.size_bits)
        assert np.array_equal(codec.pop(stack), values)
    assert sizes[0] == sizes[1]
