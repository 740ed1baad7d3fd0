"""Colours at half resolution as decoders leave them, and gray patches."""

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.train.augment import chroma_halved, gray, some_gray, some_halved


@pytest.fixture(scope="module")
def x(photograph):
    return (
        torch.from_numpy(np.stack([photograph(32, 48, seed) for seed in range(4)]))
        .permute(0, 3, 1, 2)
        .float()
    )


def chroma(x):
    """(N, 2, H, W): Cb and Cr by Pillow."""
    images = [
        np.array(Image.fromarray(one.permute(1, 2, 0).byte().numpy()).convert("YCbCr")) for one in x
    ]
    return np.stack(images)[..., 1:].transpose(0, 3, 1, 2).astype(float)


@pytest.mark.parametrize(
    "kind, across, repeats",
    [(0, True, False), (1, True, True), (2, False, False), (3, False, True)],
)
def test_halved_colours(x, kind, across, repeats):
    """Whole numbers of 0..255 with the same luminance.

    The colour differences of each block keep their mean; where samples are repeated they are equal.
    """
    y = chroma_halved(x, torch.full((4,), kind))
    assert torch.equal(y, y.round()) and y.min() >= 0 and y.max() <= 255 and y.shape == x.shape
    assert (gray(y) - gray(x)).abs().max() <= 2
    before, after = chroma(x), chroma(y)
    rows = 2 if across else 1
    means = lambda c: c.reshape(4, 2, 32 // rows, rows, 24, 2).mean((3, 5))  # noqa: E731
    spread = np.ptp(after.reshape(4, 2, 32 // rows, rows, 24, 2), (3, 5)).max()
    if repeats:
        assert np.abs(means(after) - means(before)).max() <= 2 and spread <= 2
    else:
        assert np.abs(means(after) - means(before)).mean() <= 2 and spread > 2
    assert np.diff(after, axis=3).std() < np.diff(before, axis=3).std()


def test_kinds_are_a_patch_each(x):
    """Every patch of a batch has its own kind."""
    mixed = chroma_halved(x, torch.arange(4))
    assert all(
        torch.equal(mixed[k], chroma_halved(x[k : k + 1], torch.tensor([k]))[0]) for k in range(4)
    )


def test_a_share_is_halved(x):
    """None, all, or about the share; the others are untouched."""
    many, uniform = (
        x.repeat(50, 1, 1, 1),
        torch.rand(2, 200, generator=torch.Generator().manual_seed(1)),
    )
    changed = [
        (some_halved(many, uniform, share) != many).flatten(1).any(1) for share in (0.0, 0.25, 1.0)
    ]
    assert (
        not changed[0].any()
        and 0.17 < changed[1].float().mean() < 0.33
        and changed[2].all()
        and (changed[1] == (uniform[0] < 0.25)).all()
    )


def test_a_share_is_gray(x):
    """The chosen ones have the luminance of BT.601 three times, the others are unchanged."""
    many = x.repeat(50, 1, 1, 1) - 128
    some, chosen = some_gray(many, torch.Generator().manual_seed(1), 0.25)
    assert 0.17 < chosen.float().mean() < 0.33 and torch.equal(some[~chosen], many[~chosen])
    luma = ((many[chosen] + 128) * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(
        1, keepdim=True
    )
    assert ((some[chosen] + 128 - luma).abs() <= 0.51).all() and torch.equal(
        some[chosen], some[chosen].round()
    )
