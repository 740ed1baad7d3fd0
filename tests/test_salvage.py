"""What can be decoded of damaged files: no wrong pixel, and all that comes before the damage."""

import zlib

import numpy as np
import pytest

from bitsback.codecs import decode, mode_decision
from bitsback.codecs.bitstream import block_checks, container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.bitstream.numbers import number
from bitsback.codecs.checksums import checked_entries
from bitsback.codecs.damage import SEARCHED, found_groups, looked_at
from bitsback.codecs.encoder import Encoder, encode_image
from bitsback.codecs.image import ImageData, same
from bitsback.codecs.salvage import salvage
from bitsback.errors import DamagedFile


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 4 KiB, so that small files have several."""
    monkeypatch.setattr(block_checks, "BLOCK", 12)


@pytest.fixture(scope="module")
def image(photograph):
    return photograph(104, 120)


@pytest.fixture
def file(prior_file, image):
    """The bytes of a file of several segments, and where its payload begins."""
    data = prior_file(image)
    header, payload = container.read(data)
    assert len(header.segments) > 3 and len(payload) > 5 << 12
    return data, len(data) - 4 - len(payload)


def only(data, model):
    """The one image that is found in a file, (None, why) where there is none."""
    ((found, damage),) = salvage(data, model=model)
    assert len(found) <= 1 and damage
    return (found[0] if found else None), damage


def known(one, image):
    """How many pixels are known, all of which are right; the others are transparent black."""
    mask = one.image.samples[..., 3] == 255
    assert one.image.mode == "RGBA" and (one.image.samples[..., 3][~mask] == 0).all()
    assert (one.image.samples[..., :3] == np.where(mask[..., None], image, 0)).all()
    assert one.share == pytest.approx(mask.mean()) and not one.without
    return int(mask.sum())


def test_segments_before_the_damage(file, image, tiny_model):
    """The later the damage or the cut, the more pixels; most of them for damage near the end."""
    data, begin = file
    counts = []
    for at in range(begin, len(data) - 4, 4096):
        altered = bytearray(data)
        altered[at + 17] ^= 8
        found, damage = only(bytes(altered), tiny_model)
        cut, _ = only(data[: at + 17], tiny_model)
        assert (cut is None) == (found is None) and "checksum of the file" in damage
        counts.append(known(found, image) if found else 0)
        assert not cut or known(cut, image) == counts[-1]
    assert counts == sorted(counts) and counts[0] == 0 and len(set(counts)) > 2
    assert counts[-1] > 0.5 * image.shape[0] * image.shape[1]


def test_damage_in_the_last_checksum_alone(file, image, tiny_model):
    """All of the image comes back."""
    data, _ = file
    found, damage = only(data[:-1] + bytes([data[-1] ^ 1]), tiny_model)
    assert found.share == 1 and not found.without and damage
    assert np.array_equal(found.image.samples, image)


def test_a_damaged_header_or_a_small_file(file, tiny_model, prior_file, photograph, monkeypatch):
    """Nothing, and why."""
    data, begin = file
    for at in (5, 20, begin - 1 - 4 * ((len(data) - begin) >> 12)):
        altered = bytearray(data)
        altered[at] ^= 64
        found, damage = only(bytes(altered), tiny_model)
        assert found is None and "nothing of it can be salvaged: " in damage
    monkeypatch.setattr(block_checks, "BLOCK", 16)
    assert "no checksums tell" in only(prior_file(photograph(49, 48))[:-9], tiny_model)[1]


def test_words_that_are_altered_with_right_checksums(file, tiny_model):
    """That is no damage to salvage from but a lie: the digest says so, and nothing is given out."""
    data, begin = file
    header, payload = container.read(data)
    payload = payload[:9000] + bytes([payload[9000] ^ 1]) + payload[9001:]
    lie = container.write(header, payload)
    with pytest.raises(DamagedFile):
        decode(lie, model=tiny_model)
    assert only(lie, tiny_model)[0] is None


def archived(photograph, tiny_model, monkeypatch, under_prior):
    """(images, bytes) of an archive of equal photographs' parts."""
    monkeypatch.setattr(mode_decision, "prior_likely", lambda images, *_: [True] * len(images))
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: under_prior)
    monkeypatch.setattr(mode_decision, "prior_possible", lambda *_: under_prior)
    images = [ImageData("RGB", photograph(48, 48, seed)) for seed in range(12)]
    images[3] = ImageData("L", images[3].samples[..., 0].copy(), {}, {"dpi": (72.0, 72.0)})
    entries = tuple(
        Entry(48, 48, f"{i}.png", mode=image.mode, mtime=i) for i, image in enumerate(images)
    )
    data = Encoder(tiny_model).encode_many(images, checked_entries(images, entries))
    assert bool(container.read_header(data).model) == under_prior
    return images, data


