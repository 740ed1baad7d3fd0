"""Bias updates, and the stack that they lie in (ARITHMETIC.md, section 9)."""

from bisect import bisect_right
from collections import Counter

import numpy as np

from tests.second_decoder.errors import check
from tests.second_decoder.lanes import UNIFORM


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
            check(abs(updates[layer]).max() <= 127, "an update out of range")
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
        seal = bytes(-length % 4) + b"\1\0\0\0"
        check(data[length:] == seal, "the stack does not end at its seal")
        return data[:length]

    def pop(self, cumulative):
        q = self.state & 0xFFFFFF
        symbol = bisect_right(cumulative, q) - 1
        low, high = cumulative[symbol : symbol + 2]
        self.state = (self.state >> 24) * (high - low) + q - low
        self._refill()
        check(self.state >= 2**32, "the stack is exhausted")
        return symbol

    def push(self, cumulative, symbol):
        low, high = cumulative[symbol : symbol + 2]
        frequency = high - low
        check(frequency, "a column without frequency")
        if self.state >= frequency << 40:
            self.words.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        self.state = (self.state // frequency << 24) + self.state % frequency + low

    def pop_row(self, cumulative, count):
        """Section 9: values of mean 0 under one row, with escapes."""
        values = [self.pop(cumulative) - 31 for _ in range(count)]
        return np.array([self.pop(UNIFORM) - 2**15 if v in (-31, 32) else v for v in values])
