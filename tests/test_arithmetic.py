"""A decoder written from ARITHMETIC.md alone reads the codec's files, integer by integer."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import bitsback
from bitsback.ans.lanes import Lanes
from bitsback.codecs import prior_codec, segments
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.fallback.start import unpack_fallback_parts
from bitsback.codecs.segment_layout import turned
from bitsback.coder import context, sample_arrays
from bitsback.coder.chain import CODER_ARITHMETIC
from bitsback.coder.distributions import Distributions
from bitsback.coder.model import Model
from bitsback.errors import DamagedFile, StackEmpty
from bitsback.integer import convolution, onednn, selftest
from bitsback.integer.installed import MODEL_ARITHMETIC
from bitsback.integer.model_file import write_model
from bitsback.integer.network import IntegerExperts, IntegerNetwork
from bitsback.integer.overflow import prove_exact
from tests import numpy_decoder as yardstick
from tests.conftest import unshuffled
from tests.side_information import grids

CASES = [
    ((24, 40), "smooth"),
    ((33, 21), "noise"),
    ((25, 9), "edges"),
    ((24, 2), "flat"),
    ((64, 16), "smooth"),
    pytest.param((64, 16), "edges", marks=pytest.mark.slow),
    ("archive", "smooth"),
    pytest.param("archive", "noise", marks=pytest.mark.slow),
]  # height and width


def make_pixels(height, width, kind, seed=0):
    """(H, W, 3) uint8; noise in the first 8 rows, so that there is credit whatever follows."""
    rng = np.random.default_rng([height, width, seed])
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    below = pixels[8:]
    if kind == "smooth":
        below[:] = np.clip(128 + np.cumsum(rng.normal(0, 12, below.shape), 0), 0, 255)
    elif kind == "edges":
        below[:] = np.where(below < 128, 0, 255)
    elif kind == "flat":
        below[:] = 37
    return pixels


def encode(images, model):
    """(Header, payload) of a list of images, under the prior even where the fallback is smaller."""
    entries = tuple(
        container.Entry(
            pixels.shape[1], pixels.shape[0], mode="RGB" if pixels.shape[2] == 3 else "L"
        )
        for pixels in images
    )
    with patch.object(prior_codec, "SMALLEST", 0):
        coded = prior_codec.encode_stack(
            images,
            container.Header(entries, container.pixel_digest(images), len(images) > 1),
            model,
        )
    return container.read(container.write(*coded))


def decode(model, header, payload):
    """(images, credit, bytes of the block means) by the document's decoder."""
    lanes = yardstick.Lanes(payload)
    mean_data = header.section(Tag.BLOCK_MEANS)
    images = yardstick.decode(
        model,
        lanes,
        header.sizes,
        header.start,
        header.segments,
        header.top,
        sharpness=header.sharpness,
        means=grids(mean_data, header.sizes),
    )
    return (
        [turned(pixels, header.flips) for pixels in images],
        lanes.credit(header.credit_bytes),
        mean_data,
    )


def make_images(kind):
    """Images of an archive: the first is cut into segments of rows, the others form a batch."""
    return [
        make_pixels(*size, kind, seed)
        for seed, size in enumerate([(40, 16), (12, 9), (12, 9), (12, 9)])
    ]


LOUD = {
    "first": 2,
    "head_known": 3,
    "head_features": 2,
    "last": 5,
    "head_out.0": 7,
    "head_out.1": 7,
    "head_out.2": 8,
}


MODELS = [
    "loud",
    pytest.param("experts", marks=pytest.mark.slow),
    "two passes",
]


@pytest.fixture(scope="module", params=MODELS)
def model(request, tiny_model, eight_pass_model, expert_model, tmp_path_factory):
    """A model of two passes, one of two experts (of eight and four), and a loud one of eight.

    The loud one's numbers reach every clamp: some layers shift right by fewer bits (LOUD), in part
    to the left.
    """
    if request.param != "loud":
        return {"two passes": tiny_model, "experts": expert_model}[request.param]
    tensors = load_file(eight_pass_model.path)
    for name, bits in LOUD.items():
        tensors[f"0.{name}.shift"] -= bits
    path = tmp_path_factory.mktemp("loud") / "loud.safetensors"
    write_model(path, tensors, eight_pass_model.description)
    loud = Model(path)
    prove_exact(loud.layers)
    return loud


@pytest.fixture(scope="module")
def numbers(model):
    """The document's decoder reads the model file by itself."""
    return yardstick.Model(model.path.read_bytes())


