"""benchmarks/fuzz.py in small: each kind of hostile file, and that it notices faults."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    fuzz,
    fuzz_bombs,
    fuzz_cases,
    fuzz_checks,
    fuzz_damage,
    fuzz_long,
    fuzz_metadata,
)
from bitsback.codecs.bitstream import container, index
from bitsback.codecs.formats import metadata
from bitsback.codecs.formats.image_files import image_bytes
from bitsback.codecs.image import ImageData
from bitsback.errors import DamagedFile, UnsupportedImage


@pytest.fixture(scope="module")
def files(tiny_model):
    made = fuzz_cases.good_files(tiny_model, np.random.default_rng(1))
    fuzz.warm(tiny_model, made)
    return made


def judged(cases, model, every=1, folder=None, commands=0):
    """Findings over every `every`-th case; every `commands`-th of them by the commands too."""
    findings = fuzz_checks.Findings()
    for i, case in enumerate(list(cases)[::every]):
        fuzz_checks.by_library(case, model, findings)
        if commands and i % commands == 0:
            fuzz_checks.by_command(case, model, findings, folder)
    assert findings.faults == []
    return findings.outcomes


@pytest.mark.parametrize("name", ["fallback bare", "fallback P", "prior RGB", "fallback archive"])
def test_cut_and_flipped_files(files, tiny_model, name):
    """Only its own images or this package's errors; damage with a wrong checksum is refused."""
    rng, data, images = np.random.default_rng(2), *files[name]
    outcomes = judged(fuzz_damage.truncations(name, data, images), tiny_model, 1 + len(data) // 300)
    outcomes |= judged(fuzz_damage.flips(name, data, images, rng, 10), tiny_model, 5)
    assert all(
        set(outcomes[kind]) <= {"DamagedFile", "NotOurFile"} for kind in ("cut short", "one bit")
    )


@pytest.mark.parametrize("name, every", [("prior RGB", 4), ("prior lanes", 23)])
def test_altered_lanes(files, tiny_model, name, every):
    """Another closing, other states, words lost or moved: always damage, never other images."""
    cases = fuzz_damage.lanes(name, *files[name], np.random.default_rng(5), tiny_model)
    outcomes = judged(cases, tiny_model, every)["lanes, right CRC"]
    assert set(outcomes) == {"DamagedFile"} and outcomes["DamagedFile"] > 10


def test_altered_numbers(files, tiny_model):
    """Right checksums over wrong numbers, in every good file."""
    rng = np.random.default_rng(3)
    outcomes = judged(
        (case for name, file in files.items() for case in fuzz_damage.numbers(name, *file, rng, 4)),
        tiny_model,
    )
    assert outcomes["numbers, right CRC"]["DamagedFile"] > 30


def test_tables_of_groups(files, tiny_model, tmp_path):
    """Only images of the file or errors of ours, whatever the table says; by the commands too."""
    data, images = fuzz_cases.grouped_file(files)
    cases = fuzz_damage.tables(data, images, np.random.default_rng(6))
    outcomes = judged(cases, tiny_model, 7, tmp_path, 9)
    assert set(outcomes["table, one bit"]) <= {"DamagedFile", "NotOurFile", "exit 1", "exit 0"}
    assert outcomes["table, right CRC"]["DamagedFile"] > 9


def test_sizes_and_bombs(tiny_model, tmp_path):
    """Huge claims and bombs are refused in bounded time and memory, by the commands too."""
    outcomes = judged(fuzz_bombs.lying_sizes(tiny_model.id), tiny_model, 3, tmp_path, 20) | judged(
        fuzz_bombs.bombs(1024), tiny_model, 1, tmp_path, 6
    )
    assert all(
        set(outcomes[kind]) <= {"DamagedFile", "UnsupportedImage", "exit 1", "exit 0"}
        for kind in ("lying size", "bomb")
    )


def test_noise_odd_metadata_and_odd_names(tiny_model, tmp_path):
    """No traceback, nothing outside the folder, messages of one printable line."""
    rng = np.random.default_rng(4)
    outcomes = judged(fuzz_metadata.odd_names(), tiny_model, 1, tmp_path, 1) | judged(
        fuzz_damage.random_bytes(rng, 20), tiny_model
    )
    outcomes |= judged(fuzz_metadata.odd_metadata(rng, 12), tiny_model, 1, tmp_path, 1)
    assert (
        outcomes["odd name, right digest"]["exit 1"] >= 8
        and outcomes["odd metadata, right digest"]["exit 0"] >= 12
    )


def test_the_fuzzer_notices(tiny_model, monkeypatch, tmp_path):
    """Foreign exceptions, other images, much memory or time, files left by a command: faults."""
    data, findings = (
        fuzz_cases.fallback_file([ImageData("L", np.zeros((2, 2), np.uint8))]),
        fuzz_checks.Findings(),
    )
    other = fuzz_cases.Case("x", "other", data, [ImageData("L", np.ones((2, 2), np.uint8))])
    fuzz_checks.by_library(other, tiny_model, findings)
    for place in "decoder.decode_images", "groups.decode_group":
        monkeypatch.setattr(f"bitsback.codecs.{place}", lambda *_, **__: {}["foreign"])
    fuzz_checks.by_library(other, tiny_model, findings)
    fuzz_checks.by_command(other, tiny_model, findings, tmp_path)
    findings.add(other, "decoded", fuzz_checks.SECONDS + 1, 0)
    findings.add(other, "decoded", 0, fuzz_checks.MEBIBYTES + 1)
    text = "\n".join(findings.faults)
    assert (
        "OTHER IMAGES" in text
        and "KeyError" in text
        and text.count(" MiB") == 2
        and "test: KeyError" in text
    )


def test_limits_are_the_writers_too(monkeypatch):
    """What a reader refuses no writer makes: metadata of all images together, texts, an index."""
    images = [
        ImageData(
            "L",
            np.zeros((1, 1), np.uint8),
            {},
            {"icc": bytes(900), "text": (("a", "b", "", "", False),)},
        )
    ] * 3
    assert len(metadata.unpack(metadata.pack(images), 3)) == 3
    for name in ("TOGETHER", "TEXTS"):
        with monkeypatch.context() as patch:
            patch.setattr(metadata, name, 2)
            with pytest.raises(UnsupportedImage, match="strip"):
                metadata.pack(images)
    monkeypatch.setattr(index, "MAX_INDEX", 10)
    with pytest.raises(UnsupportedImage, match="index"):
        container.write(
            container.Header((container.Entry(1, 1, "a"),), bytes(8), archive=True), b""
        )


def test_a_transparent_colour_has_few_numbers():
    """Millions of numbers where three belong are damage."""
    image = ImageData("RGB", np.zeros((1, 1, 3), np.uint8), {"transparency": tuple(range(5))})
    with pytest.raises(DamagedFile, match="left over"):
        metadata.unpack(metadata.pack([image]), 1)


def test_metadata_that_a_writer_cannot_take_are_left_out_by_name():
    """Exif that is no TIFF makes Pillow raise SyntaxError: it is left out and named."""
    image = ImageData(
        "CMYK", np.zeros((1, 1, 4), np.uint8), {}, {"exif": b"Exif\0\0nonsense", "xmp": b"x"}
    )
    written, left_out = image_bytes(image, "TIFF", "x.tiff")
    assert written[:2] == b"II" and "exif" in left_out


def test_a_palette_with_a_transparent_colour_of_several_numbers_is_refused():
    """Pillow would raise ValueError only when such an image is compared (found by seed 2)."""
    image = ImageData(
        "P", np.zeros((1, 1), np.uint8), {"palette": bytes(3), "transparency": (1, 2)}, {}
    )
    with pytest.raises(UnsupportedImage, match="transparency"):
        image_bytes(image, "PNG", "x.png")


PAST = sorted((Path(__file__).parent / "fuzz").glob("*.bbk"))


def test_inputs_that_ever_failed(tiny_model, tmp_path):
    """By the library and by the commands; python -m benchmarks.fuzz writes them to tests/fuzz."""
    cases = [fuzz_cases.Case("past", path.name, path.read_bytes()) for path in PAST]
    outcomes = judged(cases, tiny_model, 1, tmp_path, 1)
    assert len(cases) == len(PAST) >= 2 and set(outcomes) == {"past"}


# --- the long run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_files(two_level_model):
    return fuzz_long.small_files(two_level_model, np.random.default_rng(1))


@pytest.mark.slow
def test_a_chunk_of_the_long_run(small_files, two_level_model):
    """The same inputs for the same seed and number; each kind is there; no faults."""
    first, again, other = (list(fuzz_long.chunk(small_files, 1, number)) for number in (0, 0, 1))
    assert len(first) == fuzz_long.CHUNK and first[0].data != other[0].data
    assert [case.data for case in first] == [case.data for case in again]
    outcomes = judged(first, two_level_model, 5)
    assert set(outcomes) == {
        "index, right CRC",
        "metadata, right digest",
        "mutated",
        "mutated, right CRC",
        "numbers, right CRC",
        "odd metadata, right digest",
        "random bytes",
        "random bytes, right CRC",
        "unknown parts, right CRC",
    }
    assert outcomes["unknown parts, right CRC"]["decoded, the same"] > 2


def test_the_long_run_notices(tmp_path, tiny_model, monkeypatch):
    """An input that takes too long, one that ends its process, a fault: each is kept, the rest of
    the chunk is done; an error of the harness is none of the inputs'.
    """
    deeds = {
        b"slow": lambda: time.sleep(60),
        b"ends": lambda: os.kill(os.getpid(), signal.SIGKILL),
        b"wrong": lambda: None,
    }

    def check(case, _, findings):
        deeds.get(case.data, lambda: None)()
        what = findings.fault(case, "x") if case.data == b"wrong" else "well"
        findings.add(case, what, 0, 0)

    monkeypatch.setattr(fuzz_long, "by_library", check)
    monkeypatch.setattr(fuzz_long, "by_command", lambda *_: None)

    def cases(number):
        for data in (b"a", b"slow", b"b", b"ends", b"c", b"wrong", b"%d" % number):
            yield fuzz_cases.Case("k", "n", data if number == 1 else b"a")

    findings = fuzz_long.run_chunks(3, 2, cases, tiny_model, tmp_path, 0.3)
    assert sorted(findings.inputs) == [b"ends", b"slow", b"wrong"]
    assert findings.outcomes["k"] == {"well": 7 + 7 + 2, "FAULT": 1}
    assert "took more than 0.3 s" in findings.faults[0] and "ended by -9" in findings.faults[1]
    findings.keep(tmp_path / "kept")
    assert {path.read_bytes() for path in (tmp_path / "kept").iterdir()} == set(findings.inputs)
    broken = fuzz_long.run_chunks(1, 1, lambda number: 1 / 0, tiny_model, tmp_path, 1)
    assert broken.faults == ["chunk 0: see its traceback"]
