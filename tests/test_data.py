"""data.py and reading.py: archives as sequences of images and as data sets."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import bitsback
from bitsback.codecs import Encoder, groups, mode_decision
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.fallback import codec
from bitsback.codecs.fallback.differences import encode_differences
from bitsback.codecs.image import ImageData
from bitsback.data import Archive, ArchiveDataset, GroupBatches
from bitsback.errors import BitsbackError, DamagedFile, InputChanged, UnsupportedImage
from tests.test_groups import damaged

COUNT = 24
DATA = Path(os.environ.get("BITSBACK_DATA", Path(__file__).parents[2] / "shared" / "data"))
CIFAR = DATA / "cifar10" / "cifar10_test_846.npy"


@pytest.fixture(scope="module")
def pixels(photograph):
    """(24, 16, 16, 3) uint8: quarters of CIFAR's images where they are, else of photographs."""
    if CIFAR.is_file():
        return np.load(CIFAR, mmap_mode="r")[:COUNT, 8:24, 8:24].copy()
    return np.stack([photograph(16, 16, i) for i in range(COUNT)])


@pytest.fixture(scope="module")
def path(pixels, tiny_model, tmp_path_factory):
    """An archive of them in four groups, named by number."""
    images = [ImageData("RGB", one) for one in pixels]
    entries = tuple(Entry(16, 16, f"{i:02d}.png") for i in range(COUNT))
    found = tmp_path_factory.mktemp("set") / "set.bbk"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "GROUP_IMAGES", 6)
        patch.setattr(groups, "FEWEST_BYTES", 1)
        patch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
        patch.setattr(mode_decision, "prior_likely", lambda images, *_: [True] * len(images))
        found.write_bytes(groups.encode_groups(images, entries, Encoder(tiny_model)))
    assert len(container.read_groups(found.read_bytes())) == 4
    assert container.read_header(found.read_bytes()).model
    return found


@pytest.fixture
def archive(path, tiny_model):
    return Archive(path, model=tiny_model)


def truth(archive, pixels, number):
    return pixels[int(archive.names[number][:2])]


def test_images_by_number_and_name(archive, pixels):
    """len, names, every image, negative numbers, names, batches in any order."""
    assert bitsback.Archive is Archive and len(archive) == COUNT
    assert sorted(archive.names) == [f"{i:02d}.png" for i in range(COUNT)]
    for i in np.random.default_rng(0).permutation(COUNT):
        assert np.array_equal(archive[i], truth(archive, pixels, i))
    assert np.array_equal(archive[-1], archive[COUNT - 1])
    assert np.array_equal(archive["07.png"], pixels[7])
    assert archive.image(3).mode == "RGB" and archive.entries[3].width == 16
    some = [20, 3, "11.png", -2, 3]
    assert np.array_equal(archive.batch(some), np.stack([archive[i] for i in some]))
    assert len(list(archive)) == COUNT  # a sequence ends with IndexError
    for wrong in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            archive[wrong]
    with pytest.raises(KeyError):
        archive["99.png"]


def test_slices_names_and_what_is_no_index(archive):
    """As of a list of arrays with names."""
    assert [one.tobytes() for one in archive[3:9:2]] == [archive[i].tobytes() for i in (3, 5, 7)]
    assert archive[5:5] == [] and len(archive[-2:]) == 2 and np.int64(3) not in archive
    assert "07.png" in archive and "99.png" not in archive
    assert np.array_equal(archive[np.int64(3)], archive[3])
    for wrong in (1.0, None, [1, 2]):
        with pytest.raises(TypeError, match="integer"):
            archive[wrong]


def test_what_a_caller_changes_is_the_callers(archive, pixels):
    """Arrays, images and tensors are copies of what is kept: work in place reaches no other."""
    dataset = ArchiveDataset(archive)
    archive[3][:] = 0
    archive.image(3).samples[:] = 0
    archive.image(3).metadata["text"] = ()
    archive.batch([3, 4])[:] = 0
    dataset[3].zero_()
    ArchiveDataset(archive, transform=lambda image: image.mul_(0))[3]
    assert np.array_equal(archive[3], truth(archive, pixels, 3))
    assert not archive.image(3).metadata
    assert np.array_equal(dataset[3].permute(1, 2, 0).numpy(), truth(archive, pixels, 3))
    inplace = ArchiveDataset(archive, transform=lambda image: image.div_(2, rounding_mode="floor"))
    assert torch.equal(inplace[3], inplace[3])