@pytest.mark.parametrize("under_prior", [True, False])
def test_whole_images_of_a_damaged_archive(photograph, tiny_model, monkeypatch, under_prior):
    """Each image that is found is the one of its name, whole or in part."""
    images, data = archived(photograph, tiny_model, monkeypatch, under_prior)
    payload = len(container.read(data)[1])
    wholes = []
    for share in (0.2, 0.5, 0.9):
        ((found, _),) = salvage(
            data[: len(data) - 4 - int((1 - share) * payload)], model=tiny_model
        )
        for one in found:
            image = images[int(one.entry.name[:-4])]
            if one.share == 1:
                assert np.array_equal(one.image.samples, image.samples)
                assert under_prior or same(one.image, image)
            elif image.mode == "RGB":
                known(one, image.samples)
        wholes.append(sum(one.share == 1 for one in found))
    assert wholes == sorted(wholes) and wholes[-1] > wholes[0]


def test_groups_without_their_table(photograph, tiny_model, prior_file):
    """Found by their magics; what is before the first of them is lost with the table."""
    images = [ImageData("RGB", photograph(9, 8, seed)) for seed in range(4)]
    entries = tuple(Entry(8, 9, f"{i}.png") for i in range(4))
    encoder = Encoder(tiny_model)
    groups = [
        (2, encoder.encode_many(images[i : i + 2], checked_entries(images, entries)[i : i + 2]))
        for i in (0, 2)
    ]
    data = bytearray(container.write_groups(groups))
    assert [damage for _, damage in salvage(bytes(data), model=tiny_model)] == ["", ""]
    data[8] ^= 3
    with pytest.raises(DamagedFile):
        container.read_groups(bytes(data))
    assert [group.of(bytes(data)) for group in found_groups(bytes(data))] == [g for _, g in groups]
    data[-9] ^= 1
    (first, none), (second, damage) = salvage(bytes(data), model=tiny_model)
    assert [one.image.samples.tolist() for one in first] == [
        image.samples.tolist() for image in images[:2]
    ]
    assert not none and not second and "no checksums tell" in damage


def test_a_file_after_a_file(file, tiny_model, image, photograph):
    """The first comes back; other bytes, more than are searched, hide where it ends."""
    grouped = container.write_groups([(1, file[0]), (1, file[0])])
    for after in (
        file[0],
        file[0] + bytes(7),
        grouped,
        encode_image(ImageData("L", image[..., 0])),
    ):
        ((found, damage),) = salvage(file[0] + after, model=tiny_model)
        assert not damage and np.array_equal(found[0].image.samples, image)
        assert looked_at(file[0] + after).places == [f"bytes after its end: {len(after)}"]
    assert looked_at(file[0] + b"x" * (SEARCHED + 1)).errors


@pytest.mark.parametrize("after", [b"\n", bytes(9), b"BBK" * 500, bytes(5000)])
def test_bytes_after_the_end(file, tiny_model, image, photograph, after):
    """Of one image by the prior or the fallback codec, and of groups with and without their table:
    all comes back, and what follows is told."""
    small = ImageData("P", photograph(9, 8)[..., 0])
    encoder = Encoder(tiny_model)
    for data, samples in (file[0], image), (encode_image(small), small.samples):
        places = looked_at(data + after).places
        ((found, damage),) = salvage(data + after, model=tiny_model)
        assert places == [f"bytes after its end: {len(after)}"] and not damage
        assert found[0].share == 1 and np.array_equal(found[0].image.samples, samples)
    bodies = [encoder.encode_many([small], (Entry(8, 9, name, mode="P"),)) for name in "ab"]
    data = container.write_groups([(1, body) for body in bodies])
    table = data[:8] + bytes([data[8] ^ 3]) + data[9:]
    for altered, count in ((data, 1), (table, 2)):
        found = looked_at(altered + after)
        assert not found.errors and len(found.places) == count
        assert found.places[-1].endswith(f": {len(after)}")
        assert [group.of(altered + after) for group in found.groups] == bodies
    assert looked_at(file[0]).is_whole and looked_at(data).is_whole


