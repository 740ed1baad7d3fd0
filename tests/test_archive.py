"""Archives: one stack for many images; the tree comes back, nothing leaves the folder."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bitsback.cli.main import main
from bitsback.codecs import Encoder, archive, checksums, decoder, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.image import ImageData
from bitsback.codecs.io import files
from bitsback.errors import DamagedFile, OutputExists, UnsupportedImage
from tests.commands import call, error_lines


@pytest.fixture
def tree(tmp_path):
    """Twelve small images of three sizes in two folders."""
    rng = np.random.default_rng(3)
    for i in range(12):
        path = tmp_path / "in" / ("a" if i % 2 else "b/c") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        base = rng.integers(0, 200, 3) + rng.integers(
            0, 30, (*((24, 24), (16, 40), (9, 5))[i % 3], 3)
        )
        Image.fromarray(base.astype(np.uint8)).save(path)
    (tmp_path / "in/a/1.png").chmod(0o600)
    return tmp_path / "in"


def pixels(path):
    return np.array(Image.open(path))


def test_tree_round_trip(tree, tiny_model, tmp_path):
    """compress --archive, info, decompress --dir: names, pixels and permissions come back."""
    target, out, runner = tmp_path / "all.bbk", tmp_path / "out", CliRunner()
    assert (
        runner.invoke(
            main, ["compress", "--model", str(tiny_model.path), "--archive", str(target), str(tree)]
        ).exit_code
        == 0
    )
    listed = runner.invoke(main, ["info", str(target)]).output
    names = sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*.png"))
    assert len(names) == 12 and all(name in listed for name in names)
    result = runner.invoke(
        main, ["decompress", "--model", str(tiny_model.path), "--dir", str(out), str(target)]
    )
    assert result.exit_code == 0, result.output
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == names
    assert all(np.array_equal(pixels(tree / n), pixels(out / n)) for n in names)
    assert (out / "a/1.png").stat().st_mode & 0o777 == 0o600
    again = runner.invoke(
        main, ["decompress", "--model", str(tiny_model.path), "--dir", str(out), str(target)]
    )
    assert again.exit_code == 1 and "exists already" in again.output


def one_stack(tree, model):
    """An archive under the prior, whatever fallback codec would cost: (Header, payload, images)."""
    loaded = [(pixels(p), n) for p, n in archive.collect([tree])]
    loaded.sort(key=lambda item: item[0].size)
    entries = tuple(
        container.Entry(p.shape[1], p.shape[0], n, 0o644, checksums.image_check(p))
        for p, n in loaded
    )
    images = [p for p, _ in loaded]
    header, payload = prior_codec.encode_stack(
        images, container.Header(entries, container.pixel_digest(images), True), model
    )
    return header, payload, images


def test_one_stack_round_trip(tree, tiny_model):
    """Under the prior, with batches and several sizes on one stack, every image comes back."""
    header, payload, images = one_stack(tree, tiny_model)
    assert (
        header.model
        and len(header.segments) > 1
        and any(kind == 0 and n > 1 for kind, n in header.segments)
    )
    read, back = decoder.decode_images(container.write(header, payload), model=tiny_model)
    assert read == header and all(np.array_equal(a, b.samples) for a, b in zip(images, back))


def test_one_damaged_image_is_no_whole_archive(tree, tiny_model):
    """A wrong check, a wrong digest, an altered word: DamagedFile, behind a right CRC."""
    header, payload, _ = one_stack(tree, tiny_model)
    entries = list(header.entries)
    entries[4] = dataclasses.replace(entries[4], check=entries[4].check ^ 1)
    wrong = [
        (dataclasses.replace(header, entries=tuple(entries)), payload),
        (dataclasses.replace(header, digest=bytes(8)), payload),
    ]
    for position in (0, len(payload) // 2, len(payload) - 2):
        wrong.append(
            (header, payload[:position] + bytes([payload[position] ^ 4]) + payload[position + 1 :])
        )
    for case in wrong:
        with pytest.raises(DamagedFile):
            decoder.decode_images(container.write(*case), model=tiny_model)


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/x.png", "a/../../x.png", "", "a\\b.png", "C:x.png", "a\0.png"]
)
def test_names_that_would_escape_are_refused(name, tmp_path):
    """Neither target_path nor decompress of a crafted archive writes outside the folder."""
    image = np.zeros((4, 4, 3), np.uint8)
    header = container.Header(
        (container.Entry(4, 4, name, 0o644, checksums.image_check(image)),),
        container.pixel_digest([image]),
        True,
    )
    from bitsback.codecs.fallback.start import fallback_parts

    path = tmp_path / "evil.bbk"
    path.write_bytes(container.write(header, fallback_parts([image], (1, 0, 0))))
    with pytest.raises(DamagedFile):
        files.decompress_file(path, folder=tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["evil.bbk"]


def test_a_link_in_the_output_folder_is_not_followed(tree, tiny_model, tmp_path):
    """An archive's sub-folder that is a link to elsewhere in the output folder is refused."""
    target, out, elsewhere = tmp_path / "all.bbk", tmp_path / "out", tmp_path / "elsewhere"
    files.compress_archive([tree], target, model=tiny_model)
    out.mkdir(), elsewhere.mkdir()
    (out / "a").symlink_to(elsewhere)
    with pytest.raises(DamagedFile):
        files.decompress_file(target, folder=out, model=tiny_model)
    assert not list(elsewhere.iterdir())
    (tmp_path / "mine").symlink_to(elsewhere)  # the output folder itself is the user's choice
    assert len(files.decompress_file(target, folder=tmp_path / "mine", model=tiny_model)) == 12


