"""colour_counts.py: colours counted while decoding, and the files that use them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitsback.ans import colour_frequencies, compiled
from bitsback.ans.colour_counts import BLUE, GREEN, RED, ColourCounts, PixelArray, chunks, fastest
from bitsback.ans.colour_frequencies import MAX_COUNT, SHARPNESS, WIDTH
from bitsback.ans.lanes import Lanes
from bitsback.codecs import (
    borders,
    checksums,
    decode,
    decoder,
    flat_map,
    prior_codec,
    segment_layout,
    segments,
    sharpness,
)
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import turned
from bitsback.coder.chain import Chain
from bitsback.coder.top import Top
from bitsback.errors import BitsbackError, DamagedFile, StackEmpty
from bitsback.sampling.preview import preview
from tests import numpy_decoder as yardstick
from tests.side_information import grids

LOOPS = {module.__name__.split(".")[-1]: module for module in (colour_frequencies, fastest())}
every_loops = pytest.mark.parametrize("loops", LOOPS.values(), ids=LOOPS)
NUMBERS = range(1, len(SHARPNESS) + 1)
PLACES = {
    "gray": ("gray",),
    GREEN: (yardstick.G,),
    RED: (yardstick.R, 7),
    BLUE: (yardstick.B, 7, 9),
}  # the yardstick's name of KEYS
KEYS = {"gray": 0, GREEN: 0, RED: 7 << 8, BLUE: 7 << 16 | 9 << 8}


def opened(data, lanes=37):
    """Lanes over these bytes."""
    found = Lanes(data)
    found.widen(lanes)
    return found


def closed(lanes, length):
    """The bytes that they were opened over."""
    lanes.narrow(0)
    return lanes.credit(length)


def by_document(data, lanes=37):
    found = yardstick.Lanes.from_credit(data)
    found.widen(lanes)
    return found


@pytest.fixture(scope="module")
def few(photograph):
    """A photograph kept as luma and coarse chroma: few colours; gray: every third value."""

    def make(height, width, channels=3, seed=0):
        r, g, b = photograph(height, width, seed).astype(int).transpose(2, 0, 1)
        if channels == 1:
            return (g // 3 * 3).astype(np.uint8)[..., None]
        luma = (2 * r + 5 * g + b) >> 3
        r, b = luma + (r - luma) // 8 * 8, luma + (b - luma) // 8 * 8
        return np.clip(np.stack([r, (8 * luma - 2 * r - b) // 5, b], -1), 0, 255).astype(np.uint8)

    return make


def clipped(pixels):
    pixels = pixels.copy()
    pixels[: len(pixels) // 2 + 3, :, :2] = 255
    pixels[:, :13] = 0
    return pixels


def coded(arrays, model, tuning=0):
    """encode_stack's (Header, payload) of one or more images."""
    images = [
        ImageData("RGB", pixels) if pixels.shape[2] == 3 else ImageData("L", pixels[..., 0])
        for pixels in arrays
    ]
    entries = [
        Entry(s.width, s.height, f"{i}", check=checksums.image_check(s.samples), mode=s.mode)
        for i, s in enumerate(images)
    ]
    if len(arrays) == 1:
        entries = [dataclasses.replace(entries[0], name="", check=0)]
    return prior_codec.encode_stack(
        arrays,
        Header(tuple(entries), checksums.file_digest(images, b""), len(arrays) > 1),
        model,
        tuning=tuning,
    )


def decoded(data, model):
    return [np.atleast_3d(image.samples) for image in decoder.decode_images(data, model=model)[1]]


def without(images, model, monkeypatch, tuning=0):
    with monkeypatch.context() as patch:
        patch.setattr(prior_codec, "sharpness_of", lambda *rest: 0)
        return container.write(*coded(images, model, tuning))