@pytest.mark.parametrize("change", ["taken out", "put in", "a group is missing"])
def test_groups_elsewhere_than_the_table_tells(tiny_model, photograph, change):
    """Bytes taken out of a file, or put in, move what follows: it is found, and is whole."""
    encoder = Encoder(tiny_model)
    images = [ImageData("RGB", photograph(20 + i, 30, i)) for i in range(4)]
    bodies = [
        encoder.encode_many([one], (Entry(30, 20 + i, f"{i}.png"),)) for i, one in enumerate(images)
    ]
    data = container.write_groups([(1, body) for body in bodies])
    begin = data.index(bodies[1])
    altered = {
        "taken out": data[: begin + 90] + data[begin + 97 :],
        "put in": data[: begin + 90] + b"BBK" * 3 + data[begin + 90 :],
        "a group is missing": data[:begin] + data[begin + len(bodies[1]) :],
    }[change]
    found = looked_at(altered)
    assert list(found.errors) == [1] and "2 of 4 groups lie elsewhere" in "; ".join(found.places)
    wholes = [some for some, damage in salvage(altered, found, model=tiny_model) if not damage]
    assert sorted(one.entry.name for (one,) in wholes) == ["0.png", "2.png", "3.png"]
    assert all(same(one.image, images[int(one.entry.name[0])]) for (one,) in wholes)


def test_a_table_of_more_groups_than_there_are_is_bounded(tiny_model, monkeypatch):
    """Each tells of a hundred thousand bytes, and none is where it should be."""
    body = Encoder(tiny_model).encode_many(
        [ImageData("1", np.eye(3, dtype=np.uint8))], (Entry(3, 3, "a", mode="1"),)
    )
    table = bytearray(container.write_groups([(1, body), (1, body)])[:5] + bytes([16]))
    table += number(20000) + 20000 * (number(1) + number(100000))
    table += zlib.crc32(table).to_bytes(4, "little")
    data = bytes(table) + 20 * (body + bytes(100000 - len(body)))
    seen, real = [], container.read_group
    monkeypatch.setattr(
        container, "read_group", lambda part, group: seen.append(len(part)) or real(part, group)
    )
    assert len(looked_at(data).errors) == 20000
    assert len(data) < sum(seen) < 6 * len(data)


@pytest.mark.parametrize("at", [0, 4])
def test_a_group_without_its_magic_or_version(tiny_model, at):
    """The other group is whole."""
    encoder, images = Encoder(tiny_model), [ImageData("1", np.eye(3, dtype=np.uint8))]
    bodies = [encoder.encode_many(images, (Entry(3, 3, name, mode="1"),)) for name in "ab"]
    altered = bodies[0][:at] + b"\xf0" + bodies[0][at + 1 :]
    data = container.write_groups([(1, altered), (1, bodies[1])])
    (none, damage), (found, no_damage) = salvage(data, model=tiny_model)
    assert not none and "begin as one" in damage and not no_damage
    assert same(found[0].image, images[0])


def test_an_image_by_the_fallback_codec_is_whole_or_lost(monkeypatch):
    noise = np.random.default_rng(1).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    monkeypatch.setattr(mode_decision, "prior_possible", lambda *_: False)
    data = encode_image(ImageData("RGB", noise))
    assert "no checksums tell" in only(data[:-100], None)[1]
    data = container.write(*container.read(data))  # by a writer that adds them
    found, damage = only(data[:-100], None)
    assert found is None and "the damage comes before" in damage


def test_gray_deep_and_transparent_images_in_part(photograph, tiny_model, monkeypatch):
    """Gray as LA; of 16 bits the upper ones; alpha that was there is lost, and it says so."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    wide = photograph(160, 152).astype("<u2") * 256 + 7 * photograph(160, 152, 1)
    alpha = 255 * np.tri(160, 152, dtype=np.uint8)[..., None]
    for mode, samples, channels in (
        ("L", photograph(160, 152)[..., 0].copy(), 1),
        ("RGB;16", wide.astype("<u2"), 3),
        ("RGBA", np.concatenate([photograph(160, 152), alpha], 2), 3),
    ):
        image = ImageData(mode, samples)
        data = encode_image(image, model=tiny_model)
        assert container.read_header(data).model, mode
        found, _ = only(data[: len(data) * 9 // 10], tiny_model)
        assert 0 < found.share < 1 and found.image.mode == ("LA" if channels == 1 else "RGBA")
        mask = found.image.samples[..., -1] == 255
        assert (found.image.samples[..., :-1][mask] == image.colour[mask]).all()
        assert found.without == {"RGB;16": "the lower bits", "RGBA": "transparency"}.get(mode, "")
