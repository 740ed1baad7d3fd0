"""Tuning of a model's biases to images: it pays or returns None; tuned files are smaller."""

import numpy as np
import pytest
import torch

from bitsback.codecs import checksums, decode_image, encode_image, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.image import ImageData
from bitsback.diffusion.levels import sigmas
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS
from bitsback.errors import TrainingError
from bitsback.integer import bias_updates
from bitsback.train.dequantise import dequantised
from bitsback.train.measure import bound_bits
from bitsback.tune import family, tuning
from bitsback.tune.family import FloatFamily
from bitsback.tune.patches import ALIGNMENT, ImagePatches

STEPS = 29  # for an image of family.REFERENCE_PIXELS pixels: about 12 for these


@pytest.fixture(scope="module", params=["colour", "gray"])
def large(request, photograph):
    return photograph(256, 264) if request.param == "colour" else photograph(320, 320)[..., :1]


@pytest.fixture(scope="module")
def updates(tiny_model, large):
    return tuning.tune(tiny_model, [large], STEPS)


def test_the_bound_falls(tiny_model, large, updates):
    """For the whole image, under the coder's integers, by more than the updates cost."""
    x = torch.from_numpy(large).permute(2, 0, 1)[None].float().expand(-1, 3, -1, -1) - 128
    gray = torch.tensor([large.shape[2] == 1])
    before, after = (
        sum(
            bound_bits(
                dequantised(layers, tiny_model.config, sigmas(tiny_model.levels)),
                tiny_model.levels,
                x,
                True,
                gray=gray,
            )
        )
        for layers in (tiny_model.layers, bias_updates.updated_layers(tiny_model.layers, updates))
    )
    assert (
        updates.dtype == np.int32
        and len(updates) == bias_updates.count(tiny_model.layers)
        and np.abs(updates).max() <= bias_updates.MAX_UPDATE
    )
    assert (
        (before - after) * large.size
        > tuning.update_bits(tiny_model, tiny_model.experts, updates)
        > 0
    )


def test_the_file_is_smaller_and_decodes(tiny_model, large, updates, monkeypatch):
    """Also for a turned image, tuned as it is coded: with a corner brought to the top left."""
    monkeypatch.setattr(prior_codec, "_busiest_corner", lambda pixels: 3)
    image = ImageData("RGB", large) if large.shape[2] == 3 else ImageData("L", large[..., 0])
    header = Header(
        (Entry(large.shape[1], large.shape[0], mode=image.mode),),
        checksums.file_digest([image], b""),
    )
    plain, own = (
        container.write(*prior_codec.encode_stack([large], header, tiny_model, tuning=steps))
        for steps in (0, STEPS)
    )
    assert not container.read_header(plain).section(Tag.BIAS_UPDATES) and container.read_header(
        own
    ).section(Tag.BIAS_UPDATES)
    assert len(own) < len(plain) and np.array_equal(
        decode_image(own, model=tiny_model).samples, image.samples
    )


def test_the_same_twice(tiny_model, large, updates):
    assert np.array_equal(tuning.tune(tiny_model, [large], STEPS), updates)