def test_groups_are_kept_while_there_is_room(path, tiny_model, monkeypatch):
    """Each group is decoded once with room for all; the least lately used goes first."""
    decoded, decode = [], Archive.decode_group
    monkeypatch.setattr(
        Archive, "decode_group", lambda self, n: decoded.append(n) or decode(self, n)
    )
    archive = Archive(path, model=tiny_model)
    archive.batch(np.random.default_rng(1).permutation(COUNT).tolist())
    for i in range(COUNT):
        archive[i]
    assert sorted(decoded) == [0, 1, 2, 3]
    two = Archive(path, model=tiny_model, cache_bytes=2 * 6 * 16 * 16 * 3)
    decoded.clear()
    for group in (0, 1, 0, 2, 0, 1):
        two[6 * group]
    assert decoded == [0, 1, 2, 1]


def test_archives_of_one_group_and_what_is_none(tiny_model, pixels, tmp_path):
    """A small archive reads alike; one image, and batches of two sizes, are refused."""
    images = [ImageData("RGB", pixels[0]), ImageData("L", pixels[1][:9, :, 0].copy())]
    entries = (Entry(16, 16, "a"), Entry(16, 9, "b", mode="L"))
    (tmp_path / "a.bbk").write_bytes(Encoder(tiny_model).encode_many(images, entries))
    archive = Archive(tmp_path / "a.bbk", model=tiny_model)
    assert len(archive) == 2 and np.array_equal(archive["b"], images[1].samples)
    with pytest.raises(UnsupportedImage, match="several sizes"):
        archive.batch([0, 1])
    assert [one.shape for one in map(ArchiveDataset(archive).__getitem__, (0, 1))] in (
        [(3, 16, 16), (1, 9, 16)],
        [(1, 9, 16), (3, 16, 16)],
    )
    (tmp_path / "b.bbk").write_bytes(Encoder(tiny_model).encode(pixels[0]))
    with pytest.raises(UnsupportedImage, match="b.bbk: one image"):
        Archive(tmp_path / "b.bbk")
    for data, told in ((b"\x8aBBK", "b.bbk: cut short"), (b"other bytes", "b.bbk: not a bitsback")):
        (tmp_path / "b.bbk").write_bytes(data)
        with pytest.raises(BitsbackError, match=told):
            Archive(tmp_path / "b.bbk")


def test_damage_is_met_where_it_is(path, tiny_model, pixels, tmp_path):
    """Images of whole groups are read; those of the damaged one raise, with file and group."""
    (tmp_path / "a.bbk").write_bytes(damaged(path.read_bytes(), 2))
    archive = Archive(tmp_path / "a.bbk", model=tiny_model)
    assert np.array_equal(archive[0], truth(archive, pixels, 0)) and len(archive.names) == COUNT
    with pytest.raises(DamagedFile, match="a.bbk: group 3 of 4"):
        archive[13]
    (tmp_path / "b.bbk").write_bytes(damaged(path.read_bytes(), 1, 25))
    archive = Archive(tmp_path / "b.bbk", model=tiny_model)
    assert archive[0].shape == (16, 16, 3)
    with pytest.raises(DamagedFile, match="b.bbk: group 2 of 4"):
        archive.names


def test_another_file_of_that_name(path, tiny_model, tmp_path):
    """Written to since it was opened: neither read nor unpickled."""
    (tmp_path / "a.bbk").write_bytes(path.read_bytes())
    archive = Archive(tmp_path / "a.bbk", model=tiny_model)
    packed = pickle.dumps(archive)
    assert np.array_equal(pickle.loads(packed)[5], archive[5])
    os.utime(tmp_path / "a.bbk", (1, 1))
    with pytest.raises(InputChanged, match="a.bbk"):
        archive[20]
    with pytest.raises(InputChanged, match="a.bbk"):
        pickle.loads(packed)


