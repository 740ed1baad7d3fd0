"""Writes the golden files, once per format version:  python -m tests.make_golden --write
Images under models that a release ships anew:  python -m tests.make_golden --models FOLDER NAME...

Each case is NAME.png (the image), NAME.bbk (its file under the shipped default model) and, where
the prior was used, NAME.plain (the fallback parts, so that the check does not depend on the
installed libwebp).  modes/ holds one image for each of several modes, with metadata: NAME.bbk
beside the file that it must decode to; a gray image and one with arbitrary bias updates are under
the prior.  models/ holds images under the other shipped models, archives/ an archive in groups
beside a folder of its images, jxl/ fallback parts by JPEG XL, NAME.part beside the samples,
NAME.npz: what one libjxl wrote, all later ones must decode.  Nothing is overwritten: a golden file
that no longer holds is a broken promise.
"""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageDraw

from bitsback.codecs import encoder, groups, mode_decision, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.version import VERSION_NAME
from bitsback.codecs.fallback import jxl
from bitsback.codecs.fallback.codec import JXL
from bitsback.codecs.fallback.start import fallback_parts
from bitsback.codecs.formats.image_files import (
    default_suffix,
    image_bytes,
    image_format,
    read_image,
)
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import turned
from bitsback.coder.model import Model

FOLDER = Path(__file__).parent / "golden" / f"v{VERSION_NAME}"
IMAGES = Path(__file__).parent / "images"


def cases():
    """{name: (H, W, 3) uint8}"""
    photograph = np.array(Image.open(IMAGES / "kodim23_crop.png"))
    noise = np.random.default_rng(11).integers(0, 256, (64, 56, 3), dtype=np.uint8)
    return {
        "photo_96x72": photograph[40:112, 60:156],
        "photo_odd_61x83": photograph[100:183, 200:261],
        "noise_56x64": noise,
        "one_pixel": noise[:1, :1],
        "flat_64x64": np.full((64, 64, 3), 77, np.uint8),
    }


def of_other_models():
    """{model_size: (H, W, 3) uint8}; the largest has segments, lanes and checksums of blocks."""
    photograph = np.array(Image.open(IMAGES / "kodim23_crop.png"))
    noise = np.random.default_rng(13).integers(-70, 70, (160, 152, 3))
    return {
        "fast_56x64": photograph[30:94, 100:156],
        "best_56x64": photograph[30:94, 100:156],
        "fast_152x160": (photograph[:160, :152] + noise).clip(0, 255).astype(np.uint8),
    }


def clipped(pixels):
    """The image in fewer colours; red and green of its upper part are 255, which is a flat area."""
    pixels = pixels // 3 * 3
    pixels[:40, :, :2] = 255
    return pixels


def twelve_bits(pixels):
    """The means of four neighbours, in quarters and noisy sixteenths, above the lowest 4 bits."""
    wide = np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge").astype(np.uint16)
    four = wide[1:, 1:] + wide[:-1, 1:] + wide[1:, :-1] + wide[:-1, :-1]
    noise = np.random.default_rng(12).integers(0, 4, four.shape, dtype=np.uint16)
    return (4 * four + noise) << 4


