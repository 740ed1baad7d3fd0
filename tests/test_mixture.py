"""mixture.py: patches of several folders, without a size that depends on a random number."""

import numpy as np
import pytest
import torch
from PIL import Image

from bitsback.errors import TrainingError
from bitsback.train import mixture
from bitsback.train.mixture import (
    Augment,
    Images,
    Mixture,
    Source,
    load_images,
    read_images,
    save_images,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, photograph):
    """Folder a: images 0 to 4 by name, of which 1 is no image; folder b: one image; text beside."""
    root = tmp_path_factory.mktemp("sources")
    for name in ("a", "b"):
        (root / name).mkdir()
    for k in (0, 2, 3, 4):
        Image.fromarray(photograph(48, 40 + k, k)).save(root / "a" / f"{k}.png")
    (root / "a" / "1.png").write_bytes(b"")
    (root / "a" / "0.txt").write_text("about")
    Image.fromarray(photograph(32, 32, 9)).save(root / "b" / "x.webp", lossless=True)
    return root


def test_images_are_held_out_by_name(folders, photograph):
    """Every second name of a: images 0, 2 and 4; an empty file counts, text does not."""
    images = read_images([Source(folders / "a", 0.25, 2), Source(folders / "b", 0.75)], 32)
    assert images.sizes.tolist() == [[48, 43], [32, 32]]
    assert torch.equal(
        images.pixels[: 48 * 43].view(48, 43, 3), torch.tensor(photograph(48, 43, 3))
    )
    assert torch.allclose(images.odds, torch.tensor([0.25, 0.75]).double())
    assert [len(crops) for crops in images.held] == [3, 0]
    centre = photograph(48, 40, 0)[8:40, 4:36].transpose(2, 0, 1)
    assert torch.equal(images.held[0][0], torch.tensor(centre.copy()))


def test_smooth_images_are_drawn_more_often(tmp_path, photograph):
    """As their pixels times the inverse of their bits, within a source's share; not without end."""
    busy = np.random.default_rng(1).integers(0, 256, (32, 64, 3), np.uint8)
    images = {"busy": busy, "flat": busy[:, :32] * 0, "smooth": photograph(32, 32, 1)}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    source = Source(tmp_path, 0.5, weight="inverse bits")
    odds = read_images([source, Source(tmp_path, 0.5)], 32).odds
    assert odds[:3].sum() == pytest.approx(0.5)
    expected = [2 / 8, 1 / mixture.LEAST_BITS, 1 / mixture.webp_bits(images["smooth"])]
    assert odds[:3].numpy() == pytest.approx(0.5 * np.array(expected) / sum(expected), rel=0.1)
    assert odds[3:].tolist() == pytest.approx([0.25, 0.125, 0.125])
    with pytest.raises(TrainingError, match="inverse bytes"):
        Source(tmp_path, weight="inverse bytes")


def test_images_travel_in_a_file(folders, tmp_path):
    images = read_images([Source(folders / "a", 1, 2)], 32)
    save_images(images, tmp_path / "images.pt")
    back = load_images(tmp_path / "images.pt")
    for name in ("pixels", "sizes", "odds"):
        assert torch.equal(getattr(back, name), getattr(images, name))
    assert torch.equal(back.held[0], images.held[0])


def test_a_folder_without_an_image_large_enough_is_refused(folders):
    with pytest.raises(TrainingError, match="64x64"):
        read_images([Source(folders / "a")], 64)


def one_image(side=40):
    """Images of one image whose pixel (r, c) has the colour (r, c, r + c)."""
    row, column = np.mgrid[:side, :side]
    pixels = np.stack([row, column, row + column], 2).astype(np.uint8)
    flat = torch.from_numpy(pixels).view(-1, 3)
    return Images(flat, torch.tensor([[side, side]]), torch.ones(1).double(), [])


def test_patches_are_places_of_the_image():
    """Without augmentation: neighbours stay neighbours, turned in all eight ways, at all places."""
    torch.manual_seed(1)
    x = Mixture(one_image(), 8, "cpu", Augment(0, 0)).batch(2000) + 128
    rows, columns = x[:, 0], x[:, 1]
    assert torch.equal(x[:, 2], rows + columns)
    down = (rows[:, 1, 0] - rows[:, 0, 0], columns[:, 1, 0] - columns[:, 0, 0])
    across = (rows[:, 0, 1] - rows[:, 0, 0], columns[:, 0, 1] - columns[:, 0, 0])
    turns = {tuple(map(int, turn)) for turn in zip(*down, *across)}
    assert len(turns) == 8 and all(sorted(map(abs, turn)) == [0, 0, 1, 1] for turn in turns)
    corners = rows.flatten(1).amin(1), columns.flatten(1).amin(1)
    assert [c.min() for c in corners] == [0, 0] and [c.max() for c in corners] == [32, 32]


@pytest.mark.parametrize("halved, wild, changed", [(0.25, 0, 4), (0, 0.25, 4), (0.25, 0.25, 8)])
def test_a_share_of_every_batch_is_augmented(monkeypatch, halved, wild, changed):
    """As many patches as asked for, whole numbers, are those that changed."""
    monkeypatch.setattr(mixture, "chroma_halved", lambda x, kind: x * 0 + 254)
    monkeypatch.setattr(mixture, "in_the_wild", lambda x, uniform, noise, odds: x * 0 + 255)
    x = Mixture(one_image(), 16, "cpu", Augment(halved, wild)).batch(16) + 128
    values = [int((x == value).flatten(1).all(1).sum()) for value in (254, 255)]
    assert values == [round(16 * halved), round(16 * wild)] and sum(values) == changed


def test_augmented_patches_are_whole_gray_levels():
    x = Mixture(one_image(), 16, "cpu").batch(32) + 128
    assert torch.equal(x, x.round()) and x.min() >= 0 and x.max() <= 255
