"""A second decoder (and an encoder of segments), written from bitsback/ARITHMETIC.md alone.

In numpy int64 and Python integers.

It shares no code with the package, uses neither torch nor constriction nor safetensors, and is
slow.  Section numbers are ARITHMETIC.md's.
The file's header is no arithmetic; what it says comes in as arguments:

    model = Model(open("m.safetensors", "rb").read())
    lanes = Lanes(payload)
    images = decode(model, lanes, sizes, start, segments, top)  # 0 before `start`: in the credit
    credit = lanes.credit(length)
"""

import hashlib
import json
import zlib
from bisect import bisect_right
from collections import Counter
from itertools import accumulate

import numpy as np

R, G, B = 0, 1, 2
# Passes of section 7: (row, column, stride) of the parts of each.
PASSES = {
    2: [[(0, 0, 2), (1, 1, 2)], [(0, 1, 2), (1, 0, 2)]],
    4: [[(0, 0, 2)], [(1, 1, 2)], [(0, 1, 2)], [(1, 0, 2)]],
    8: [
        [(0, 0, 4), (2, 2, 4)],
        [(0, 2, 4), (2, 0, 4)],
        [(1, 1, 4), (3, 3, 4)],
        [(1, 3, 4), (3, 1, 4)],
        [(0, 1, 4), (2, 3, 4)],
        [(0, 3, 4), (2, 1, 4)],
        [(1, 0, 4), (3, 2, 4)],
        [(1, 2, 4), (3, 0, 4)],
    ],
}
CONTEXT_ROWS = 8
MASK64 = 2**64 - 1


def half_up(value, bits):
    return (value + (1 << (bits - 1))) >> bits


def half_even(value, bits):
    """`bits` an int or an array that broadcasts with `value`."""
    value, bits = np.broadcast_arrays(np.asarray(value, np.int64), np.asarray(bits, np.int64))
    right = np.maximum(bits, 1)
    floor = value >> right
    rest, half = value - (floor << right), np.int64(1) << (right - 1)
    rounded = floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))
    return np.where(bits > 0, rounded, value << np.maximum(-bits, 0))


def act(value):
    return half_even(value, 4).clip(0, 255)


def unshuffle(a):
    c, h, w = a.shape
    return (
        a.reshape(c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3).reshape(4 * c, h // 2, w // 2)
    )


def shuffle(a):
    c, h, w = a.shape
    return a.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)