def test_a_file_in_the_place_of_a_folder(tree, tiny_model, tmp_path):
    """Named, before anything is written."""
    target, out = tmp_path / "all.bbk", tmp_path / "out"
    files.compress_archive([tree], target, model=tiny_model)
    out.mkdir()
    (out / "b").write_text("mine")
    with pytest.raises(OutputExists, match="out/b: exists already and is not a folder"):
        files.decompress_file(target, folder=out, model=tiny_model)
    assert [path.name for path in out.iterdir()] == ["b"]


def test_an_image_with_the_name_of_a_folder(tmp_path, tiny_model):
    """a.png and a.png/b.png cannot be unpacked side by side: neither made nor begun to unpack."""
    eye = Image.fromarray(np.eye(5, dtype=np.uint8))
    for path in ("x/a.png", "y/a.png/b.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        eye.save(tmp_path / path)
    with pytest.raises(UnsupportedImage, match="a.png/b.png: .* below the image a.png"):
        files.compress_archive([tmp_path / "x", tmp_path / "y"], tmp_path / "all.bbk")
    entries = [container.Entry(5, 5, name, mode="L") for name in ("a.png", "a.png/b.png")]
    with pytest.raises(DamagedFile, match="the name of a folder"):
        archive.targets(entries, tmp_path / "out")


def test_one_bad_image_fails_the_archive(tree, tiny_model, tmp_path):
    """An image that cannot be read is named; no archive is written."""
    (tree / "a/zz.png").write_text("not an image")
    with pytest.raises(UnsupportedImage, match="zz.png"):
        files.compress_archive([tree], tmp_path / "all.bbk", model=tiny_model)
    assert not (tmp_path / "all.bbk").exists()


def test_names_that_mean_a_folder_elsewhere_are_refused_together(tree, tmp_path):
    """Those with a colon or a backslash, by their paths and all at once, before any is read."""
    before = len(archive.collect([tree]))
    for name in ("IMG 10:11.png", "b\\c.png"):
        (tree / "a" / name).write_bytes(b"not read")
    found = call("compress", "--archive", tmp_path / "all.bbk", tree)
    (error,) = error_lines(found)
    assert found.exit_code == 1 and not (tmp_path / "all.bbk").exists()
    assert f"{tree}/a/IMG 10:11.png; {tree}/a/b\\c.png: an archive holds no names" in error
    assert len(archive.collect([tree], archived=False)) == before + 2


def test_two_of_one_name_are_refused(tree):
    """Two inputs that would get one name in the archive."""
    with pytest.raises(UnsupportedImage, match="two images"):
        archive.collect([tree / "a/1.png", tree / "a", tree / "a/1.png"])


def test_entries_of_other_numbers():
    """What an index could not give back is refused, or becomes an integer."""
    samples = np.zeros((2, 3), np.uint8)
    images = [ImageData("L", samples), ImageData("L", samples + 1)]
    made = [
        tuple(Entry(3, 2, name, mode="L", **options) for name in "ab")
        for options in ({"mtime": np.int64(5)}, {"permissions": True}, {"mtime": 1.5})
    ]
    for entries in made[:2]:
        header = container.read_header(Encoder().encode_many(images, entries))
        assert {type(entry.mtime) for entry in header.entries} == {int}
    with pytest.raises(UnsupportedImage, match=r"a: not all are whole numbers: .*mtime 1\.5"):
        Encoder().encode_many(images, made[2])
    with pytest.raises(UnsupportedImage, match="not a name"):
        Encoder().encode_many(images[:1], (Entry(3, 2, 5, mode="L"),))
    with pytest.raises(UnsupportedImage, match="junk: no file can hold"):
        Encoder().encode(ImageData("L", samples, {}, {"junk": 1}))
