"""The commands report metadata that is not kept, and --rm loses none."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback.png import chunk
from bitsback.codecs.formats import chunks
from tests.commands import call, error_lines, load, names

SIX = {
    "cICP": chunk(b"cICP", b"\x09\x10\0\1"),
    "mDCV": chunk(b"mDCV", bytes(range(24))),
    "cLLI": chunk(b"cLLI", struct.pack(">II", 9, 5)),
    "pHYs": chunk(b"pHYs", struct.pack(">IIB", 3, 2, 0)),
    "text": chunk(b"tEXt", b"Title\0one") + chunk(b"tEXt", b"Title\0two"),
    "latin": chunk(b"iTXt", b"Title\0\0\0\0\0caf\xe9"),
}


def with_extra(path, extra, tail=b""):
    """Puts bytes behind a PNG's IHDR and behind its end."""
    data = path.read_bytes()
    path.write_bytes(data[:33] + extra + data[33:] + tail)
    return path


@pytest.fixture
def odd(folder):  # noqa: F811
    """a.png with a private chunk that may not be copied and data behind its end; b.png without."""
    with_extra(folder / "a.png", chunk(b"prVW", b"a view") + SIX["cICP"], b"more")
    return folder


@pytest.mark.parametrize("case", SIX)
def test_the_reported_losses_are_kept(folder, case):  # noqa: F811
    """HDR chunks, an aspect ratio, two texts of one keyword, text that is not UTF-8: all are in the
    restored PNG, and info lists them.
    """
    source = with_extra(folder / "a.png", SIX[case]).read_bytes()
    before = [
        entry for entry in chunks.chunks_of(source) if entry[0] not in (b"IHDR", b"IDAT", b"IEND")
    ]
    assert call("compress", "--rm", folder / "a.png").exit_code == 0
    facts = json.loads(call("info", "--json", folder / "a.bbk").stdout)
    assert (
        facts["metadata"] == [case if case in ("cICP", "mDCV", "cLLI", "pHYs") else "text"]
        and facts["lost"] == []
    )
    result = call("decompress", folder / "a.bbk")
    assert result.exit_code == 0 and not result.stderr
    after = [
        entry
        for entry in chunks.chunks_of((folder / "a.png").read_bytes())
        if entry[0] not in (b"IHDR", b"IDAT", b"IEND")
    ]
    assert after == before


def test_what_is_not_kept_is_told(odd):
    """By compress in one line (not with -q) and by its --json; by info, with and without --json."""
    result = call("compress", odd / "a.png", odd / "b.png")
    assert result.exit_code == 0
    (line,) = error_lines(result)
    assert "a.png" in line and "not kept: prVW, data after the end" in line
    assert json.loads(call("info", "--json", odd / "a.bbk").stdout)["lost"] == [
        "prVW",
        "data after the end",
    ]
    said = dict(line.split(None, 1) for line in call("info", odd / "a.bbk").stdout.splitlines())
    assert said["lost"] == "prVW, data after the end" and said["metadata"] == "cICP"
    assert "none" in next(
        line for line in call("info", odd / "b.bbk").stdout.splitlines() if line.startswith("lost")
    )
    assert not call("compress", "-qf", odd / "a.png").stderr
    assert json.loads(call("compress", "-f", "--json", odd / "a.png").stdout)["lost"] == [
        "prVW",
        "data after the end",
    ]
    assert call("test", odd / "a.bbk").exit_code == 0


def test_removal_loses_nothing(odd):
    """--rm keeps an input of which metadata would be lost and writes nothing, exit 1; others are
    done; --strip and --allow-metadata-loss allow the loss.
    """
    result = call("compress", "--rm", odd / "a.png", odd / "b.png")
    assert result.exit_code == 1 and names(odd) == ["a.png", "b.bbk"]
    (line,) = error_lines(result)
    assert (
        "a.png" in line and "prVW" in line and "--allow-metadata-loss" in line and "--strip" in line
    )
    source = (odd / "a.png").read_bytes()
    result = call("compress", "--rm", "--allow-metadata-loss", odd / "a.png")
    assert (
        result.exit_code == 0 and names(odd) == ["a.bbk", "b.bbk"] and "not kept" in result.stderr
    )
    (odd / "a.png").write_bytes(source)
    result = call("compress", "-f", "--rm", "--strip", odd / "a.png")
    assert result.exit_code == 0 and names(odd) == ["a.bbk", "b.bbk"] and not result.stderr
    assert container.read_header((odd / "a.bbk").read_bytes()).lost == ()


