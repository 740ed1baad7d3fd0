"""The tables of bitsback/ARITHMETIC.md against the package and the second decoder."""

import ast
import re
from collections import Counter

import numpy as np
import pytest
import torch

from bitsback.ans import gaussian_digits
from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.colour_frequencies import SHARPNESS
from bitsback.ans.lanes import Lanes
from bitsback.ans.stack import Stack
from bitsback.codecs.block_means import LocalTop
from bitsback.codecs.side_information import CREDIT, pack_updates
from bitsback.coder.context import no_context
from bitsback.coder.distributions import COLOURS, Distributions
from bitsback.coder.model import Model
from bitsback.coder.sample_arrays import hash_at, sample
from bitsback.diffusion.passes import coding_passes
from bitsback.integer.installed import read_head, shipped_models, stored_id
from bitsback.integer.model_file import read_model
from tests import numpy_decoder, numpy_remainders
from tests.conftest import unshuffled
from tests.specification import ARITHMETIC, section, tables


@pytest.fixture(scope="module")
def model():
    return Model.open()


@pytest.fixture(scope="module")
def second(model):
    return numpy_decoder.Model(model.path.read_bytes())


def of(title):
    """The rows of an example, as strings."""
    (rows,) = tables(section(ARITHMETIC, title))
    return rows


def integers(text):
    return [int(number) for number in text.split()]


def words(text):
    return [int(word, 16) for word in text.split()]


def lanes_of(words_, count):
    lanes = Lanes(np.array(words_, "<u4").tobytes())
    lanes.widen(count)
    return lanes


def same(lanes, states, text):
    """Whether both implementations' lanes (package's, second's) are as a row says."""
    package, other = lanes
    states = [int(state, 16) for state in states]
    assert package.state.tolist() == other.states == states
    assert package.words[: package.count].tolist() == list(other.words) == words(text)


def test_examples_are_of_the_shipped_model(model, second):
    told = re.search(r"model `default`, id ([0-9a-f]{16})", section(ARITHMETIC, "16. Examples"))
    assert model.id[:16] == second.id()[:16] == told[1]


def test_one_lane():
    """States and words after each push, back by pops, and the closing, in both implementations."""
    rows = of("16.1")
    text = section(ARITHMETIC, "16.1")
    frequencies = [int(n) for n in re.search(r"frequencies ([\d, ]+);", text)[1].split(",")]
    cumulative = np.cumsum([0, *frequencies]).tolist()
    begun = [*words(rows[0][2]), int(rows[0][1], 16) & 0xFFFFFFFF]
    package, other = lanes_of(begun, 1), numpy_decoder.Lanes(b"")
    other.words = list(begun)
    other.widen(1)
    table, first = np.array([[*frequencies, 0]]), np.zeros(1, np.int32)
    same((package, other), [rows[0][1]], rows[0][2])
    for operation, state, left in rows[1:]:
        kind, number = re.fullmatch(r"push (symbol|number) (\d+)", operation).groups()
        value = np.array([int(number)], np.int32)
        if kind == "symbol":
            package.push_each(value, first, table)
            other.push_symbols([cumulative], [(int(number), None)], ())
        else:
            package.push_uniform(value, 16)
            other.push_symbols([[256 * i for i in range(2**16 + 1)]], [(int(number), None)], ())
        same((package, other), [state], left)
    bits, place, low = re.search(r"5 bits ([01]{5}) = (\d+) - 31, the (\d+) lower", text).groups()
    assert int(bits, 2) == int(place) - 31 and place == low
    closing = re.search(r"In a file: ([0-9a-f ]+) \(", text)[1]
    after = re.search(r"then the words from the top, ([0-9a-f ]+)\.", " ".join(text.split()))[1]
    data = bytes.fromhex(closing + after)
    assert package.to_bytes() == other.to_bytes() == data
    package = Lanes.from_bytes(data, 1)
    for operation, _, _ in reversed(rows[1:]):
        popped = package.pop_each(first, table) if "symbol" in operation else None
        popped = package.pop_uniform(1, 16) if popped is None else popped
        assert popped[0] == int(operation.split()[-1])
    assert package.state.tolist() == [int(rows[0][1], 16)]


