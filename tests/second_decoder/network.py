"""A model file's integers, its id, and its network (ARITHMETIC.md, sections 1 and 6)."""

import hashlib
import json
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.second_decoder.errors import WrongModel
from tests.second_decoder.integers import act, half_even, half_up, shuffle, unshuffle
from tests.second_decoder.passes import PASSES


def cumulative(*tables):
    """Rows of frequencies -> rows of their sums, which begin with 0."""
    sums = np.cumsum(np.concatenate(tables), axis=1, dtype=np.int64)
    return np.pad(sums, ((0, 0), (1, 0))).tolist()


DTYPES = {"I8": ("<i1", "torch.int8"), "I32": ("<i4", "torch.int32")}


class ModelFile:
    """Section 1: what a model file says, and its tensors."""

    keys = "arithmetic", "experts", "levels"

    def __init__(self, data):
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        self.about = json.loads(header.pop("__metadata__")["bitsback"])
        self.tensors, self.dtypes = {}, {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            kind, self.dtypes[name] = DTYPES[entry["dtype"]]
            values = np.frombuffer(data[end + start : end + stop], kind)
            self.tensors[name] = values.reshape(entry["shape"])

    def id(self):
        """The whole SHA-256 in hex."""
        told = {key: self.about.get(key) for key in self.keys}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name in sorted(self.tensors):
            digest.update(
                f"{name} {self.tensors[name].shape} {self.dtypes[name]}\n".encode()
                + self.tensors[name].tobytes()
            )
        return digest.hexdigest()


class Model(ModelFile):
    """The integers of a model, and section 6: its network."""

    def __init__(self, data):
        super().__init__(data)
        if self.about["arithmetic"] != 7:
            raise WrongModel("a model of another arithmetic")
        self.exponents, self.steps = zip(*self.about["levels"])
        self.count = len(self.steps)

    @cached_property
    def p(self):
        """Cumulative frequencies of the rows of `gaussian_masses`, then of `whole_masses`."""
        names = ["gaussian_masses", "whole_masses"]
        return cumulative(*(self.tensors[name] for name in names if name in self.tensors))

    @cached_property
    def q(self):
        """Those of `forward_masses`."""
        return cumulative(self.tensors["forward_masses"])

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
        # Sums below 2^53 are exact in float64, in any order; numpy multiplies integers slowly.
        weight, a = weight.astype(float), a.astype(float)
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
        windows = sliding_window_view(a, (size, size), (1, 2))[:, ::stride, ::stride]
        total = np.tensordot(weight, windows.transpose(0, 3, 4, 1, 2), 3) + bias[row][:, None, None]
        return half_even(total.astype(np.int64), shift[:, None, None])

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