def test_model_id(model, numbers):
    assert numbers.id() == model.id


@pytest.mark.parametrize("size, kind", CASES, ids=str)
def test_files_by_the_document(size, kind, model, numbers):
    """The document's decoder returns the pixels, its encoder the same words.

    With several segments, with and without context and batches.
    """
    images = make_images(kind) if size == "archive" else [make_pixels(*size, kind)]
    check_by_the_document(images, model, numbers, size)


@pytest.mark.parametrize(
    "grays", [pytest.param({0}, marks=pytest.mark.slow), {1, 2}, {0, 1, 2, 3}], ids=str
)
def test_gray_images_by_the_document(grays, model, numbers):
    """One channel, alone and beside images of three in the same lanes."""
    images = make_images("smooth")
    check_by_the_document(
        [pixels[..., :1] if i in grays else pixels for i, pixels in enumerate(images)],
        model,
        numbers,
    )


def check_by_the_document(images, model, numbers, size=None):
    header, payload = encode(images, model)
    if size == "archive":
        assert {kind for kind, _ in header.segments} == {0, 1, 2} and any(
            kind == 0 and size > 1 for kind, size in header.segments
        )
    elif size == (64, 16):
        assert len(header.segments) > 1
    got, credit, mean_data = decode(numbers, header, payload)
    unpack_fallback_parts(credit, [turned(pixels, header.flips) for pixels in got], header.start)
    assert all(map(np.array_equal, got, images))
    lanes = yardstick.Lanes.from_credit(credit)
    yardstick.encode(
        numbers,
        lanes,
        [turned(pixels, header.flips) for pixels in images],
        header.start,
        header.segments,
        header.top,
        sharpness=header.sharpness,
        means=grids(mean_data, header.sizes),
    )
    assert lanes.to_bytes() == payload


def test_versions_of_the_document():
    """The document names both version numbers of this program; a model file stores its own."""
    text = (Path(bitsback.__file__).parent / "ARITHMETIC.md").read_text("utf-8")
    assert f"MODEL_ARITHMETIC ({MODEL_ARITHMETIC})" in text
    assert f"CODER_ARITHMETIC ({CODER_ARITHMETIC})" in text
    assert Model.open().description["arithmetic"] == MODEL_ARITHMETIC


class RecordingNetwork(IntegerNetwork):
    """Keeps all that goes to the distributions."""

    def trunk(self, index, y):
        out, state = super().trunk(index, y)
        self.record += zip(out.cpu().numpy(), state.cpu().numpy())
        return out, state

    def head(self, index, pass_number, state, known):
        out = super().head(index, pass_number, state, known)
        self.record += [(one,) for one in out.cpu().numpy()]
        return out


class RecordingModel(yardstick.Model):
    def trunk(self, k, n):
        out, state = super().trunk(k, n)
        self.record.append((out, state))
        return out, state

    def head(self, *arguments):
        out = super().head(*arguments)
        self.record.append((out,))
        return out


def assert_equal_records(ours, numpys):
    """The document's outputs include the padding; the codec's are cut to the image."""
    assert len(ours) == len(numpys)
    for one, other in zip(ours, numpys):
        for a, b in zip(one, other):
            assert a.size and np.array_equal(a, b[:, : a.shape[1], : a.shape[2]])


@pytest.mark.parametrize("backend", [convolution.Reference, onednn.Fast])
@pytest.mark.parametrize("size", [(33, 21), "archive"], ids=str)
def test_every_integer_of_a_file(size, backend, model):
    """Trunk and head outputs of all segments, levels and passes of a file.

    In the order of decoding: torch against int64 of numpy.
    """
    if not selftest.agrees(backend):
        pytest.skip(f"{backend.name} is not exact on this machine, and not used")
    images = make_images("smooth") if size == "archive" else [make_pixels(*size, "smooth")]
    header, payload = encode(images, model)
    chain = model.chain(backend=backend(model.layers))
    record, networks = [], []
    for expert in model.experts:
        networks.append(
            (
                expert.steps,
                RecordingNetwork(
                    backend(expert.layers), expert.config, model.steps, expert.steps.start
                ),
            )
        )
        networks[-1][1].record = record
    for reverse in chain.reverse:
        reverse.network = IntegerExperts(networks)
    got = [np.zeros_like(pixels) for pixels in images]
    views = [turned(pixels, header.flips) for pixels in got]
    _, lanes, top, _, counts = prior_codec.open_stack(header, payload, model, views)
    segments.pop_segments(chain, lanes, views, header.start, header.segments, top, counts=counts)
    numbers = RecordingModel(model.path.read_bytes())
    numbers.record = []
    expected, _, _ = decode(numbers, header, payload)
    assert all(map(np.array_equal, got, expected))
    assert len(record) == sum(len(chain.network.order(k)) for k in range(len(model.levels))) * sum(
        size if kind == 0 else 1 for kind, size in header.segments
    )
    assert_equal_records(record, numbers.record)
    if "loud" in str(model.path):
        for count, limits in (
            (2, [(-4096, 4096), (-139, 69), (-256, 256)]),
            (1, [(-2048, 2048), (-46, 23), (-256, 256)]),
        ):
            for i, (low, high) in enumerate(limits):
                seen = np.concatenate(
                    [parts[0][3 * i : 3 * i + 3].ravel() for parts in record if len(parts) == count]
                )
                assert (seen.min(), seen.max()) == (low, high), (
                    "this model was made to reach the limits"
                )