def test_an_array_on_two_lanes(model, second):
    before, after = of("16.2")
    text = section(ARITHMETIC, "16.2")
    told = re.search(r"Values ([\d, -]+) with mean32 ([\d, -]+) and row set (\d+)", text).groups()
    values, mean32 = ([int(n) for n in part.split(",")] for part in told[:2])
    begun = [*words(before[3]), *(int(state, 16) & 0xFFFFFFFF for state in before[1:3])]
    package, other = lanes_of(begun, 2), numpy_decoder.Lanes(b"")
    other.words = list(begun)
    other.widen(2)
    same((package, other), before[1:3], before[3])
    scale = np.full(len(values), int(told[2]), np.int32)
    mean = np.array(mean32, np.int32)
    model.gaussians.push(package, np.array(values, np.int32), mean, scale)
    other.push_array(second.p, np.array(values), mean, scale, escapes=True)
    same((package, other), after[1:3], after[3])
    assert model.gaussians.pop(package, mean, scale).tolist() == values


def test_a_row(model, second):
    row = 32 * 64 + (-27 & 31)
    assert f"{row}, mean32 >> 5 = {-27 >> 5}." in section(ARITHMETIC, "16.3")
    for column, frequency, cum, value in of("16.3"):
        column = int(column)
        assert model.gaussians.frequencies[row, column] == int(frequency)
        assert second.p[row][column] == int(cum)
        assert second.p[row][column + 1] == int(cum) + int(frequency)
        assert value == ("escape" if column in (0, 63) else str(column - 31 + (-27 >> 5)))


def draw(k, side, colour, row, column):
    """Section 5, in unbounded integers."""
    z = (((4 * k + colour) * 4 + side) * 2**22 + row) * 2**24 + column + 0x9E3779B97F4A7C15
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z %= 2**64
        z = (z ^ z >> shift) * factor
    z %= 2**64
    return (z ^ z >> 31) >> 40


def test_draws(model, second):
    for k, side, colour, row, column, u, x, c in of("16.4"):
        place = [int(n) for n in (k, side, colour, row, column)]
        found = draw(*place)
        bits = hash_at(place[0], place[1], *(np.array([n]) for n in place[2:]))
        assert f"{found:06x}" == f"{int(bits[0]):06x}" == u
        if x:
            mean32 = np.array([64 * int(x)], np.int32)
            assert sample(model.forward, mean32, 0, bits).tolist() == [int(c)]
            edges = second.q[int(mean32[0]) & 31]
            drawn = sum(edge <= found for edge in edges) - 1 - 31 + (int(mean32[0]) >> 5)
            assert drawn == int(c)


def test_the_network(model, second):
    """One pixel's outputs, state and head by both implementations."""
    trunk, state, head = (integers(row[1]) for row in of("16.5"))
    n = np.fromfunction(lambda c, i, j: 3 * i - 2 * j + 7 * c, (3, 8, 8), dtype=np.int64)
    z = np.zeros_like(n)
    z[:, ::2, ::2], z[:, 1::2, 1::2] = n[:, ::2, ::2], -n[:, 1::2, 1::2]
    out, features = second.trunk(8, n)
    assert out[:, 0, 0].tolist() == trunk and features[:8, 0, 0].tolist() == state
    assert second.head(8, 1, z, features)[:, 0, 0].tolist() == head
    network = model.chain().network
    out, features = network.trunk(8, torch.from_numpy(n[None].astype(np.int32)))
    assert out[0, :, 0, 0].tolist() == trunk and features[0, :8, 0, 0].tolist() == state
    found = network.head(8, 1, features, torch.from_numpy(unshuffled(z[None])))
    assert found[0, :, 0, 0].tolist() == head