def test_another_archive_with_the_time_of_the_first(tiny_model, tmp_path, photograph):
    """Written in its place, as long as it: other names of a group are noticed."""
    place, files = tmp_path / "set.bbk", []
    for names in ("ab", "cd"):
        images = [ImageData("RGB", photograph(9, 9, i)) for i in range(2)]
        entries = tuple(Entry(9, 9, f"{name}.png") for name in names)
        files.append(Encoder(tiny_model).encode_many(images, entries))
    assert len(files[0]) == len(files[1])
    place.write_bytes(files[0])
    status, archive = os.stat(place), Archive(place, model=tiny_model)
    assert archive.names == ["a.png", "b.png"]
    place.write_bytes(files[1])
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputChanged, match="set.bbk"):
        archive["a.png"]


def number_of(name):
    return int(name[:2])


def read_by(loader, pixels):
    """Compares all images that a loader gives with those of their labels; returns the labels."""
    found = []
    for images, labels in loader:
        assert images.dtype == torch.uint8
        for image, label in zip(images, labels.tolist()):
            assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels[label])
            found.append(label)
    return found


def test_a_loader_in_this_process(archive, pixels):
    """Shuffled by torch, and in an order that suits groups; labels are of the names."""
    dataset = ArchiveDataset(archive, label=number_of)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(dataset, batch_size=5, shuffle=True, generator=generator)
    assert sorted(read_by(loader, pixels)) == list(range(COUNT))
    loader = DataLoader(dataset, batch_sampler=GroupBatches(dataset, 5, mixed=2))
    assert sorted(found := read_by(loader, pixels)) == list(range(COUNT)) != found
    halved = ArchiveDataset(archive, transform=lambda image: image[:, ::2])
    assert halved[-1].shape == (3, 8, 16)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_loader_of_two_workers(path, tiny_model, pixels, method):
    """Both ways of starting processes; every image once, and right."""
    dataset = ArchiveDataset(Archive(path, model=tiny_model), label=number_of)
    batches = GroupBatches(dataset, 4, workers=2)
    loader = DataLoader(
        dataset, batch_sampler=batches, num_workers=2, multiprocessing_context=method
    )
    assert sorted(read_by(loader, pixels)) == list(range(COUNT))


def test_batches_by_groups(archive):
    """Each number once; batches of a worker are of its groups; another epoch, another order."""
    dataset = ArchiveDataset(archive)
    batches = GroupBatches(dataset, 4, workers=2, mixed=1)
    first = list(batches)
    assert len(first) == len(batches) and sorted(sum(first, [])) == list(range(COUNT))
    of_worker = [{archive.group_of(i) for b in first[w::2] for i in b} for w in range(2)]
    assert not of_worker[0] & of_worker[1]
    assert first == list(GroupBatches(dataset, 4, workers=2, mixed=1))
    batches.set_epoch(1)
    assert list(batches) != first


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [1, 5, 30])
def test_batches_reach_the_worker_of_their_groups(archive, size, workers):
    """DataLoader deals by turns: of any sizes, at most workers - 1 groups are decoded twice."""
    dataset = ArchiveDataset(archive)
    sizes = (3, 1, 9, 2, 2, 40, 5, 1, 17)
    firsts = np.cumsum((0, *sizes)).tolist()
    single = dataset.archive.groups[0]
    groups = tuple(single._replace(first=f, images=n) for f, n in zip(firsts, sizes))
    archive.groups = groups
    batches = GroupBatches(dataset, size, workers=workers, mixed=1)
    found = list(batches)
    assert len(found) == len(batches) and sorted(sum(found, [])) == list(range(sum(sizes)))
    of_worker = [
        {archive.group_of(i) for b in found[w::workers] for i in b} for w in range(workers)
    ]
    assert sum(map(len, of_worker)) <= len(groups) + workers - 1