@pytest.mark.parametrize(
    "state", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", enabled=False)]
)
def test_whatever_the_callers_state(tiny_model, large, updates, state):
    """No gradients, another default type; random numbers are the caller's own."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with state():
            assert np.array_equal(tuning.tune(tiny_model, [large], STEPS), updates)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_reaches_the_end(tiny_model, large, monkeypatch):
    """One report a step, rising to 1; in a whole encoding it goes on from there."""
    seen, all_seen = [], []
    tuning.tune(tiny_model, [large], 7, progress=seen.append)
    assert len(seen) == tuning.steps_for(
        large.shape[0] * large.shape[1], 7
    ) > 2 and seen == pytest.approx([(i + 1) / len(seen) for i in range(len(seen))])
    header = Header(
        (Entry(large.shape[1], large.shape[0], mode="RGB" if large.shape[2] == 3 else "L"),),
        pixel_digest([large]),
    )
    prior_codec.encode_stack([large], header, tiny_model, progress=all_seen.append, tuning=7)
    assert (
        all_seen == sorted(all_seen)
        and 0 < all_seen[0] < prior_codec.TUNING_SHARE
        and all_seen[-1] == pytest.approx(1, abs=0.05)
    )


@pytest.mark.parametrize(
    "shape, steps", [((256, 264), 0), ((200, 200), 30), ((5000, 14), 30)], ids=str
)
def test_what_is_not_tuned(tiny_model, photograph, shape, steps):
    """No steps, an image too small for tuning to pay, one too narrow for any patch."""
    assert tuning.tune(tiny_model, [photograph(*shape)], steps) is None


def test_updates_that_do_not_pay_are_dropped(tiny_model, large, monkeypatch):
    """Steps that move next to nothing gain less than the scales of the updates cost."""
    monkeypatch.setattr(family, "LEARNING_RATE", 1e-9)
    assert tuning.tune(tiny_model, [large], 2) is None


def test_updates_that_a_decoder_refuses_are_dropped(tiny_model, large, monkeypatch):
    """A run that ends in NaN, or in biases that could overflow."""
    with monkeypatch.context() as patch:
        patch.setattr(family, "LEARNING_RATE", float("nan"))
        assert tuning.tune(tiny_model, [large], 2) is None
    with monkeypatch.context() as patch:
        patch.setattr(
            bias_updates,
            "prove_exact",
            lambda layers: (_ for _ in ()).throw(TrainingError("a sum")),
        )
        assert tuning.tune(tiny_model, [large], 2) is None


def test_patches_are_of_the_images_on_the_grid(photograph):
    """The largest side that most pixels fit; of smaller patches more, for as many pixels."""
    images = [photograph(64, 96, 1), photograph(40, 40, 2)]
    sampler = ImagePatches(images, "cpu", 0)
    x, gray, weight = sampler.batch()
    assert not gray.any() and (weight == 1).all()
    for patch in x.permute(0, 2, 3, 1).numpy() + 128:
        assert patch.shape == (64, 64, 3) and any(
            np.array_equal(patch, images[0][:, j : j + 64]) for j in range(0, 33, ALIGNMENT)
        )
    many = [photograph(32, 33, seed) for seed in range(9)]
    assert ImagePatches([*many, images[0]], "cpu", 0).batch()[0].shape == (32, 3, 32, 32)
    x, gray, _ = ImagePatches([images[0], images[0][..., :1]], "cpu", 0).batch()
    assert 0 < gray.sum() < len(x) and torch.equal((x == x[:, :1]).flatten(1).all(1), gray)


def test_steps_grow_with_the_image(tiny_model, photograph, monkeypatch):
    """With the root of the size, up to a limit: counted, not run."""
    monkeypatch.setattr(
        FloatFamily, "bound", lambda self, batch, generator, moves=None: self.flat().sum() * 0
    )
    for shape, expected in (
        ((256, 264), 4),
        ((400, 1000), 10),
        ((1265, 1265), 20),
        ((4000, 4000), 40),
    ):
        seen = []
        tuning.tune(tiny_model, [np.zeros((*shape, 3), np.uint8)], 10, progress=seen.append)
        assert len(seen) == expected


def test_small_images_of_one_file_are_tuned_together(tiny_model, photograph):
    """An archive's stack has one set of bias updates."""
    images = [photograph(48, 56, seed) for seed in range(30)]
    assert tuning.tune(tiny_model, images, 18) is not None


def test_encode_still_tunes_where_asked(tiny_model, photograph, monkeypatch):
    """As many steps as given, by default those of the default effort."""
    asked = []
    monkeypatch.setattr(prior_codec, "tune", lambda model, images, steps, **_: asked.append(steps))
    for options in ({}, {"tuning": 0}, {"tuning": 7}):
        encode_image(ImageData("RGB", photograph(64, 64)), model=tiny_model, **options)
    assert asked == [EFFORTS[DEFAULT_EFFORT].tuning, 0, 7]


def test_side_information_does_not_count(tiny_model, photograph):
    """Samples outside the mask add nothing to the bound; a patch of them alone moves no bias."""
    pixels = photograph(256, 264)
    sampler = ImagePatches([pixels], "cpu", 0, [np.zeros(pixels.shape, bool)])
    moved = FloatFamily(tiny_model.experts, tiny_model.levels, pixels.size // 3, "cpu")
    moved.bound(sampler.batch(), torch.Generator().manual_seed(0)).backward()
    assert not any(moves.grad.any() for moves in moved.moves.values())
    half = np.zeros(pixels.shape, bool)
    half[:128] = True
    assert torch.equal(
        ImagePatches([pixels], "cpu", 0, [half]).batch()[0],
        sampler.__class__([pixels], "cpu", 0).batch()[0],
    )
    assert 0 < ImagePatches([pixels], "cpu", 0, [half]).batch()[2].mean() < 1


@pytest.mark.parametrize("total", [70_000, 400_000, 10**8])
def test_steps_that_updates_are_stored_in(tiny_model, total):
    """Moves survive storage to half a step, finer for larger images; every layer has a fineness."""
    names = sorted(tiny_model.layers)
    assert all(
        name.split(".")[0] in family.FINENESS
        or f"{name.split('.')[0]}.{name[-1]}" in family.FINENESS
        for name in names
    )
    coarse = [family.storage_exponent(name, total) for name in names]
    assert all(0 <= c < bias_updates.COARSENESS for c in coarse) and all(
        c <= d
        for c, d in zip(coarse, (family.storage_exponent(name, total // 16) for name in names))
    )
    moved = FloatFamily(tiny_model.experts, tiny_model.levels, total, "cpu")
    moves = torch.from_numpy(
        np.random.default_rng(0).normal(0, 9, bias_updates.count(tiny_model.layers))
    )
    updates = moved.stored(moves)
    assert all(
        not np.any(part % 2**c)
        for c, part in zip(coarse, bias_updates.split(updates, tiny_model.layers).values())
    )
    assert (torch.cat(list(moved.moves_of(updates).values())) - moves).abs().max() < 0.51