class Model:
    """Section 1: the integers of a model file, and section 6: its network."""

    def __init__(self, data):
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        self.about = json.loads(header.pop("__metadata__")["bitsback"])
        assert self.about["arithmetic"] == 7
        self.tensors, self.dtypes = {}, {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            values = np.frombuffer(
                data[end + start : end + stop], {"I8": "<i1", "I32": "<i4"}[entry["dtype"]]
            )
            self.tensors[name] = values.reshape(entry["shape"])
            self.dtypes[name] = {"I8": "torch.int8", "I32": "torch.int32"}[entry["dtype"]]
        self.exponents, self.steps = zip(*self.about["levels"])
        self.count = len(self.steps)
        masses = self.tensors["gaussian_masses"], self.tensors["forward_masses"]
        if "whole_masses" in self.tensors:
            masses = np.concatenate([masses[0], self.tensors["whole_masses"]]), masses[1]
        self.p, self.q = (
            [[0, *row] for row in np.cumsum(table, axis=1, dtype=np.int64).tolist()]
            for table in masses
        )  # cumulative frequencies

    def id(self):
        """The whole SHA-256 in hex."""
        told = {key: self.about[key] for key in ("arithmetic", "experts", "levels")}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name in sorted(self.tensors):
            digest.update(
                f"{name} {self.tensors[name].shape} {self.dtypes[name]}\n".encode()
                + self.tensors[name].tobytes()
            )
        return digest.hexdigest()

    def table(self, name, k):
        return self.tensors["steps." + name][k].astype(np.int64)

    def expert(self, k):
        """Number of the expert of step k, and its first step."""
        return next(
            (i, told["steps"][0])
            for i, told in enumerate(self.about["experts"])
            if k in range(*told["steps"])
        )

    def levels(self, i):
        start, end = self.about["experts"][i]["steps"]
        return end - start

    def passes(self, k):
        return PASSES[self.about["experts"][self.expert(k)[0]]["network"]["phases"]]

    def conv(self, name, a, k, pass_number=None):
        i, first = self.expert(k)
        name, k = f"{i}.{name}", k - first
        weight, bias, shift = (
            self.tensors[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift")
        )
        stride, size = int(self.tensors[name + ".stride"][0]), weight.shape[2]
        row = (
            0
            if len(bias) == 1
            else k
            if pass_number is None
            else (len(bias) // self.levels(i)) * k + pass_number - 1
        )
        margin = size // 2 if stride == 1 else 0
        a = np.pad(a, ((0, 0), (margin, margin), (margin, margin)))
        height, width = ((side - size) // stride + 1 for side in a.shape[1:])
        total = np.zeros((len(weight), height, width), np.int64) + bias[row][:, None, None]
        for i in range(size):
            for j in range(size):
                tap = a[
                    :,
                    i : i + stride * (height - 1) + 1 : stride,
                    j : j + stride * (width - 1) + 1 : stride,
                ]
                total += np.tensordot(weight[:, :, i, j], tap, axes=1)
        return half_even(total, shift[:, None, None])

    def trunk(self, k, n):
        """(f, s, rho) of (9, H8, W8) before padding is cut, and the head's state.

        Step k, for lattice indices (3, H, W) with their context.
        """
        size = self.about["experts"][self.expert(k)[0]]["network"]

        def blocks(a, name, count):
            for i in range(count):
                inner = self.conv(f"{name}.{i}.a", act(a), k).clip(0, 255)
                a = a + self.conv(f"{name}.{i}.b", inner, k)
            return a

        n = half_up(n * self.tensors["steps.scalars"][k, 0].astype(np.int64), 8).clip(-1023, 1023)
        n = np.pad(n, ((0, 0), (0, -n.shape[1] % 8), (0, -n.shape[2] % 8)))
        half = blocks(self.conv("first", unshuffle(n), k), "down1", size["n1"])
        quarter = blocks(self.conv("to2", act(half), k), "down2", size["n2"])
        eighth = blocks(self.conv("to3", act(quarter), k), "middle", size["n3"])
        quarter = blocks(quarter + shuffle(self.conv("from3", act(eighth), k)), "up2", size["n2"])
        half = blocks(half + shuffle(self.conv("from2", act(quarter), k)), "up1", size["n1"])
        out = shuffle(self.conv("last", act(half), k))
        out = np.concatenate(
            [out[:3].clip(-4096, 4096), out[3:6].clip(-139, 69), out[6:].clip(-256, 256)]
        )
        return out, self.conv("head_features", act(half), k)

    def head(self, k, pass_number, z, state):
        """z of the whole padded area (3, H8, W8) -> (9, H8 / 2, W8 / 2)."""
        h = act(self.conv("head_known", unshuffle(z), k, pass_number) + state)
        h = (self.conv("head_mix", h, k) + h).clip(0, 255)
        out = self.conv(f"head_out.{pass_number - 1}", h, k)
        return np.concatenate(
            [out[:3].clip(-2048, 2048), out[3:6].clip(-46, 23), out[6:].clip(-256, 256)]
        )


def pop_deltas(model, stack):
    """Section 9: {"expert.layer": (O,)} from the top of a stack."""
    updates, halves, eighths, uniform = (
        {},
        [i << 23 for i in range(3)],
        [i << 21 for i in range(9)],
        [i << 17 for i in range(129)],
    )
    families = [expert["family"] for expert in model.about["experts"]]
    for i in (families.index(number) for number in sorted(set(families))):
        if not stack.pop(halves):
            continue
        for layer in sorted(
            name[:-7]
            for name in model.tensors
            if name.startswith(f"{i}.") and name.endswith(".weight")
        ):
            coarseness, scale, count = (
                stack.pop(eighths),
                stack.pop(uniform),
                len(model.tensors[f"{layer}.shift"]),
            )
            updates[layer] = stack.pop_row(model.p[32 * scale], count)
            assert abs(updates[layer]).max() <= 127, "a delta out of range"
            updates[layer] *= 2**coarseness
            for other, family in enumerate(families):
                if family == families[i]:
                    updates[f"{other}.{layer.split('.', 1)[1]}"] = updates[layer]
    return updates


def tune(model, updates):
    """Section 9: adds bias updates to a model.  Returns the largest sum that the proof bounds."""
    totals, largest = Counter(), 0
    for name, t in updates.items():
        expert, layer = name.split(".", 1)
        weight, bias, shift = (
            model.tensors[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift")
        )
        m = {"a": -1, "head_mix": -2}.get(layer.split(".")[-1], 2)
        if layer == "last" or layer.startswith("head_out."):
            m = np.repeat([0, -3, -2], len(t) // 3)
        bias = bias + t * 2 ** (shift + m).clip(0, 14)
        reach = {"first": 1023, "head_known": 96}.get(layer, 255)
        sums = abs(weight).reshape(len(t), -1).sum(1) * reach + abs(bias).max(0)
        totals[expert, layer.startswith("head")] += 1 + (sums * 2.0**-shift).max()
        largest = max(largest, sums.max())
        model.tensors[f"{name}.bias"] = bias
    return max(largest, *totals.values())


class Stack:
    """Section 9: the stack of bias updates, one state."""

    def __init__(self, data):
        """data: the section of a file."""
        self.words, self.state = np.frombuffer(data, "<u4").tolist(), 0
        self._refill()

    @classmethod
    def from_credit(cls, data):
        return cls(data + bytes(-len(data) % 4) + b"\1\0\0\0")

    def _refill(self):
        while self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def to_bytes(self):
        words = [*self.words, self.state & 0xFFFFFFFF, self.state >> 32]
        return np.array(words[:-1] if words[-1] == 0 else words, "<u4").tobytes()

    def credit(self, length):
        data = self.to_bytes()
        assert data[length:] == bytes(-length % 4) + b"\1\0\0\0", (
            "the stack does not end at its seal"
        )
        return data[:length]

    def pop(self, cumulative):
        q = self.state & 0xFFFFFF
        symbol = bisect_right(cumulative, q) - 1
        low, high = cumulative[symbol : symbol + 2]
        self.state = (self.state >> 24) * (high - low) + q - low
        self._refill()
        assert self.state >= 2**32, "the stack is exhausted"
        return symbol

    def push(self, cumulative, symbol):
        low, high = cumulative[symbol : symbol + 2]
        frequency = high - low
        assert frequency, "a column without frequency: the file is damaged"
        if self.state >= frequency << 40:
            self.words.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        self.state = (self.state // frequency << 24) + self.state % frequency + low

    def pop_row(self, cumulative, count):
        """Section 9: values of mean 0 under one row, with escapes."""
        values = [self.pop(cumulative) - 31 for _ in range(count)]
        return np.array([self.pop(UNIFORM) - 2**15 if v in (-31, 32) else v for v in values])


UNIFORM = [256 * i for i in range(2**16 + 1)]  # cumulative frequencies of a number below 2^16


class Lanes:
    """Section 3, and the coding of arrays of section 2."""

    def __init__(self, data):
        """data: the payload of a file; `open` comes before all else."""
        self.data, self.words, self.states = data, [], []

    @classmethod
    def from_credit(cls, data):
        lanes = cls(b"")
        lanes.words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").tolist()
        return lanes

    def open(self, count):
        if self.words:
            return
        bits = "".join(f"{byte:08b}" for byte in self.data)
        exponents, place = [], 5 * count
        for i in range(count):
            exponents.append(31 + int(bits[5 * i : 5 * i + 5], 2))
        for e in exponents:
            self.states.append(1 << e | int(bits[place : place + e], 2))
            place += e
        closing = -(-place // 8)
        assert "1" not in bits[place : 8 * closing], "padding that is not zero"
        self.words = np.frombuffer(self.data[closing:], "<u4")[::-1].tolist()

    def to_bytes(self):
        exponents = [state.bit_length() - 1 for state in self.states]
        bits = "".join(f"{e - 31:05b}" for e in exponents)
        bits += "".join(f"{state:b}"[1:] for state in self.states)
        bits += "0" * (-len(bits) % 8)
        closing = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        return closing + np.array(self.words[::-1], "<u4").tobytes()

    def widen(self, count):
        opened = count - len(self.states)
        if opened > 0:
            self.states += [2**32 + word for word in self.words[-opened:]]
            del self.words[-opened:]

    def narrow(self, count):
        for state in self.states[count:]:
            assert state >> 32 == 1, "a lane does not end where it began"
            self.words.append(state & 0xFFFFFFFF)
        del self.states[count:]

    def credit(self, length):
        data = np.array(self.words, "<u4").tobytes()
        assert not self.states and len(data) == length + -length % 4 and not any(data[length:])
        return data[:length]

    def _pop(self, lane, cumulative):
        state = self.states[lane]
        q = state & 0xFFFFFF
        symbol = bisect_right(cumulative, q) - 1
        low, high = cumulative[symbol : symbol + 2]
        state = (high - low) * (state >> 24) + q - low
        if state < 2**31:
            state = state << 32 | self.words.pop()
        self.states[lane] = state
        return symbol

    def _push(self, lane, cumulative, symbol):
        state, (low, high) = self.states[lane], cumulative[symbol : symbol + 2]
        frequency = high - low
        assert frequency, "a column without frequency: the file is damaged"
        if state >= frequency << 39:
            self.words.append(state & 0xFFFFFFFF)
            state >>= 32
        self.states[lane] = (state // frequency << 24) + state % frequency + low

    def pop_symbols(self, distributions, escapes):
        """[(symbol, the number of an escaped one or None)]; distributions: cumulative of each."""
        found = []
        for begin in range(0, len(distributions), len(self.states)):
            step = distributions[begin : begin + len(self.states)]
            symbols = [self._pop(lane, cumulative) for lane, cumulative in enumerate(step)]
            for lane, symbol in enumerate(symbols):
                number = self._pop(lane, UNIFORM) if symbol in escapes else None
                found.append((symbol, number))
        return found

    def push_symbols(self, distributions, symbols, escapes):
        """symbols: as pop_symbols returns them."""
        for begin in reversed(range(0, len(distributions), len(self.states))):
            step = range(begin, min(begin + len(self.states), len(distributions)))
            for i in reversed(step):
                if symbols[i][0] in escapes:
                    self._push(i - begin, UNIFORM, symbols[i][1])
            for i in reversed(step):
                self._push(i - begin, distributions[i], symbols[i][0])

    def pop_array(self, table, mean, row_set, escapes):
        """table: Model.p or .q; mean (in 1/32), row_set: arrays of the shape that is returned."""
        rows, base = _rows(mean, row_set)
        found = self.pop_symbols([table[row] for row in rows], (0, 63) if escapes else ())
        values = [
            b - 31 + symbol if number is None else number - 2**15
            for b, (symbol, number) in zip(base, found)
        ]
        return np.array(values, np.int64).reshape(mean.shape)

    def push_array(self, table, values, mean, row_set, escapes):
        rows, base = _rows(mean, row_set)
        columns = (values.ravel() - base + 31).clip(0, 63).tolist()
        symbols = [(column, int(v) + 2**15) for column, v in zip(columns, values.ravel())]
        self.push_symbols([table[row] for row in rows], symbols, (0, 63) if escapes else ())


def _rows(mean, row_set):
    mean, row_set = mean.ravel(), row_set.ravel()
    return 32 * row_set + (mean & 31), mean >> 5


# Section 4: levels.  Latents and x of a segment are (images, 3, H, W).


def forward(model, k, below):
    """Mean and row set of q(y_k | y_{k-1})."""
    e = model.exponents[k] - (model.exponents[k - 1] if k else 0)
    return 32 * below >> e if e >= 0 else 32 * below << -e, np.full(below.shape, k)


def top_parameters(shape, top, more):
    """mean32 and scale, (images, 3, H, W) each.

    top: mean32 and scale of R, of G, of B; more: (images, 3, H, W), section 13.
    """
    mean, scale = (
        np.broadcast_to(
            np.reshape(top[i::2] if shape[1] == 3 else top[2 + i : 3 + i], (-1, 1, 1)), shape
        )
        for i in (0, 1)
    )
    return mean + more, scale


# Section 13: block means


def between(count, n):
    """For each of `count` pixels: (block, weight) of two of n blocks."""
    places = [min(max(2 * r + 1 - 32, 0), 64 * (n - 1)) for r in range(count)]
    return [((p // 64, 64 - p % 64), (min(p // 64 + 1, n - 1), p % 64)) for p in places]


def mean_map(model, means, height, width):
    """What `means` (r, c, C) add to mean32: (C, H, W)."""
    down, across = between(height, means.shape[0]), between(width, means.shape[1])
    more = np.zeros((means.shape[2], height, width), np.int64)
    for colour, y, x in np.ndindex(*more.shape):
        more[colour, y, x] = sum(
            v * w * (int(means[i, j, colour]) - 8) for i, v in down[y] for j, w in across[x]
        )
    return half_up(more, 2 + model.exponents[-1])


def mean_maps(model, sizes, means):
    """(C, H, W) of each image; means: None, or (r, c, C) or None for each."""
    return [
        np.zeros((channels, height, width), np.int64)
        if means is None or means[i] is None
        else mean_map(model, means[i], height, width)
        for i, (height, width, channels) in enumerate(sizes)
    ]


# Section 5: context


def draw(k, side, colour, row, column):
    """24 bits."""
    z = (((4 * k + colour) * 4 + side) * 2**22 + row) * 2**24 + column + 0x9E3779B97F4A7C15 & MASK64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK64
    return (z ^ z >> 31) >> 40


def context(model, sides):
    """x of the rows below (images, 3, h, W + w) and the columns to the right (images, 3, H, w)
    -> pairs of their latents, one a level.
    """
    return list(zip(*(side_context(model, side, x) for side, x in enumerate(sides))))


def side_context(model, side, x):
    """One side's latents, one array per level."""
    latents = []
    for k in range(model.count):
        mean, row_set = forward(model, k, x)
        x = np.zeros_like(mean)
        for at in np.ndindex(*x.shape):
            column = (
                bisect_right(model.q[32 * row_set[at] + (mean[at] & 31)], draw(k, side, *at[1:]))
                - 1
            )
            x[at] = column - 31 + (mean[at] >> 5)
        latents.append(x)
    return latents


# Section 7: the values of a step


def step(model, k, y, known, code):
    """The level below y.

    y: of level k; known: its context below and to the right; code(parts, colour, mean32, scale)
    returns the values of one array, (images, n); parts: of a pass, in the decoder's order.
    """
    height, width = y.shape[2:]
    _, from_y, from_f, base = model.tensors["steps.scalars"][k].tolist()
    gray = y.shape[1] == 1
    out, state = map(
        np.stack,
        zip(
            *(
                model.trunk(k, np.repeat(n, 3, axis=0) if gray else n)
                for n in np.concatenate([np.concatenate([y, known[1]], axis=3), known[0]], axis=2)
            )
        ),
    )
    f, s, rho = (out[:, i : i + 3, :height, :width] for i in (0, 3, 6))
    mean0 = half_up(from_y * y + from_f * f, 10)
    v0 = (base + s).clip(0, 255)
    scale, gain, shift, inverse = (
        model.table(name, k) for name in ("scale", "gain", "shift", "inverse")
    )
    values, z = np.zeros_like(y), np.zeros((len(y), 3, *out.shape[2:]), np.int64)
    for pass_number, parts in enumerate(model.passes(k)):
        heard = (
            np.stack([model.head(k, pass_number, *one) for one in zip(z, state)])
            if pass_number
            else None
        )
        m0, u0, r = (gathered(array, parts) for array in (mean0, v0, rho))
        m, v = m0, u0
        if pass_number:
            added = gathered(
                heard.repeat(2, axis=2).repeat(2, axis=3)[:, :, :height, :width], parts
            )  # every pixel hears what its block does
            m = m + half_up(shift[v] * added[:, :3], 10)
            v = (v + added[:, 3:6]).clip(0, 255)
            r = r + added[:, 6:]
        d, got = {}, np.zeros_like(m)
        for colour in (G,) if gray else (G, R, B):
            mean = m[:, colour]
            if colour == R:
                mean = mean + half_up(r[:, 0] * gain[v[:, G]] * d[G], 14)
            if colour == B:
                mean = mean + half_up(
                    r[:, 1] * gain[v[:, G]] * d[G] + r[:, 2] * gain[v[:, R]] * d[R], 14
                )
            mean32, row = half_up(mean, 1), scale[v[:, colour]]
            if k == 1 and "whole_masses" in model.tensors:
                row = whole(
                    model, mean32, row, gathered(np.broadcast_to(y, f.shape), parts)[:, colour]
                )
            got[:, colour] = code(parts, colour, mean32, row)
            d[colour] = (64 * got[:, colour] - mean).clip(-4096, 4096)
        told = half_up((64 * got - m0).clip(-32768, 32768) * inverse[u0], 14).clip(-96, 96)
        scatter(values, parts, got[:, G:B] if gray else got)
        scatter(z[:, :, :height, :width], parts, told[:, [G, G, G]] if gray else told)
    return values


def whole(model, mean32, row, n):
    """The row sets of step 1, where pixels are known to be whole."""
    first, shift = model.tensors["whole.scalars"].tolist()
    floor, above = (mean32 >> 5) - (n << shift) + 6, row - first
    inside = (0 <= floor) & (floor < 12) & (0 <= above) & (above < 16)
    return np.where(inside, 113 + 12 * above + floor, row)


def gathered(array, parts):
    """(images, C, H, W) -> (images, C, n): the pixels of a pass, part by part."""
    return np.concatenate(
        [array[:, :, i::stride, j::stride].reshape(*array.shape[:2], -1) for i, j, stride in parts],
        axis=2,
    )


def scatter(array, parts, values):
    begin = 0
    for i, j, stride in parts:
        view = array[:, :, i::stride, j::stride]
        view[...] = values[:, :, begin : begin + view[0, 0].size].reshape(view.shape)
        begin += view[0, 0].size


def part(values, parts, colour):
    """(images, n) of (images, 3, H, W): an array of a step; parts: of a pass."""
    return gathered(values, parts)[:, colour if values.shape[1] == 3 else 0]


def pop_step(model, lanes, k, y, known, free, told, counts=None):
    """free: bool, what is coded, section 11; told: values of the level below where nothing is;
    counts: Counts, or None, section 12.
    """
    below, seen = told.copy(), counts and Counter(counts.seen)

    def code(parts, colour, mean, scale):
        values, coded = part(below, parts, colour), part(free, parts, colour)
        if counts:
            values[coded] = counts.pop_array(
                lanes, model.p, keys(below, parts, colour, coded), mean[coded], scale[coded], seen
            )
        else:
            values[coded] = lanes.pop_array(model.p, mean[coded], scale[coded], escapes=True)
        scatter(
            below[:, colour : colour + 1] if below.shape[1] == 3 else below, parts, values[:, None]
        )
        return values

    return step(model, k, y, known, code)


def distributions(model, k, y, known, below, free=None):
    """All arrays of a step, in the decoder's order, when the level below is known.

    (values, mean32, scale); with `free` only what is coded.
    """
    arrays = []

    def code(parts, colour, mean, scale):
        values, coded = (
            part(below, parts, colour),
            ... if free is None else part(free, parts, colour),
        )
        arrays.append((values[coded], mean[coded], scale[coded]))
        return values

    step(model, k, y, known, code)
    return arrays


# Section 12: counted colours


def byte(value):
    return min(max(int(value), -128), 127) + 128


def keys(x, parts, colour, coded=...):
    """For each coded value of an array of x (images, 3, H, W): (table, bytes of the colours before
    it); with its own byte that is its place in Counts.seen.
    """
    count = part(x, parts, colour)[coded].size
    if x.shape[1] == 1:
        return [("gray",)] * count
    before = [
        map(byte, part(x, parts, c)[coded].ravel().tolist())
        for c in {G: (), R: (G,), B: (G, R)}[colour]
    ]
    return list(zip([colour] * count, *before))


class Counts:
    """Counts of the pixels decoded so far.  `seen` in its methods is a copy that includes the
    segment being decoded.
    """

    def __init__(self, sharpness):
        self.share, self.base = [(0, 1), (1, 1), (1, 5), (3, 5), (8, 8), (32, 32)][sharpness - 1]
        self.seen = Counter()

    def add(self, x, times=1):
        """All pixels of a segment."""
        for parts in PASSES[4]:
            for colour in (G,) if x.shape[1] == 1 else (G, R, B):
                for key, value in zip(
                    keys(x, parts, colour), part(x, parts, colour).ravel().tolist()
                ):
                    self.seen[(*key, byte(value))] += times

    def cumulative(self, gaussian, key, b, seen):
        """Cumulative frequencies q of the 17 symbols; gaussian: those of the row."""
        values = range(b - 7, b + 9)
        m = [(gaussian[25 + i] - gaussian[24 + i] >> 4) + 1 for i in range(16)]
        n = [min(seen[(*key, byte(v))], 1023) if -128 <= v <= 127 else 0 for v in values]
        e = (sum(n) * self.share >> 4) + self.base
        w = [m[i] * (16 * n[i] + e) if -128 <= v <= 127 else 0 for i, v in enumerate(values)]
        w.append(((2**24 - gaussian[40] + gaussian[24] >> 4) + 1) * (sum(n) + e))
        q = [one * (2**24 - 17) // sum(w) + 1 for one in w]
        q[7] += 2**24 - sum(q)
        return [0, *accumulate(q)]

    @staticmethod
    def chunks(count):
        length = max(256, (count + 11) // 12)
        for begin in range(0, count, length):
            yield range(begin, min(begin + length, count))

    def pop_array(self, lanes, table, places, mean, row_set, seen):
        rows, bases = _rows(mean, row_set)
        values = np.zeros(len(rows), np.int64)
        for chunk in self.chunks(len(rows)):
            distributions = [
                self.cumulative(table[rows[i]], places[i], int(bases[i]), seen) for i in chunk
            ]
            for i, (symbol, number) in zip(chunk, lanes.pop_symbols(distributions, (16,))):
                values[i] = bases[i] - 7 + symbol if number is None else number - 2**15
            for i in chunk:
                seen[(*places[i], byte(values[i]))] += 1
        return values

    def push_arrays(self, lanes, table, arrays):
        """All arrays of step 0, (places, values, mean32, scale), in the decoder's order.

        They are pushed in the reverse order.
        """
        coded, seen = [], Counter(self.seen)
        for places, values, mean, row_set in arrays:
            rows, bases = _rows(mean, row_set)
            for chunk in self.chunks(len(rows)):
                symbols = [int(values[i] - bases[i]) + 7 for i in chunk]
                symbols = [symbol if 0 <= symbol < 16 else 16 for symbol in symbols]
                distributions = [
                    self.cumulative(table[rows[i]], places[i], int(bases[i]), seen) for i in chunk
                ]
                numbers = [int(values[i]) + 2**15 for i in chunk]
                coded.append((distributions, list(zip(symbols, numbers))))
                for i in chunk:
                    seen[(*places[i], byte(values[i]))] += 1
        for distributions, symbols in reversed(coded):
            lanes.push_symbols(distributions, symbols, (16,))


# Sections 4 and 5: segments


def pop_segment(model, lanes, x, sides, top, free, counts=None, *, more):
    """x (images, 3, H, W) with the samples that are not free, and the x below it and to its right.

    top: mean32 and scale of R, of G, of B.
    """
    known, told = context(model, sides), [x, *side_context(model, 2, x)]
    y = told[-1].copy()
    y[free] = lanes.pop_array(
        model.p, *(part[free] for part in top_parameters(x.shape, top, more)), escapes=True
    )
    for k in reversed(range(model.count)):
        down = pop_step(model, lanes, k, y, known[k], free, told[k], None if k else counts)
        lanes.push_array(model.q, y[free], *forward(model, k, down[free]), escapes=False)
        y = down
    return y


def push_segment(model, lanes, x, sides, top, free, counts=None, *, more):
    known, told = context(model, sides), side_context(model, 2, x)
    for k in range(model.count):
        y = told[k].copy()
        y[free] = lanes.pop_array(model.q, *forward(model, k, x[free]), escapes=False)
        arrays = distributions(model, k, y, known[k], x, free)
        if counts and not k:
            places = [
                keys(x, parts, colour, part(free, parts, colour))
                for parts in model.passes(0)
                for colour in ((G,) if x.shape[1] == 1 else (G, R, B))
            ]
            counts.push_arrays(
                lanes, model.p, [(key, *array) for key, array in zip(places, arrays, strict=True)]
            )
            arrays = []
        for array in reversed(arrays):
            lanes.push_array(model.p, *array, escapes=True)
        x = y
    lanes.push_array(
        model.p, x[free], *(part[free] for part in top_parameters(x.shape, top, more)), escapes=True
    )


def places(sizes, start, segments):
    """(slice of images, slice of rows, slice of columns) of each segment (kind, size).

    One after the other from `start` = (image, rows, columns).
    """
    image, rows, columns = start
    for kind, size in segments:
        height, width = sizes[image][:2]
        if kind == 0:
            yield slice(image, image + size), slice(0, height), slice(0, width)
            image += size
            continue
        if kind == 1:
            columns = columns or width
            yield slice(image, image + 1), slice(rows, rows + size), slice(0, columns)
            rows += size
        else:
            yield slice(image, image + 1), slice(0, rows), slice(columns, columns + size)
            columns += size
        if (rows, columns) == (height, width):
            image, rows, columns = image + 1, 0, 0


def around(images, rows, columns):
    """x below and to the right of a place in each image."""
    m = CONTEXT_ROWS
    return (
        np.stack(
            [x[:, rows.stop : rows.stop + m, columns.start : columns.stop + m] for x in images]
        ),
        np.stack([x[:, rows, columns.stop : columns.stop + m] for x in images]),
    )


def lane_counts(sizes, start, segments, rule=None, masks=None):
    """Section 3: [0, lanes of the first segment, of the second, ...]; masks: (C, H, W) bool.

    rule: (samples, most) of the header; None for this encoder's.
    """
    each, most = rule or (1024, max(1, min(4096, sum(h * w * c for h, w, c in sizes) // 6144)))
    counts, coded = [0], 0
    for which, rows, columns in places(sizes, start, segments):
        for i in range(which.start, which.stop):
            mask = np.full((sizes[i][2], *sizes[i][:2]), True) if masks is None else masks[i]
            coded += int(mask[:, rows, columns].sum())
        counts.append(max(1, min(most, coded // each)))
    return counts


def free_of(masks, which, rows, columns):
    return np.stack([mask[:, rows, columns] for mask in masks[which]])


def decode(
    model, lanes, sizes, start, segments, top, told=None, sharpness=0, means=None, rule=None
):
    """All segments, last first -> list of (H, W, C) uint8, 0 where the fallback parts lie.

    sizes: (height, width, channels) of each image; start: (image, rows, columns);
    told: (images (H, W, C) uint8, masks (H, W, C) bool, False where a sample is known), section 11;
    sharpness: section 12;
    means: (r, c, C) or None for each image, section 13."""
    more = mean_maps(model, sizes, means)
    counts = Counts(sharpness) if sharpness else None
    images = [
        np.full((channels, height, width), -128, np.int64) for height, width, channels in sizes
    ]
    masks = [np.full(x.shape, True) for x in images]
    for i, (pixels, mask) in enumerate(zip(*told or ([], []))):
        masks[i] = mask.transpose(2, 0, 1)
        images[i][~masks[i]] = pixels.transpose(2, 0, 1)[~masks[i]].astype(np.int64) - 128
    counted = lane_counts(sizes, start, segments, rule, masks)
    lanes.open(counted.pop())
    for which, rows, columns in reversed(list(places(sizes, start, segments))):
        x = np.stack([x[:, rows, columns] for x in images[which]])
        got = pop_segment(
            model,
            lanes,
            x,
            around(images[which], rows, columns),
            top,
            free_of(masks, which, rows, columns),
            counts,
            more=np.stack([one[:, rows, columns] for one in more[which]]),
        )
        lanes.narrow(counted.pop())
        assert got.min() >= -128 and got.max() <= 127
        if counts:
            counts.add(got)
        for x, block in zip(images[which], got):
            x[:, rows, columns] = block
    return [(x + 128).transpose(1, 2, 0).astype(np.uint8) for x in images]


def encode(model, lanes, images, start, segments, top, masks=None, sharpness=0, means=None):
    """Pushes what `decode` pops."""
    more = mean_maps(model, [pixels.shape for pixels in images], means)
    masks = [
        np.full(pixels.shape, True) if masks is None else masks[i]
        for i, pixels in enumerate(images)
    ]
    masks = [mask.transpose(2, 0, 1) for mask in masks]
    images = [pixels.transpose(2, 0, 1).astype(np.int64) - 128 for pixels in images]
    counts, blocks = (
        Counts(sharpness) if sharpness else None,
        list(places([x.shape[1:] for x in images], start, segments)),
    )
    parts = [
        np.stack([x[:, rows, columns] for x in images[which]]) for which, rows, columns in blocks
    ]
    for x in parts if counts else ():
        counts.add(x)
    counted = lane_counts(
        [x.shape[1:] + x.shape[:1] for x in images], start, segments, masks=masks
    )[1:]
    for (which, rows, columns), x, count in zip(blocks, parts, counted):
        lanes.widen(count)
        if counts:
            counts.add(x, -1)  # those after it are decoded before
        push_segment(
            model,
            lanes,
            x,
            around(images[which], rows, columns),
            top,
            free_of(masks, which, rows, columns),
            counts,
            more=np.stack([one[:, rows, columns] for one in more[which]]),
        )


# FORMAT.md, an archive in groups


def leb(data, position):
    value = shift = 0
    while True:
        byte = data[position]
        value, shift, position = value + (byte % 128 << shift), shift + 7, position + 1
        if byte < 128:
            return value, position


def groups(data):
    """[(number of images, bytes of the group)] of an archive in groups."""
    assert data[:6] == b"\x8aBBK\x10\x10"
    count, position = leb(data, 6)
    rows = []
    for _ in range(count):
        images, position = leb(data, position)
        size, position = leb(data, position)
        rows.append((images, size))
    assert zlib.crc32(data[:position]) == int.from_bytes(data[position : position + 4], "little")
    position += 4
    found = []
    for images, size in rows:
        found.append((images, data[position : position + size]))
        position += size
    assert count >= 2 and position == len(data)
    return found