def images():
    """{name: Still} of other modes than RGB, with look and metadata."""
    photograph = np.array(Image.open(IMAGES / "kodim07_crop.png"))[60:116, 80:136]
    ramp = (
        np.add.outer(np.arange(20) * 900, np.arange(17) * 700)[..., None] + [0, 9, 5000]
    ).astype("<u2")
    gray = np.array(Image.open(IMAGES / "kodim07_crop.png").convert("L"))
    metadata = {
        "icc": b"profile" * 9,
        "dpi": (72.009, 72.009),
        "text": (("Title", "golden", "", "", False),),
    }
    return {
        "rgba_56x56": ImageData(
            "RGBA", np.dstack([photograph, np.tri(56, dtype=np.uint8) * 255]), {}, metadata
        ),
        "gray_64x56": ImageData("L", gray[60:124, 80:136]),
        "told_96x88": ImageData(
            "RGB", clipped(np.array(Image.open(IMAGES / "kodim23_crop.png"))[60:156, 100:188])
        ),
        "tuned_72x80": ImageData(
            "RGB", np.array(Image.open(IMAGES / "kodim23_crop.png"))[30:102, 90:170]
        ),
        "palette": ImageData(
            "P", photograph[..., 1] // 32, {"palette": bytes(range(24)), "transparency": 3}, {}
        ),
        "deep_photo_56x48": ImageData("RGB;16", twelve_bits(photograph[:48])),
        "deep_la_56x48": ImageData("LA;16", twelve_bits(photograph[:48, :, :2])),
        "alike_56x56": ImageData("RGB", np.repeat(photograph[..., 1:2], 3, 2), {}, metadata),
        "chunks": read_image(IMAGES / "formats" / "exif2c08.png", "exif2c08.png"),
        "deep_rgb": ImageData("RGB;16", ramp, {}, metadata),
        "deep_gray": ImageData("I;16", ramp[..., 2].copy(), {}, {}),
        "bilevel": ImageData("1", (photograph[..., 0] > 128).astype(np.uint8)),
        "cmyk": ImageData("CMYK", np.dstack([photograph, photograph[..., 0]])),
        "float": ImageData("F", (ramp[..., 0] / 7).astype("<f4")),
    }


def jxl_parts():
    """{name: samples} that JPEG XL codes: an atlas of letters, 2 bytes, alpha 0, floats, groups."""
    page, rng = Image.new("L", (300, 120), 255), np.random.default_rng(12)
    draw = ImageDraw.Draw(page)
    for top in range(0, 120, 14):
        draw.text((3, top), "".join(chr(c) for c in rng.integers(65, 123, 50)), fill=0)
    photograph = np.array(Image.open(IMAGES / "kodim23_crop.png"))[60:124, 80:140]
    wide = 257 * photograph.astype("<u2") - rng.integers(0, 2, photograph.shape).astype("<u2")
    alpha = 255 * np.tri(64, 60, dtype=np.uint8)[..., None]
    return {
        "text": np.array(page),
        "rgba": np.concatenate([photograph, alpha], -1),
        "deep_rgb": wide,
        "deep_la": np.ascontiguousarray(wide[..., :2]),
        "float": (wide[..., 0] / np.float32(65535)).astype("<f4"),
        "groups": np.tile(photograph[:20], (1, 10, 1)),
    }


def encode_under_prior(pixels, model, device="cpu"):
    """(bytes, fallback parts) with the prior where it can be used at all, else (bytes, None)."""
    entries = (container.Entry(pixels.shape[1], pixels.shape[0]),)
    result = prior_codec.encode_stack(
        [pixels], container.Header(entries, container.pixel_digest([pixels])), model, device
    )
    if not result:
        return encoder.encode(pixels, model=model, device=device), None
    return container.write(*result), fallback_parts(
        [turned(pixels, result[0].flips)], result[0].start
    )


