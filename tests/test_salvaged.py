"""decompress --salvage: what of damaged files is written, and what is said of it."""

import json
import os
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from bitsback import outputs
from bitsback.codecs import mode_decision
from bitsback.codecs.bitstream import block_checks, container
from bitsback.codecs.bitstream.container import read_groups, read_header, write_groups
from bitsback.codecs.encoder import encode_image
from bitsback.codecs.image import ImageData
from tests.commands import call, error_lines, names


@pytest.fixture
def damaged(tmp_path, monkeypatch, prior_file, photograph):
    """(path of a file that is cut, its image)."""
    monkeypatch.setattr(block_checks, "BLOCK", 12)
    image = photograph(104, 120)
    data = prior_file(image)
    (tmp_path / "a.bbk").write_bytes(data[: len(data) * 3 // 4])
    (tmp_path / "whole.bbk").write_bytes(data)
    return tmp_path / "a.bbk", image


def salvage(model, *arguments):
    return call("decompress", "--salvage", "--model", model.path, *arguments)


def test_a_part_of_an_image(damaged, tiny_model):
    """Beside the file, transparent where it is lost; status 1, one line; nothing is overwritten."""
    path, image = damaged
    result = salvage(tiny_model, path, "-q")
    assert result.exit_code == 1 and names(path.parent) == ["a.bbk", "a.salvaged.png", "whole.bbk"]
    (line,) = error_lines(result)
    assert line.startswith(f"bitsback: {path}: salvaged in part: ") and "% of the pixels" in line
    with Image.open(path.with_name("a.salvaged.png")) as written:
        pixels = np.array(written)
    mask = pixels[..., 3] == 255
    assert 0.1 < mask.mean() < 0.9 and (pixels[mask][:, :3] == image[mask]).all()
    again = salvage(tiny_model, path, "-q")
    assert again.exit_code == 1 and "exists" in error_lines(again)[0]
    assert salvage(tiny_model, path, "-q", "-f").exit_code == 1
    told = salvage(tiny_model, path, "--json", "-o", path.with_name("b.png"))
    facts = [json.loads(line) for line in told.stdout.splitlines()]
    assert facts[0]["targets"] == [str(path.with_name("b.png"))] and "error" in facts[1]


def test_the_checksum_is_computed_once(damaged, tiny_model, monkeypatch):
    """That of all bytes, which may be gigabytes."""
    path, _ = damaged
    size, whole, crc32 = path.stat().st_size, [], zlib.crc32

    def counted(data, *start):
        whole.extend([len(data)] * (len(data) == size - 4))
        return crc32(data, *start)

    monkeypatch.setattr(zlib, "crc32", counted)
    assert salvage(tiny_model, path, "-q").exit_code == 1 and len(whole) == 1


def test_all_pixels_and_not_all_of_them(tmp_path, tiny_model, photograph, monkeypatch):
    """Of 16 bits, the upper ones of the whole image: no share of pixels is told."""
    monkeypatch.setattr(block_checks, "BLOCK", 12)
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    monkeypatch.setattr(mode_decision, "prior_likely", lambda images, *_: [True] * len(images))
    wide = photograph(104, 120).astype("<u2") * 256 + 7 * photograph(104, 120, 1)
    data = encode_image(ImageData("RGB;16", wide.astype("<u2")), model=tiny_model)
    assert read_header(data).depths[0]
    path = tmp_path / "a.bbk"
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    (line,) = error_lines(salvage(tiny_model, path, "-q"))
    assert line.endswith("a.salvaged.png: without the lower bits")


def test_files_that_are_whole_are_restored_as_ever(damaged, tiny_model):
    """Under their own names, status 0; a mixture is status 1."""
    path, image = damaged
    whole = path.with_name("whole.bbk")
    assert salvage(tiny_model, whole).exit_code == 0
    assert np.array_equal(np.array(Image.open(path.with_name("whole.png"))), image)
    folder = path.parent / "out"
    folder.mkdir()
    result = salvage(tiny_model, whole, path, "--dir", folder, "-j", "2")
    assert result.exit_code == 1 and names(folder) == ["a.salvaged.png", "whole.png"]


def test_a_mode_that_png_does_not_hold(tmp_path, tiny_model):
    """All of such an image, of which the last checksum alone is damaged, is written as TIFF."""
    noise = np.random.default_rng(2).integers(0, 256, (150, 150, 4), np.uint8)
    data = container.write(*container.read(encode_image(ImageData("CMYK", noise))))
    (tmp_path / "a.bbk").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = salvage(tiny_model, tmp_path / "a.bbk", "-q")
    assert result.exit_code == 1 and names(tmp_path) == ["a.bbk", "a.tiff"]
    assert np.array_equal(np.array(Image.open(tmp_path / "a.tiff")), noise)


def test_nothing_to_salvage(tmp_path, tiny_model, damaged):
    """One line that says why, status 1, no file."""
    path, _ = damaged
    small = tmp_path / "small.bbk"
    small.write_bytes(path.read_bytes()[:200])
    result = salvage(tiny_model, small)
    assert result.exit_code == 1 and not list(tmp_path.glob("small*.png"))
    (line,) = error_lines(result)
    assert line.startswith(f"bitsback: {small}: ") and "nothing of it can be salvaged" in line


def test_a_file_from_a_pipe(damaged, tiny_model):
    """Standard input is read once, and so are pipes, with -j too."""
    path, image = damaged
    whole, fifo = path.with_name("whole.bbk"), path.with_name("fifo.bbk")
    command = ["-m", "bitsback", "decompress", "--model", tiny_model.path]
    for source, status in ((path, 1), (whole, 0)):
        with source.open("rb") as stream, path.with_name("o.png").open("wb") as out:
            run = [sys.executable, *command, "--salvage", "-"]
            done = subprocess.run(run, stdin=stream, stdout=out, stderr=subprocess.PIPE, text=True)
        assert done.returncode == status and ("salvaged in part" in done.stderr) == status
        with Image.open(path.with_name("o.png")) as written:
            assert written.size == (image.shape[1], image.shape[0])
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(whole.read_bytes(),), daemon=True).start()
    options = "--dir", path.parent, "-j", "2", "--model", tiny_model.path
    assert call("decompress", fifo, whole, *options).exit_code == 0
    assert {"fifo.png", "whole.png"} <= set(names(path.parent))


@pytest.fixture
def archive(tmp_path, tiny_model, photograph):
    """The path of an archive of a/0.png to a/5.png in two groups, of which one is damaged."""
    (tmp_path / "in/a").mkdir(parents=True)
    for i in range(6):
        Image.fromarray(photograph(20, 20, i)).save(tmp_path / f"in/a/{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitsback.codecs.groups.GROUP_IMAGES", 3)
        patch.setattr("bitsback.codecs.groups.FEWEST_BYTES", 1)
        target, model = tmp_path / "set.bbk", tiny_model.path
        made = call("compress", "--archive", target, tmp_path / "in", "--model", model)
        assert made.exit_code == 0
    data = bytearray(target.read_bytes())
    data[-9] ^= 1
    target.write_bytes(data)
    (tmp_path / "out").mkdir()
    return target


def test_an_archive(archive, tiny_model):
    """Images of whole groups under their names; those of a damaged one are named as lost."""
    folder = archive.with_name("out")
    result = salvage(tiny_model, archive, "--dir", folder, "-q")
    assert result.exit_code == 1 and names(folder) == ["a/0.png", "a/1.png", "a/2.png"]
    (line,) = error_lines(result)
    assert "group 2 of 2" in line and "(a/3.png and 2 more)" in line


def test_one_image_that_cannot_be_written(archive, tiny_model):
    """The others are; nothing is written through links, nor where -o names one file."""
    folder = archive.with_name("out")
    (folder / "a").mkdir()
    (archive.parent / "precious").write_bytes(b"x")
    (folder / "a/0.png").symlink_to(archive.parent / "precious")
    for option, told in ([], "exists already"), (["-f"], "is a link"):
        result = salvage(tiny_model, archive, "--dir", folder, *option)
        (line,) = error_lines(result)
        assert result.exit_code == 1 and f"a/0.png: {told}" in line
        assert (archive.parent / "precious").read_bytes() == b"x"
    assert {"a/1.png", "a/2.png"} <= set(names(folder))
    before = names(archive.parent)
    result = salvage(tiny_model, archive, "-o", archive.with_name("o.png"))
    assert result.exit_code == 1 and "is an archive; give --dir" in error_lines(result)[0]
    assert names(archive.parent) == before


def test_a_folder_that_cannot_be_made(archive, tiny_model, monkeypatch):
    """As of a name that the system does not take: that image is told, the others are written."""
    folder, make = archive.with_name("out"), outputs.make_folders
    failures = [OSError(22, "Invalid argument")]

    def failing_once(path):
        if failures:
            raise failures.pop()
        make(path)

    monkeypatch.setattr(outputs, "make_folders", failing_once)
    result = salvage(tiny_model, archive, "--dir", folder, "-q")
    (line,) = error_lines(result)
    assert result.exit_code == 1 and "a/0.png: Invalid argument" in line
    assert names(folder) == ["a/1.png", "a/2.png"]


def test_a_damaged_table(archive, tiny_model):
    """It is told, status 1: groups that are not found are not known either."""
    data = bytearray(archive.read_bytes())
    data[-9] ^= 1
    data[9] ^= 1
    archive.write_bytes(data)
    folder = archive.with_name("out")
    result = salvage(tiny_model, archive, "--dir", folder)
    (line,) = error_lines(result)
    assert result.exit_code == 1 and "checksum of the table of groups" in line
    assert names(folder) == [f"a/{i}.png" for i in range(6)]
    archive.write_bytes(data[:12])
    (line,) = error_lines(salvage(tiny_model, archive))
    assert line.startswith(f"bitsback: {archive}: cut short; ")


def test_two_images_of_one_name(archive, tiny_model):
    """The first is not replaced by the second, with -f neither, and it is told."""
    data = archive.read_bytes()
    first, damaged = [group.of(data) for group in read_groups(data)]
    archive.write_bytes(write_groups([(3, first), (3, first), (3, damaged)]))
    result = salvage(tiny_model, archive, "--dir", archive.with_name("out"), "-f")
    (line,) = error_lines(result)
    assert result.exit_code == 1 and line.count("two images of the archive have one name") == 3
    assert len(names(archive.with_name("out"))) == 3


def test_refused_with_rm_and_only(damaged, tiny_model):
    path, _ = damaged
    for option in (["--rm"], ["--only", "x"]):
        result = salvage(tiny_model, path, *option)
        assert result.exit_code == 2 and "--salvage cannot be combined" in result.stderr


def test_an_archive_of_one_group(tmp_path, tiny_model, photograph):
    """Its index is whole, so that what is lost is named, by `test` too."""
    (tmp_path / "in").mkdir()
    for i in range(2):
        Image.fromarray(photograph(40, 40, i)).save(tmp_path / f"in/{i}.png")
    target, model = tmp_path / "set.bbk", tiny_model.path
    assert call("compress", "--archive", target, tmp_path / "in", "--model", model).exit_code == 0
    data = bytearray(target.read_bytes())
    assert len(read_groups(data)) == 1
    data[-9] ^= 1
    target.write_bytes(data)
    (line,) = error_lines(call("test", target, "--model", model))
    assert line.endswith("(0.png and 1 more)")
    (line,) = error_lines(salvage(tiny_model, target, "--dir", tmp_path / "out", "-q"))
    left = [name for name in ("0.png", "1.png") if name not in names(tmp_path / "out")]
    assert left and f"({left[0]}" in line


def test_streams_have_no_suffix(damaged, tiny_model):
    """What can be salvaged is written into a device as what is whole is."""
    path, _ = damaged
    for source in (path, path.with_name("whole.bbk")):
        result = salvage(tiny_model, source, "-f", "-o", os.devnull, "-q")
        told = " ".join(error_lines(result))
        assert "salvaged in part" in told if source == path else result.exit_code == 0