@pytest.mark.parametrize("backend", [convolution.Reference, onednn.Fast])
@pytest.mark.parametrize("reach", [3, 300, 2**12])
def test_network_far_from_any_image(reach, backend, model, numbers):
    """Lattice indices and innovations at the limits in ARITHMETIC.md, odd sizes, 32-bit sums."""
    if not selftest.agrees(backend):
        pytest.skip(f"{backend.name} is not exact on this machine, and not used")
    network = model.chain(backend=backend(model.layers)).network
    rng = np.random.default_rng(reach)
    for height, width in ((8, 8), (13, 22), (1, 17), (31, 2)):
        y = rng.choice([-reach, reach, 0, 1, -reach // 2], (3, height, width)).astype(np.int32)
        z = rng.choice([-96, 96, 0, 5], (3, height, width)).astype(np.int8)
        padded = np.pad(z, ((0, 0), (0, -height % 8), (0, -width % 8)))
        for k in range(len(model.levels)):
            out, state = network.trunk(k, torch.from_numpy(y[None]))
            numpy_out, numpy_state = numbers.trunk(k, y.astype(np.int64))
            assert_equal_records([(out[0].numpy(), state[0].numpy())], [(numpy_out, numpy_state)])
            for pass_number in range(1, len(network.order(k))):
                mine = network.head(k, pass_number, state, torch.from_numpy(unshuffled(z[None])))[
                    0
                ].numpy()
                assert np.array_equal(
                    mine, numbers.head(k, pass_number, padded.astype(np.int64), numpy_state)
                )


@pytest.mark.parametrize("reach", [2, 60, 2**12])
def test_distributions_of_any_values(reach, model, numbers):
    """Means and scales of every pass and colour for improbable values: all clamps of section 7.

    With and without context.
    """
    network = model.chain(backend=convolution.Reference(model.layers)).network
    rng = np.random.default_rng(reach)
    for k in range(len(model.levels)):
        for height, width, rows, columns in (
            (16, 9, 5, 0),
            (11, 6, 0, 0),
            (1, 2, 0, 0),
            (8, 16, 3, 7),
        ):
            shapes = (height, width), (height, width), (rows, width + columns), (height, columns)
            y, values, *known = (
                rng.choice([-reach, reach, rng.integers(-reach, reach)], (2, 3, *shape))
                for shape in shapes
            )
            ours = Distributions(
                network,
                k,
                y.astype(np.int32),
                values.astype(np.int32),
                context.Context(*(side.astype(np.int32) for side in known)),
                whole=model.whole if k == 1 else None,
            )
            theirs = yardstick.distributions(numbers, k, y, known, values)
            expected = [(mean, scale) for _, mean, scale in theirs if mean.size]
            for request, (mean, scale) in zip(ours, expected, strict=True):
                assert np.array_equal(request.mean32, mean.ravel())
                assert np.array_equal(request.scale, scale.ravel())


def test_distributions_fit_32_bits(numbers):
    """Section 8: no product or sum of section 7 leaves int32, by the limits of its factors.

    For lattice indices within +-2^12.
    """
    for k in range(numbers.count):
        input_scale, from_y, from_f, base = np.abs(
            numbers.tensors["steps.scalars"][k].astype(np.int64)
        ).tolist()
        gain, shift, inverse = (
            int(numbers.table(name, k).max()) for name in ("gain", "shift", "inverse")
        )
        largest = [
            2**12 * input_scale + 2**7,
            2**12 * from_y + 2**12 * from_f + 2**9,
            shift * 2**11 + 2**9,
            2 * 512 * gain * 4096 + 2**13,
            32768 * inverse + 2**13,
            base + 139,
        ]
        mean64 = (
            (2**12 * (from_y + from_f) + shift * 2**11 >> 10) + (2 * 512 * gain * 4096 >> 14) + 3
        )
        largest.append(64 * 2**12 + mean64)
        assert max(largest) < 2**31


@pytest.mark.parametrize("rows", [0, 1, 32])
def test_context(rows, model, numbers):
    """Latents of what lies below and to the right, both sides of every level."""
    x = make_pixels(rows, 19, "noise").transpose(2, 0, 1)[None].astype(np.int32) - 128
    known = context.Context(x, x[:, :, :, 2:9])
    mine = context.context_chain(model.forward, model.levels, known)
    for ours, numpys in zip(
        mine, yardstick.context(numbers, [side.astype(np.int64) for side in known[:2]]), strict=True
    ):
        assert all(map(np.array_equal, ours[:2], numpys))


def test_drawing_at_the_edges_of_columns(model, numbers):
    """Section 5: the first column whose cumulative frequency exceeds u."""
    for row in range(0, 32 * numbers.count, 5):
        edges = np.array(numbers.q[row])
        columns = np.flatnonzero(np.diff(edges))
        u = np.concatenate([edges[columns], edges[columns + 1] - 1]).astype(np.uint32)[None]
        mean = np.full(u.shape, -320 + row % 32, np.int32)
        assert sample_arrays.sample(model.forward, mean, row // 32, u)[0].tolist() == [
            *(columns - 41),
            *(columns - 41),
        ]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    kind=st.sampled_from(["escapes", "no escapes", "forward"]),
    start=st.binary(min_size=1, max_size=40),
    lanes=st.integers(1, 70),
)
def test_lanes_and_tables(model, numbers, seed, count, kind, start, lanes):
    """Both hold the same bytes after the same pushes under any row, and run dry."""
    rng, escapes, sets = (
        np.random.default_rng(seed),
        kind == "escapes",
        numbers.count if kind == "forward" else 113,
    )
    tables, table = (
        (model.forward, numbers.q) if kind == "forward" else (model.gaussians, numbers.p)
    )
    start = start + rng.bytes(4 * lanes)
    ours, numpys, arrays = Lanes(start), yardstick.Lanes.from_credit(start), []
    for message in (ours, numpys):
        message.widen(lanes)
    for _ in range(3):
        mean, row_set = rng.integers(-(2**12), 2**12, count), rng.integers(0, sets, count)
        columns = np.array(
            [rng.choice(np.flatnonzero(np.diff(table[row]))) for row in 32 * row_set + (mean & 31)]
        )
        values = columns - 31 + (mean >> 5)
        if escapes:
            values += rng.integers(-1, 2, count) * rng.choice([1, 40, 1000], count)
        arrays.append([a.astype(np.int32) for a in (values, mean, row_set)])
        tables.push(ours, *arrays[-1], escapes)
        numpys.push_array(table, values, mean, row_set, escapes)
        assert ours.to_bytes() == numpys.to_bytes()
    for values, mean, row_set in reversed(arrays):
        assert np.array_equal(
            numpys.pop_array(table, mean.astype(np.int64), row_set.astype(np.int64), escapes),
            values,
        )
        assert np.array_equal(tables.pop(ours, mean, row_set, escapes), values)
    for message in (ours, numpys):
        message.narrow(0)
        assert message.credit(len(start)) == start
        message.widen(lanes)
    mean, row_set = np.zeros(9000, np.int64), np.full(9000, sets - 1)
    for pop in (
        lambda: tables.pop(ours, mean.astype(np.int32), row_set.astype(np.int32), False),
        lambda: numpys.pop_array(table, mean, row_set, False),
    ):
        with pytest.raises((StackEmpty, yardstick.Damaged)):
            pop()


def test_columns_of_frequency_zero(model, numbers):
    """No push gets past one: the file is damaged."""
    row = next(row for row, edges in enumerate(numbers.q) if edges[1] == 0)
    values, mean, row_set = np.array([-31]), np.array([row % 32]), np.array([row // 32])
    ours, numpys = Lanes(b"credit"), yardstick.Lanes.from_credit(b"credit")
    for message in (ours, numpys):
        message.widen(1)
    with pytest.raises(yardstick.Damaged, match="frequency"):
        numpys.push_array(numbers.q, values, mean, row_set, False)
    with pytest.raises(DamagedFile, match="frequency"):
        model.forward.push(ours, *(a.astype(np.int32) for a in (values, mean, row_set)), False)