def archived():
    """{name: ImageData} of an archive: colours, gray, a palette; in folders."""
    photograph = np.array(Image.open(IMAGES / "kodim07_crop.png"))
    found = {
        f"{'cat' if i % 2 else 'dog'}/{i}.png": ImageData(
            "RGB", np.ascontiguousarray(photograph[40:64, 24 * i : 24 * i + 24])
        )
        for i in range(6)
    }
    gray = np.ascontiguousarray(photograph[80:104, 30:54, 1])
    found["gray.png"] = ImageData("L", gray)
    found["few.png"] = ImageData("P", gray // 64, {"palette": bytes(range(12))})
    return found


def write_archive(folder, model):
    """groups.bbk, in several groups under the prior, and groups/NAME for each image."""
    images = archived()
    entries = tuple(
        container.Entry(image.width, image.height, name, mode=image.mode, mtime=1_700_000_000 + i)
        for i, (name, image) in enumerate(images.items())
    )
    with (
        patch.object(groups, "GROUP_IMAGES", 3),
        patch.object(groups, "FEWEST_BYTES", 1),
        patch.object(mode_decision, "fallback_hopeless", lambda *_: True),
        patch.object(mode_decision, "prior_likely", lambda images, *_: [True] * len(images)),
    ):
        data = groups.encode_groups(
            list(images.values()), entries, encoder.Encoder(model, verify=True)
        )
    (folder / "groups.bbk").write_bytes(data)
    for name, image in images.items():
        target = folder / "groups" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image_bytes(image, "PNG", target)[0])
    print(folder / "groups.bbk", len(data), len(container.read_groups(data)), "groups")


def write_models(folder, names):
    """models/NAME.bbk and NAME.png of images of of_other_models, in a version's folder."""
    (folder / "models").mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels, target = of_other_models()[name], folder / "models" / f"{name}.bbk"
        if target.exists():
            raise SystemExit(f"{target} exists; golden files are never overwritten")
        other = Model.open(name.split("_")[0])
        data, _ = encode_under_prior(np.ascontiguousarray(pixels), other)
        Image.fromarray(pixels).save(target.with_suffix(".png"), optimize=True)
        target.write_bytes(data)
        print(target, len(data), container.read_header(data).segments)


def main():
    if sys.argv[1:2] == ["--models"]:
        return write_models(Path(sys.argv[2]), sys.argv[3:])
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = Model.open()
    for name, pixels in cases().items():
        target = FOLDER / f"{name}.bbk"
        if target.exists():
            raise SystemExit(f"{target} exists; golden files are never overwritten")
        data, parts = encode_under_prior(np.ascontiguousarray(pixels), model)
        Image.fromarray(pixels).save(target.with_suffix(".png"), optimize=True)
        target.write_bytes(data)
        if parts is not None:
            target.with_suffix(".plain").write_bytes(parts)
        print(target, len(data), "prior" if parts is not None else "plain")
    write_models(FOLDER, of_other_models())
    (FOLDER / "modes").mkdir(exist_ok=True)
    for name, image in images().items():
        target = FOLDER / "modes" / f"{name}.bbk"
        if target.exists():
            raise SystemExit(f"{target} exists; golden files are never overwritten")
        suffix, updates = (
            default_suffix(image.mode),
            np.rint(np.random.default_rng(9).normal(0, 2, model.update_codec.size)).astype(
                np.int32
            ),
        )
        found, kept = (
            updates if name.startswith("tuned") else None,
            patch.object(mode_decision, "fallback_hopeless", lambda *_: True),
        )  # so small, some would lose
        with patch.object(prior_codec, "tune", lambda *_, **__: found), kept:
            data = encoder.encode_image(image, model=model, verify=True)
        target.with_suffix(suffix).write_bytes(
            image_bytes(image, image_format(target.with_suffix(suffix)), target)[0]
        )
        target.write_bytes(data)
        print(target, len(data), "prior" if container.read_header(data).model else "plain")
    if (FOLDER / "archives").exists():
        raise SystemExit(f"{FOLDER / 'archives'} exists; golden files are never overwritten")
    (FOLDER / "archives").mkdir()
    write_archive(FOLDER / "archives", model)
    (FOLDER / "jxl").mkdir(exist_ok=True)
    for name, samples in jxl_parts().items():
        target = FOLDER / "jxl" / f"{name}.part"
        if target.exists():
            raise SystemExit(f"{target} exists; golden files are never overwritten")
        target.write_bytes(bytes([JXL]) + jxl.encode_jxl(samples, jxl.USUAL))
        np.savez_compressed(target.with_suffix(".npz"), samples)
        print(target, target.stat().st_size)


if __name__ == "__main__":
    main()