def test_a_step(model, second):
    """Mean and row set of each value of a 2x2 segment."""
    rows = [(int(p), c, *map(int, rest)) for p, c, *rest in of("16.6")]
    y = np.fromfunction(lambda b, c, i, j: 5 * i + 3 * j - 4 * c, (1, 3, 2, 2), dtype=np.int64)
    values = 2 * y + np.fromfunction(lambda b, c, i, j: i - j, y.shape, dtype=np.int64)
    known = np.zeros((1, 3, 0, 2), np.int64), np.zeros((1, 3, 2, 0), np.int64)
    arrays = numpy_decoder.distributions(second, 1, y, known, values)
    order = [(p, "RGB"[c]) for p in range(4) for c in COLOURS]
    found = [
        (*place, *(int(part.ravel()[0]) for part in array)) for place, array in zip(order, arrays)
    ]
    assert found == rows
    y, values = y.astype(np.int32), values.astype(np.int32)
    network, whole = model.chain().network, model.whole
    step = Distributions(network, 1, y, values, no_context(y), known=True, whole=whole)
    found = []
    for r in step:
        mean32, scale = int(r.mean32[0]), int(r.scale[0])
        value = int(step.coded(r)[0])
        found.append((r.places.pass_number, "RGB"[r.colour], value, mean32, scale))
    assert found == rows


def test_colour_counts(model, second):
    counted = {-2: 5, -1: 9, 0: 2000, 3: 1}
    assert len(of("16.7")) == len(SHARPNESS)
    for sharpness, told in of("16.7"):
        counts = ColourCounts(int(sharpness))
        for value, times in counted.items():
            counts.count("gray", np.zeros(1, np.int64), np.array([value], np.int32), times)
        rows = np.array([-27], np.int32), np.array([64], np.int32)
        found = counts.frequencies(model.gaussians, "gray", np.zeros(1, np.int64), *rows)
        assert found[0].tolist() == integers(told) and sum(integers(told)) == 2**24
        seen = Counter({("gray", value + 128): times for value, times in counted.items()})
        counts = numpy_decoder.Counts(int(sharpness))
        cumulative = counts.cumulative(second.p[2053], ("gray",), -1, seen)
        assert np.diff(cumulative).tolist() == integers(told)


def test_sharpness_table():
    """Section 12's table of (share, base)."""
    text = section(ARITHMETIC, "12. Colour counts")
    share, base = (
        [
            int(n)
            for n in re.search(rf"^\| {name} \|([\d |]+)$", text, re.MULTILINE)[1].split("|")[:-1]
        ]
        for name in ("share", "base")
    )
    assert tuple(zip(share, base, strict=True)) == SHARPNESS


def test_block_means(second, model):
    steps = np.array([[8, 11], [5, 8], [16, 0]], np.int32)[..., None]
    added = numpy_decoder.mean_map(second, steps, 70, 40)
    assert model.levels[-1].exponent == 8
    top = LocalTop((0, 0, 0), (64, 64, 64), (steps,), 8).mean_at(0, (0, 70), (0, 40), 1)
    for row, column, told in of("16.8"):
        place = 0, int(row), int(column)
        assert added[place] == top[place] == int(told)


def test_digits_of_remainders(model, second):
    for m, d, t, q, told in of("16.9"):
        m, d, t, q = (int(n) for n in (m, d, t, q))
        cumulative = numpy_remainders.frequencies(second.p, m, d, t, q)
        parts = np.array([m], np.int64), np.array([d], np.int64)
        found = gaussian_digits.frequencies(model.gaussians.frequencies, *parts, t, q)[0]
        assert np.diff(cumulative).tolist() == found[:-1].tolist() == integers(told)


def test_stack_of_bias_updates(model):
    (_, empty), (text, none) = of("16.10")
    families = int(re.search(r"(\d+) families", text)[1])
    assert families == len(model.update_codec.kinds)
    assert Stack(CREDIT).to_words() == bytes.fromhex(empty)
    other = numpy_decoder.Stack.from_credit(CREDIT)
    assert other.to_bytes() == bytes.fromhex(empty)
    for _ in range(families):
        other.push([0, 2**23, 2**24], 0)
    updates = np.zeros(model.update_codec.size, np.int32)
    assert other.to_bytes() == pack_updates(updates, model) == bytes.fromhex(none)


def test_passes_are_those_of_the_table():
    """Section 7: every part of every pass, in order."""
    for count, told in tables(section(ARITHMETIC, "7. The distributions"))[0]:
        passes = [
            [(int(row), int(column)) for row, column in re.findall(r"\((\d),(\d)\)", part)]
            for part in told.split(";")
        ]
        found = [[part[:2] for part in one] for one in coding_passes(int(count))]
        assert passes == found