@given(st.integers(0, 300_000) | st.sampled_from([1, 256, 257, 3072, 3073, 250_000]))
def test_chunks(size):
    """They cover an array once, in at most 12 pieces of equal length, or in shorter ones of 256."""
    lengths = [part.stop - part.start for part in chunks(size)]
    assert [i for part in chunks(size) for i in range(part.start, part.stop)] == list(range(size))
    assert len(lengths) <= 12 and set(lengths[:-1]) <= {max(256, (size + 11) // 12)}
    assert not size or 0 < lengths[-1] <= max(256, (size + 11) // 12)


@given(st.sampled_from(NUMBERS), st.sampled_from(sorted(KEYS, key=str)), st.integers(0, 2**32))
def test_masses(gaussians, sharpness, kind, seed):
    """At least 1 and 2^24 in all, whatever was counted, wherever the mean lies; the document's."""
    rng, n = np.random.default_rng(seed), 40
    colours, document = ColourCounts(sharpness), yardstick.Counts(sharpness)
    counts = rng.choice(
        [0, 1, 2, 30, MAX_COUNT - 1, MAX_COUNT, MAX_COUNT + 1, 2**31 - 1],
        256,
        p=rng.dirichlet(np.full(8, 0.5)),
    )
    colours._table(kind)[KEYS[kind] : KEYS[kind] + 256] = counts
    document.seen.update({(*PLACES[kind], i): int(count) for i, count in enumerate(counts)})
    mean32 = np.rint(rng.normal(0, 2.0 ** rng.integers(4, 24), n)).astype(np.int32)
    scale = rng.choice([0, 30, 64, 90, 112], n).astype(np.int32)
    frequencies = colours.frequencies(gaussians, kind, np.full(n, KEYS[kind]), mean32, scale)
    assert (
        frequencies.shape == (n, WIDTH + 1)
        and frequencies.min() >= 1
        and (frequencies.sum(1) == 2**24).all()
    )
    for row, mean, number in zip(frequencies.tolist(), mean32.tolist(), scale.tolist()):
        cumulative = [0, *np.cumsum(gaussians.frequencies[32 * number + (mean & 31)]).tolist()]
        assert (
            np.diff(
                document.cumulative(cumulative, PLACES[kind], mean >> 5, document.seen)
            ).tolist()
            == row
        )


def test_values_that_are_no_pixels(gaussians):
    """Values beyond 0..255 count as the nearest pixel, are undone and code like others."""
    colours, far = (
        ColourCounts(2),
        np.array([-(2**31), -(2**15), -129, 128, 2**15, 2**31 - 1], np.int32),
    )
    x = np.stack([far, far[::-1], far]).reshape(1, 3, 2, 3)
    colours.count_all(x)
    assert (
        colours._table(GREEN)[0] == colours._table(GREEN)[255] == 3
        and colours._table(RED)[255] == 3
        and colours._table(BLUE)[255 << 8 | 255] == 3
    )
    frequencies = colours.frequencies(
        gaussians, GREEN, np.zeros(6, int), far, np.zeros(6, np.int32)
    )
    assert frequencies.min() >= 1 and (frequencies.sum(1) == 2**24).all()
    colours.count_all(x, -1)
    assert not any(table.any() for table in colours._tables.values())


def test_numpy_serves_without_numba(monkeypatch):
    """Who has no numba codes by the reference."""
    monkeypatch.setattr(compiled, "HAVE_NUMBA", False)
    assert ColourCounts(1).loops is colour_frequencies
    monkeypatch.setattr(compiled, "HAVE_NUMBA", True)
    assert ColourCounts(1).loops.__name__ == "bitsback.ans.colour_loops"


@every_loops
@pytest.mark.parametrize("sharpness", [1, 5])
def test_arrays_there_and_back(gaussians, sharpness, loops):
    """Arrays of several chunks with escapes: stack and counts come back, the words are the
    document's, the size is the estimate's.
    """
    rng, n, start = np.random.default_rng(sharpness), 13_000, bytes(range(256)) * 8
    numbers = [[0, *row] for row in np.cumsum(gaussians.frequencies, 1, dtype=np.int64).tolist()]
    values = [rng.integers(-32, 32, n) * 4, rng.integers(-128, 128, n)]
    values[1] = np.where(rng.random(n) < 0.9, values[0] + 1, values[1])
    keys = [np.zeros(n, np.int64), (values[0] + 128) << 8]
    means = [32 * x + rng.normal(0, 90, n) + 32_000 * (rng.random(n) < 0.01) for x in values]
    arrays = [
        PixelArray(
            kind, key, *(part.astype(np.int32) for part in (x, mean32, rng.integers(0, 113, n)))
        )
        for kind, key, x, mean32 in zip((GREEN, RED), keys, values, means)
    ]
    colours, document = ColourCounts(sharpness, loops), yardstick.Counts(sharpness)
    before = np.stack([values[0], values[0], values[1]])[:, :600].reshape(1, 3, 20, 30)[
        :, [2, 1, 0]
    ]  # counted before; blue does not matter
    colours.count_all(before)
    document.add(before)
    tables = {kind: table.copy() for kind, table in colours._tables.items()}
    lanes = opened(start)
    size, estimate = lanes.size_bits, colours.information_bits(gaussians, arrays)[sharpness - 1]
    for kind, key, x, _, _ in arrays:  # they were counted
        colours.count(kind, key, x, -1)
    assert all(np.array_equal(table, tables[kind]) for kind, table in colours._tables.items())
    sampled = colours.information_bits(gaussians, arrays, 3)[sharpness - 1]
    assert abs(3 * sampled / estimate - 1) < 0.05
    for array in reversed(arrays):
        colours.push(lanes, gaussians, array)
    assert abs(lanes.size_bits - size - estimate) < 64
    assert all(np.array_equal(table, tables[kind]) for kind, table in colours._tables.items())
    order = [[(yardstick.G,)] * n, [(yardstick.R, int(g) + 128) for g in values[0]]]
    slow = by_document(start)
    document.push_arrays(
        slow,
        numbers,
        [
            (place, *(part.astype(np.int64) for part in array[2:]))
            for place, array in zip(order, arrays)
        ],
    )
    assert slow.to_bytes() == lanes.to_bytes()
    for kind, key, x, mean32, scale in arrays:
        assert np.array_equal(colours.pop(lanes, gaussians, kind, key, mean32, scale), x)
    assert closed(lanes, len(start)) == start
    for kind, key, x, _, _ in arrays:
        colours.count(kind, key, x, -1)
    assert all(np.array_equal(table, tables[kind]) for kind, table in colours._tables.items())


def test_what_is_not_counted_is_not_pushed(gaussians):
    """Whoever forgets to count first would make frequencies of negative counts."""
    array = PixelArray(
        GREEN, np.zeros(9, np.int64), *(np.full(9, value, np.int32) for value in (3, 96, 64))
    )
    with pytest.raises(ValueError, match="not been counted"):
        ColourCounts(1).push(opened(bytes(64), 1), gaussians, array)


@every_loops
@pytest.mark.parametrize("pushed", [0, 1, 2])
def test_restore_undoes_all_since_the_snapshot(gaussians, pushed, loops):
    """restore: counts and tables of the snapshot, whatever was counted, pushed and popped since;
    counts from before it stay.
    """
    rng, counts = np.random.default_rng(pushed), ColourCounts(3, loops)
    x = rng.integers(-128, 128, (2, 3, 6, 50))
    counts.count_all(x)
    counts.snapshot()
    counts.count_all(x, -1, rng.random(x.shape) < 0.1)
    counts.snapshot()
    before, tables = counts.counted, {table: n.copy() for table, n in counts._tables.items()}
    lanes, keys = opened(rng.bytes(4000)), np.zeros(300, np.int64)
    means, scales = np.zeros(300, np.int32), np.full(300, 112, np.int32)
    for values in x[0, :pushed].astype(np.int32).reshape(-1, 300):
        counts.push(lanes, gaussians, PixelArray(GREEN, keys, values, means, scales))
    counts.count_all(rng.integers(-128, 128, (1, 1, 4, 4)), 2)
    counts.pop(lanes, gaussians, RED, keys + (5 << 8), means, scales)
    assert counts.counted != before
    counts.restore()
    assert counts.counted == before
    for table, n in counts._tables.items():
        assert np.array_equal(n, tables.get(table, np.zeros_like(n)))


@pytest.mark.parametrize("flat", [False, True])
def test_a_segment_that_ran_dry_is_counted_again(tiny_model, few, monkeypatch, flat):
    """Too large first guesses run the stack dry, at the first pop or, with flat blocks, after
    the pixels were pushed; the smaller segment is then coded with the right counts.
    """
    pixels, counted, restored = few(104, 96), [], []
    push, restore = Chain.push, ColourCounts.restore
    pixels = clipped(pixels) if flat else pixels

    def watched(self, lanes, x, top, context, watch, counts, ledger):
        before = counts.counted, {table: n.copy() for table, n in counts._tables.items()}
        try:
            push(self, lanes, x, top, context, watch, counts, ledger)
        except StackEmpty:
            counted.append(counts.counted)
            restored.append(before)
            raise

    def checked(self):
        restore(self)
        total, tables = restored[-1]
        assert self.counted == total
        assert all(np.array_equal(n, tables[table]) for table, n in self._tables.items())

    monkeypatch.setattr(segments, "DEBT", 0.9)
    monkeypatch.setattr(Chain, "push", watched)
    monkeypatch.setattr(ColourCounts, "restore", checked)
    header, payload = coded([pixels], tiny_model)
    assert (
        header.sharpness and bool(header.section(Tag.FLAT_MAP)) == flat and len(set(counted)) > flat
    )
    assert np.array_equal(decoded(container.write(header, payload), tiny_model)[0], pixels)


@pytest.mark.parametrize(
    "size", [pytest.param((104, 96), marks=pytest.mark.slow), (101, 95)], ids=str
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", ["plain", "tuned", "flat", "experts"])
def test_few_colours(tiny_model, expert_model, few, monkeypatch, size, channels, change):
    """Smaller, and the same pixels: in several segments, tuned, with a flat map, by experts."""
    pixels, model, tuning = (
        few(*size, channels),
        expert_model if change == "experts" else tiny_model,
        int(change == "tuned"),
    )
    pixels = clipped(pixels) if change == "flat" else pixels
    channels_of = sum(len(layer.shift) for layer in model.layers.values())
    monkeypatch.setattr(
        prior_codec,
        "tune",
        lambda model, images, steps, **rest: np.ones(channels_of, np.int32) if steps else None,
    )
    header, payload = coded([pixels], model, tuning)
    assert (
        header.sharpness
        and len(header.segments) > 1
        and bool(header.section(Tag.FLAT_MAP)) == (change == "flat")
        and bool(header.section(Tag.BIAS_UPDATES)) == bool(tuning)
    )
    data = container.write(header, payload)
    assert container.read_header(data) == header and data[5] & container.SECTIONS
    assert np.array_equal(decoded(data, model)[0], pixels)
    assert len(data) < 0.98 * len(without([pixels], model, monkeypatch, tuning))


def test_all_colours(tiny_model, photograph, monkeypatch):
    """Where no colour recurs nothing is counted; for noise, where only values outside 0..255 are
    saved, the weakest sharpness is chosen.
    """
    pixels = photograph(104, 96)
    header, payload = coded([pixels], tiny_model)
    assert not header.sharpness and container.write(header, payload) == without(
        [pixels], tiny_model, monkeypatch
    )
    noise = np.random.default_rng(2).integers(0, 256, (104, 96, 3), np.uint8)
    header, payload = coded([noise], tiny_model)
    data = container.write(header, payload)
    assert header.sharpness > 4 and np.array_equal(decode(data, model=tiny_model), noise)
    assert len(data) < 1.01 * len(without([noise], tiny_model, monkeypatch))


def test_an_archive(tiny_model, few, photograph, monkeypatch):
    """Images of several sizes, gray and flat ones among them, are counted together."""
    images = [
        few(72, 64),
        few(40, 40, 1),
        clipped(few(40, 48, seed=1)),
        few(40, 48, seed=2),
        photograph(33, 25),
    ]
    header, payload = coded(images, tiny_model)
    data = container.write(header, payload)
    assert (
        header.sharpness
        and header.section(Tag.FLAT_MAP)
        and any(kind == segment_layout.WHOLE for kind, _ in header.segments)
    )
    assert all(map(np.array_equal, decoded(data, tiny_model), images)) and len(data) < 0.99 * len(
        without(images, tiny_model, monkeypatch)
    )


@pytest.mark.parametrize("case", ["several", "flat", "gray", "archive"])
def test_by_the_document(tiny_model, few, case):
    """The decoder that was written from ARITHMETIC.md gives the pixels, its encoder the words."""
    images = {
        "several": [few(72, 64)],
        "flat": [clipped(few(61, 50))],
        "gray": [few(72, 64, 1)],
        "archive": [
            few(56, 48),
            few(17, 24),
            few(17, 24, seed=1),
            few(30, 16, 1),
            clipped(few(40, 40)),
        ],
    }[case]
    header, payload = coded(images, tiny_model)
    assert header.sharpness and len(header.segments) > 1
    numbers, stack, turn = (
        yardstick.Model(tiny_model.path.read_bytes()),
        yardstick.Lanes(payload),
        lambda pixels: turned(pixels, header.flips),
    )
    blurred, data, told = (
        header.section(Tag.BLOCK_MEANS),
        header.section(Tag.FLAT_MAP),
        None,
    )
    if data:
        painted = [turn(np.zeros_like(pixels)) for pixels in images]
        masks = flat_map.read(data, painted)
        told = (
            painted,
            [
                np.full(pixels.shape, True) if mask is None else mask
                for mask, pixels in zip(masks, images)
            ],
        )
    got = yardstick.decode(
        numbers,
        stack,
        header.sizes,
        header.start,
        header.segments,
        header.top,
        told,
        header.sharpness,
        grids(blurred, header.sizes),
    )
    image, rows, columns = header.start
    expected = [turn(pixels).copy() for pixels in images]
    for i, pixels in enumerate(expected[: image + 1]):  # the fallback parts lie in the credit
        part = np.s_[:, :] if i < image else np.s_[:rows, :columns]
        got[i][part] = pixels[part]
    assert all(map(np.array_equal, got, expected))
    again = yardstick.Lanes.from_credit(stack.credit(header.credit_bytes))
    yardstick.encode(
        numbers,
        again,
        expected,
        header.start,
        header.segments,
        header.top,
        told and told[1],
        header.sharpness,
        grids(blurred, header.sizes),
    )
    assert again.to_bytes() == payload


def test_preview(tiny_model, few):
    """Segments that a preview decodes fully are exact: the second needs the counts of the first."""
    pixels = few(104, 96)
    header, payload = coded([pixels], tiny_model)
    assert header.sharpness and len(header.segments) > 2
    for count in (2, 3):
        seen = turned(
            preview(container.write(header, payload), model=tiny_model, segments=count).pixels,
            header.flips,
        )
        for place in segment_layout.locate(header.sizes, header.start, header.segments)[::-1][
            : count - 1
        ]:
            here = np.s_[
                place.top : place.top + place.height, place.left : place.left + place.width
            ]
            assert np.array_equal(seen[here], turned(pixels, header.flips)[here])


def test_borders_are_measured_with_counting(tiny_model, few):
    """Of the right sharpness, or else the difference would show as the borders' cost."""
    header, payload = coded([few(104, 96)], tiny_model)
    cost = borders.border_bits(container.write(header, payload), model=tiny_model)
    top, chain = Top(header.top[::2], header.top[1::2]), tiny_model.chain()
    counted, plain = (
        borders.one_piece(chain, [few(104, 96)], top, sharpness=n)[0] for n in (header.sharpness, 0)
    )
    coded_share = 1 - header.start[1] * header.start[2] / (104 * 96)
    assert counted < 0.98 * plain and abs(
        cost - (header.net_bits - counted * coded_share)
    ) < 0.25 * (plain - counted)


def test_a_trial_of_nothing(tiny_model, few, monkeypatch):
    """A flat middle moves the trial elsewhere; an image that is all flat is not counted."""
    pixels = few(104, 96)
    pixels[32:80, 24:72] = 90
    monkeypatch.setattr(sharpness, "TRIAL_SIDE", 32)
    header, payload = coded([pixels], tiny_model)
    assert (
        prior_codec.sharpness_of(tiny_model.chain(), [pixels], [np.zeros(pixels.shape, bool)]) == 0
    )
    assert (
        header.section(Tag.FLAT_MAP)
        and header.sharpness
        and np.array_equal(decode(container.write(header, payload), model=tiny_model), pixels)
    )


def test_headers_that_lie(tiny_model, few):
    """Sharpness 0 or 7, another than the file's, none, or of two bytes: always an error of ours."""
    header, payload = coded([few(72, 64)], tiny_model)

    def with_sharpness(data):
        sections = {**header.sections, int(Tag.SHARPNESS): data}
        return container.write(dataclasses.replace(header, sections=sections), payload)

    good = with_sharpness(bytes([header.sharpness]))
    assert np.array_equal(decode(good, model=tiny_model), few(72, 64))
    for wrong in (b"\0", b"\7", b"\xff", bytes([header.sharpness, 0])):
        with pytest.raises(DamagedFile, match="sharpness"):
            decode(with_sharpness(wrong), model=tiny_model)
    for n in NUMBERS:
        if n != header.sharpness:
            with pytest.raises(BitsbackError):
                decode(with_sharpness(bytes([n])), model=tiny_model)
    sections = {tag: data for tag, data in header.sections.items() if tag != Tag.SHARPNESS}
    with pytest.raises(BitsbackError):
        decode(
            container.write(dataclasses.replace(header, sections=sections), payload),
            model=tiny_model,
        )


@pytest.mark.parametrize("seed", range(6))
def test_altered_words(tiny_model, few, seed):
    """Values that are no pixels, or no words left: an error of ours."""
    header, payload = coded([few(56, 48)], tiny_model)
    rng, words = np.random.default_rng(seed), bytearray(payload)
    words[len(words) - 5 - int(rng.integers(len(words) * 7 // 8)) * (seed > 0)] ^= 1 << int(
        rng.integers(8)
    )
    assert header.sharpness
    with pytest.raises(BitsbackError):
        decode(container.write(header, bytes(words)), model=tiny_model)