def test_archives_tell_by_image_and_lose_nothing(odd):
    """A line for each image with losses; --rm keeps all images unless losses are allowed."""
    with_extra(odd / "b.png", b"", b"tail")
    result = call("compress", "--archive", odd / "x.bbk", odd / "a.png", odd / "b.png")
    assert (
        result.exit_code == 0
        and len(error_lines(result)) == 2
        and "a.png: not kept: prVW" in error_lines(result)[0]
        and "b.png" in error_lines(result)[1]
    )
    assert set(json.loads(call("info", "--json", odd / "x.bbk").stdout)["lost"]) == {
        "prVW",
        "data after the end",
    }
    result = call(
        "compress", "-f", "--archive", odd / "y.bbk", "--rm", odd / "a.png", odd / "b.png"
    )
    assert (
        result.exit_code == 1
        and "a.png" in error_lines(result)[-1]
        and names(odd) == ["a.png", "b.png", "x.bbk"]
    )
    assert (
        call(
            "compress",
            "--archive",
            odd / "y.bbk",
            "--rm",
            "--allow-metadata-loss",
            odd / "a.png",
            odd / "b.png",
        ).exit_code
        == 0
    )
    assert names(odd) == ["x.bbk", "y.bbk"]
    assert call("decompress", odd / "y.bbk", "--dir", odd / "out").exit_code == 0
    assert dict(chunks.chunks_of((odd / "out/a.png").read_bytes()))[b"cICP"] == b"\x09\x10\0\1"


@pytest.mark.slow
def test_several_processes_tell_the_same(odd):
    """-j 2: the same lines and the same refusals."""
    result = call("compress", "-j", 2, "--rm", odd / "a.png", odd / "b.png")
    assert result.exit_code == 1 and "prVW" in result.stderr and names(odd) == ["a.png", "b.bbk"]
    (odd / "c.png").write_bytes((odd / "a.png").read_bytes())
    result = call("compress", "-j", 2, odd / "a.png", odd / "c.png")
    assert result.exit_code == 0 and all(
        f"{name}.png: not kept: prVW" in result.stderr for name in "ac"
    )


def test_names_of_strangers_do_not_reach_the_terminal(folder):  # noqa: F811
    """Chunk names are any four bytes: those that are not letters are printed as hex."""
    data = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(data[:-12] + chunk(b"a\x1b[m", b"") + data[-12:])
    result = call("compress", folder / "a.png")
    assert "\x1b" not in result.stderr + call("info", folder / "a.bbk").stdout
    assert result.exit_code == 0 and "chunk 611b5b6d" in result.stderr


def test_decompress_tells_what_a_format_lacks(folder):  # noqa: F811
    """BMP cannot hold HDR chunks: they are reported, and --rm keeps the .bbk."""
    with_extra(folder / "a.png", SIX["cICP"] + SIX["pHYs"])
    assert call("compress", folder / "a.png").exit_code == 0
    result = call("decompress", "--rm", folder / "a.bbk", "-o", folder / "a.bmp")
    assert (
        result.exit_code == 1
        and "a.bmp" in result.stderr
        and "a.bbk: is kept" in result.stderr
        and "cICP, pHYs" in result.stderr
        and (folder / "a.bbk").exists()
    )
    assert np.array_equal(load(folder / "a.bmp"), load(folder / "a.png"))


def test_pillow_has_profile_and_resolution(folder):  # noqa: F811
    """Image.open of a .bbk with metadata as chunks or tags: profile, Exif and resolution are in
    `info`, and are saved from there.
    """
    import bitsback.plugins.pillow  # noqa: F401

    exif = Image.Exif()
    exif[0x10F] = "camera"
    for suffix in ("png", "tif"):
        Image.open(folder / "a.png").save(
            folder / f"m.{suffix}", icc_profile=b"a profile", exif=exif, dpi=(72, 72)
        )
        assert call("compress", "-f", folder / f"m.{suffix}").exit_code == 0
        with Image.open(folder / "m.bbk") as image:
            image.load()
            out = io.BytesIO()
            image.save(out, "BITSBACK")
            again = Image.open(io.BytesIO(out.getvalue()))
            again.load()
            for found in (image, again):
                assert found.info["icc_profile"] == b"a profile" and found.info[
                    "dpi"
                ] == pytest.approx((72, 72), rel=1e-3)
                assert found.getexif()[0x10F] == "camera"


def test_the_owner_of_an_output_can_read_it(tmp_path, photograph):
    """Whose input has no such permission, since it is another user's; --rm compares with it."""
    Image.fromarray(photograph(8, 9)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0o044)
    for command, output in (("compress", "a.bbk"), ("decompress", "a.png")):
        source = names(tmp_path)[0]
        assert call(command, "--rm", tmp_path / source).exit_code == 0
        assert names(tmp_path) == [output]
        assert (tmp_path / output).stat().st_mode & 0o777 == 0o444
