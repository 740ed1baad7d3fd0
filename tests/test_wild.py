"""wild.py: its JPEG against Pillow's, and the properties of each other step."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.train import wild

GENERATOR = torch.Generator().manual_seed(3)
QUALITIES = (60, 85, 92, 98)


@pytest.fixture(scope="module")
def x():
    """(4, 3, 64, 64) of a photograph, gray levels."""
    pixels = np.array(Image.open(Path(__file__).parent / "images/kodim23_crop.png").convert("RGB"))
    parts = [pixels[top : top + 64, left : left + 64] for top in (16, 80) for left in (32, 120)]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float()


def by_pillow(x, quality, halved):
    """The same through libjpeg."""
    found = []
    for one in x.permute(0, 2, 3, 1).byte().numpy():
        out = io.BytesIO()
        Image.fromarray(one).save(out, "JPEG", quality=quality, subsampling=2 if halved else 0)
        found.append(np.array(Image.open(out)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("quality", QUALITIES)
def test_jpeg_is_as_libjpegs(x, quality, halved):
    """Whole numbers, near to those of libjpeg, which has its own transform and interpolation."""
    each = torch.full((4,), float(quality))
    made = wild.jpeg(x, each, torch.full((4,), halved), torch.zeros(2, 4, dtype=torch.long))
    assert torch.equal(made, made.round()) and made.min() >= 0 and made.max() <= 255
    theirs = by_pillow(x, quality, halved)
    assert (made - theirs).abs().mean() < 0.9 and (made - theirs).square().mean() < 1.9
    ours, others = ((some - x).square().mean() for some in (made, theirs))
    assert 0.85 * others < ours < 1.05 * others


def test_where_a_unit_begins(x):
    """An image that begins inside a coded unit equals that part of a larger one, off the seam."""
    whole, none = x[:1], torch.zeros(2, 1, dtype=torch.long)
    quality, full = torch.tensor([70.0]), torch.tensor([False])
    larger = wild.jpeg(whole, quality, full, none)
    part = whole[:, :, 5:53, 11:59]
    made = wild.jpeg(part, quality, full, torch.tensor([[11], [5]]))
    there = larger[:, :, 5:53, 11:59]
    assert torch.equal(made[:, :, 11:43, 5:37], there[:, :, 11:43, 5:37])


def test_enlarging(x):
    """Factor 1 changes nothing; factor 2 fills the image with the middle; constant images stay."""
    assert torch.allclose(wild.enlarged(x, torch.ones(4)), x, atol=1e-3)
    twice = wild.enlarged(x, torch.full((4,), 2.0))
    middle = torch.nn.functional.interpolate(
        x[:, :, 16:48, 16:48], scale_factor=2.0, mode="bilinear"
    )
    assert torch.allclose(twice[:, :, 2:-2, 2:-2], middle[:, :, 2:-2, 2:-2], atol=1e-2)


def test_noise_has_its_level():
    """At middle gray: the given standard deviation, equal in all colours where asked."""
    flat, noise = (
        torch.full((2, 3, 128, 128), 128.0),
        torch.randn(2, 3, 128, 128, generator=GENERATOR),
    )
    smooth, gray = torch.tensor([False, True]), torch.tensor([True, False])
    made = wild.with_sensor_noise(flat, torch.full((2,), 4.0), smooth, gray, noise) - 128
    assert torch.equal(made[0, 0], made[0, 2]) and not torch.equal(made[1, 0], made[1, 2])
    assert 3.5 < made[0].std() < 4.5 and 2.0 < made[1].std() < 4.5
    neighbours = (made[:, :, :, 1:] * made[:, :, :, :-1]).mean((1, 2, 3)) / made.var((1, 2, 3))
    assert neighbours[0].abs() < 0.05 and neighbours[1] > 0.3


def test_a_share_went_through_it(x):
    """Whole gray levels; none, about the share, or nearly all change, the others do not."""
    many = x.repeat(25, 1, 1, 1)
    uniform = torch.rand(wild.DRAWS_PER_PATCH + 1, 100, generator=GENERATOR)
    noise = torch.randn(many.shape, generator=GENERATOR)
    shares = []
    for share in (0.0, 0.25, 1.0):
        made = wild.some_in_the_wild(many, uniform, noise, share)
        assert torch.equal(made, made.round()) and made.min() >= 0 and made.max() <= 255
        changed = (made != many).flatten(1).any(1)
        assert not changed[uniform[-1] >= share].any()
        shares.append(changed.float().mean().item())
    assert shares[0] == 0 and 0.1 < shares[1] < 0.35 and shares[2] > 0.8