def test_the_current_folder_may_change(path, tiny_model, pixels, tmp_path, monkeypatch):
    monkeypatch.chdir(path.parent)
    archive = Archive(path.name, model=tiny_model)
    copied = pickle.dumps(archive)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(archive[5], truth(archive, pixels, 5))
    assert np.array_equal(pickle.loads(copied)[5], truth(archive, pixels, 5))


def test_a_table_that_tells_of_more_than_there_is(path, tiny_model, tmp_path):
    """2^40 bytes of one group in a whole table: an error of ours, and no such memory."""
    data, groups = path.read_bytes(), container.read_groups(path.read_bytes())
    archive = Archive(path, model=tiny_model)
    archive.groups = (*groups[:-1], groups[-1]._replace(size=2**40))
    assert archive._bytes(groups[-1].begin, 2**40) == groups[-1].of(data)
    assert not archive._bytes(2**50, 2**40)
    with pytest.raises(DamagedFile, match="group 4 of 4"):
        archive.groups = (*groups[:-1], groups[-1]._replace(begin=len(data) - 9, size=2**40))
        archive[len(archive) - 1]


@pytest.mark.parametrize("size, mixed", [(0, 4), (-1, 4), (5, 0)])
def test_batches_of_no_size(archive, size, mixed):
    with pytest.raises(ValueError, match="batches of"):
        GroupBatches(ArchiveDataset(archive), size, mixed=mixed)


def test_tensors_of_a_group_are_made_together(archive, monkeypatch):
    """One upload a group, to the device asked for."""
    made, from_numpy = [], torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda a: made.append(a.size) or from_numpy(a))
    dataset = ArchiveDataset(archive, device="cpu")
    for i in range(12):
        dataset[i]
    assert made == [6 * 16 * 16 * 3] * 2


@pytest.mark.parametrize("device", ["cpux", "cuda:99", "a b"])
def test_a_device_that_is_not_there(archive, device):
    with pytest.raises(BitsbackError, match=f"^{device}: no such device here$"):
        ArchiveDataset(archive, device=device)


def by_differences(samples):
    return bytes([codec.DIFFERENCES]) + encode_differences(samples)


def test_846_images_in_random_order_by_two_workers(tmp_path):
    """As many as the sample of CIFAR, which they are where it is: each comes once, as it was."""
    rng = np.random.default_rng(3)
    if CIFAR.is_file():
        pixels = np.load(CIFAR)
    else:
        steps = rng.integers(-3, 4, (846, 32, 32, 3))
        pixels = (128 + steps.cumsum(1).cumsum(2)).clip(0, 255).astype(np.uint8)
    images = [ImageData("RGB", one) for one in pixels]
    entries = tuple(Entry(32, 32, f"{i:03d}.png") for i in range(len(images)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mode_decision, "prior_possible", lambda *_: False)
        patch.setattr(codec, "encode_fallback", lambda samples, *_: by_differences(samples))
        data = groups.encode_groups(images, entries, Encoder())
    (tmp_path / "set.bbk").write_bytes(data)
    dataset = ArchiveDataset(tmp_path / "set.bbk")
    assert len(dataset) == len(images) == 846 and len(container.read_groups(data)) > 2
    loader = DataLoader(dataset, batch_size=64, shuffle=True, num_workers=2)
    found = np.concatenate([batch.numpy() for batch in loader]).transpose(0, 2, 3, 1)
    assert found.shape == pixels.shape
    ours, theirs = (sorted(one.tobytes() for one in some) for some in (found, pixels))
    assert ours == theirs


def test_what_is_none(archive, path, tiny_model, pixels):
    """A device, a data set and entries are told when they are given, by the errors promised."""
    with pytest.raises(BitsbackError, match="no such device"):
        Archive(path, device="nowhere")
    with pytest.raises(TypeError, match="ArchiveDataset"):
        GroupBatches(archive, 4)
    with pytest.raises(TypeError, match="Entry"):
        Encoder(tiny_model).encode_many(list(pixels[:2]), (1, 2))


def test_the_package_has_its_codecs():
    """Without an import of their own."""
    code = "import bitsback; print(bitsback.codecs.encode.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "encode"
    with pytest.raises(AttributeError):
        bitsback.nothing
