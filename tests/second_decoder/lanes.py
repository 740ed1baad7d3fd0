"""The lanes, and arrays coded by them (ARITHMETIC.md, sections 2 and 3)."""

from bisect import bisect_right

import numpy as np

from tests.second_decoder.errors import check

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
        room = min(len(self.data), 9 * count)  # a closed lane has at most 67 bits
        bits = "".join(f"{byte:08b}" for byte in self.data[:room])
        check(8 * len(self.data) >= 36 * count, "the closed lanes are cut short")
        exponents, place = [], 5 * count
        for i in range(count):
            exponents.append(31 + int(bits[5 * i : 5 * i + 5], 2))
        for e in exponents:
            check(place + e <= len(bits), "the closed lanes are cut short")
            self.states.append(1 << e | int(bits[place : place + e], 2))
            place += e
        closing = -(-place // 8)
        check("1" not in bits[place : 8 * closing], "padding that is not zero")
        check((len(self.data) - closing) % 4 == 0, "the payload is no whole words")
        self.words = np.frombuffer(self.data[closing:], "<u4")[::-1].tolist()

    def to_bytes(self):
        exponents = [state.bit_length() - 1 for state in self.states]
        bits = "".join(f"{e - 31:05b}" for e in exponents)
        bits += "".join(f"{state:b}"[1:] for state in self.states)
        bits += "0" * (-len(bits) % 8)
        closing = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        return closing + np.array(self.words[::-1], "<u4").tobytes()

    def bits(self):
        """What the stack holds, for the rule of a quarter bit a sample."""
        return 32 * len(self.words) + sum(state.bit_length() - 1 for state in self.states)

    def widen(self, count):
        opened = count - len(self.states)
        if opened > 0:
            self.states += [2**32 + word for word in self.words[-opened:]]
            del self.words[-opened:]

    def narrow(self, count):
        for state in self.states[count:]:
            check(state >> 32 == 1, "a lane does not end where it began")
            self.words.append(state & 0xFFFFFFFF)
        del self.states[count:]

    def credit(self, length):
        data = np.array(self.words, "<u4").tobytes()
        whole = not self.states and len(data) == length + -length % 4
        check(whole and not any(data[length:]), "the credit has another length")
        return data[:length]

    def _pop(self, lane, cumulative):
        state = self.states[lane]
        q = state & 0xFFFFFF
        symbol = bisect_right(cumulative, q) - 1
        low, high = cumulative[symbol : symbol + 2]
        state = (high - low) * (state >> 24) + q - low
        if state < 2**31:
            check(self.words, "the stack is exhausted")
            state = state << 32 | self.words.pop()
        self.states[lane] = state
        return symbol

    def _push(self, lane, cumulative, symbol):
        state, (low, high) = self.states[lane], cumulative[symbol : symbol + 2]
        frequency = high - low
        check(frequency, "a column without frequency")
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
        rows, base = rows_and_bases(mean, row_set)
        found = self.pop_symbols([table[row] for row in rows], (0, 63) if escapes else ())
        values = [
            b - 31 + symbol if number is None else number - 2**15
            for b, (symbol, number) in zip(base, found)
        ]
        return np.array(values, np.int64).reshape(mean.shape)

    def push_array(self, table, values, mean, row_set, escapes):
        rows, base = rows_and_bases(mean, row_set)
        columns = (values.ravel() - base + 31).clip(0, 63).tolist()
        symbols = [(column, int(v) + 2**15) for column, v in zip(columns, values.ravel())]
        self.push_symbols([table[row] for row in rows], symbols, (0, 63) if escapes else ())


def rows_and_bases(mean, row_set):
    """Row of the table, and the value of column 31, of each value."""
    mean, row_set = mean.ravel(), row_set.ravel()
    return 32 * row_set + (mean & 31), mean >> 5