ENSEMBLES = [name for name, path in shipped_models().items() if "ensemble" in read_head(path)]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_files_of_ensembles_are_as_section_17_says(name):
    tensors, about, _ = read_model(shipped_models()[name])
    text = section(ARITHMETIC, "17. Ensembles")
    shape = ast.literal_eval(re.search(r"`pixel_masses`, (\(\d+, \d+\)) I32, each", text)[1])
    assert set(about) == {"arithmetic", "ensemble", "levels", "id"} and about["arithmetic"] == 8
    assert set(about["ensemble"]) == {"models", "steps"} and set(tensors) == {"pixel_masses"}
    rows = tensors["pixel_masses"]
    assert tuple(rows.shape) == shape and rows.dtype == torch.int32 and rows.min() >= 4
    assert (rows.sum(1) == 2**24).all() and len(about["ensemble"]["steps"]) == len(about["levels"])
    assert {stored_id(path) for path in shipped_models().values()} > set(
        about["ensemble"]["models"]
    )


@pytest.mark.parametrize("name", sorted({*shipped_models()} - {*ENSEMBLES}))
def test_model_files_are_as_the_tables_say(name):
    """Section 1: every tensor of a shipped model, by name, shape, type and range; no others."""
    tensors, about, model_id = read_model(shipped_models()[name])
    text = section(ARITHMETIC, "1. The model file")
    keys, parts, layers, whole = tables(text)
    assert {row[0].strip("`") for row in keys} == set(about) and about["arithmetic"] == 7
    expected = {}
    for row in whole:
        shape = row[1].replace("K", str(len(about["levels"])))
        low, _, high = row[3].partition("..")
        limits = (int(low), eval(high.replace("^", "**"))) if high else None
        expected[row[0].strip("`")] = eval_shape(shape), row[2], limits
    for i, expert in enumerate(about["experts"]):
        sizes = expert["network"]
        assert {"c1", "n1", "c2", "n2", "c3", "n3", "head", "phases", "embedding"} == set(sizes)
        terms = sizes | {"h": sizes["head"], "P": sizes["phases"]}
        terms["S"] = expert["steps"][1] - expert["steps"][0]
        for row in layers:
            o, width, side, stride, rows = (evaluate(cell, terms) for cell in row[1:6])
            for layer in layer_names(row[0], terms):
                start = f"{i}.{layer}."
                expected[start + "weight"] = (o, width, side, side), row[6], None
                expected[start + "bias"] = (rows, o), "I32", None
                expected[start + "shift"] = (o,), "I8", (0, 22)
                expected[start + "stride"] = (1,), "I8", (stride, stride)
    assert set(tensors) == set(expected)
    kinds = {torch.int8: "I8", torch.int32: "I32"}
    for tensor, (shape, kind, limits) in expected.items():
        found = tensors[tensor]
        assert (tuple(found.shape), kinds[found.dtype]) == (shape, kind), tensor
        if limits:
            assert limits[0] <= int(found.min()) and int(found.max()) <= limits[1], tensor


def evaluate(cell, terms):
    """A number, or a product as `4 c2` or `(P - 1) S`, of named numbers."""
    product = re.sub(r"(?<=[\w)]) (?=\w)", " * ", cell)
    return eval(product, {}, dict(terms))


def eval_shape(text):
    """(rows, ...) of "(32 9, 64)"."""
    return tuple(
        int(np.prod([int(n) for n in part.split()])) for part in text.strip("()").split(",")
    )


def layer_names(cell, terms):
    """The layers of a row: `down1.t.a`, `up1.t.a`, t < n1."""
    names = re.findall(r"`([\w.]+)`", cell)
    for name in names:
        if ".t." in name:
            count = terms["n3" if name.startswith("middle") else f"n{name[name.index('.') - 1]}"]
            yield from (name.replace(".t.", f".{t}.") for t in range(count))
        elif name.endswith(".p"):
            yield from (f"{name[:-1]}{p}" for p in range(terms["P"] - 1))
        else:
            yield name
