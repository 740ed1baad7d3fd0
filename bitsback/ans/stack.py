"""The ANS message: a stack of bits, last in, first out (arXiv 0902.0271).

    push:  adds symbols under a distribution: the stack grows by their information content
    pop:   the mirror: removes as many bits and returns the symbols

Words are constriction's (32-bit words, 64-bit state, frequencies of sum 2^24), so the pinned
version of constriction is part of the format.  constriction returns the lowest symbol for ever when
it pops from an empty stack; here that is `StackEmpty`.  Arrays are in the order of *decoding*: a
push of an array is undone by one pop of the same length.
"""

from collections.abc import Sequence
from typing import Any

import constriction
import numpy as np

from bitsback.errors import DamagedFile, StackEmpty

PRECISION = 24
# from frequencies - 1 this model makes exactly these frequencies
_EACH = constriction.stream.model.Categorical(perfect=False)
_STATE_FLOOR = 2**32  # a state below it, with no words left: the stack is empty

ConstrictionModel = Any  # of constriction.stream.model


class Stack:
    """A message that starts from `data`, the credit: any bytes, which come back last.

    With no bytes at all nothing can be popped, not even what was pushed.
    """

    def __init__(self, data: bytes = b""):
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words, seal=True)

    @classmethod
    def from_words(cls, data: bytes) -> "Stack":
        """The stack whose `to_words` returned these bytes.  Errors: DamagedFile."""
        if len(data) % 4 or not len(data) or data[-4:] == bytes(4):
            raise DamagedFile("not the words of a stack")
        stack = cls.__new__(cls)
        stack._coder = constriction.stream.stack.AnsCoder(
            np.frombuffer(data, "<u4").astype(np.uint32)
        )
        return stack

    def to_words(self) -> bytes:
        """All words, little-endian, as stored in a file."""
        return self._coder.get_compressed().astype("<u4").tobytes()

    def credit(self, length: int) -> bytes:
        """The `length` bytes that the stack started from, once all else is popped.

        Errors: DamagedFile.
        """
        try:
            data = self._coder.get_compressed(unseal=True).astype("<u4").tobytes()
        except (ValueError, AssertionError):
            raise DamagedFile("the stack does not end where it began") from None
        if len(data) != length + -length % 4 or any(data[length:]):
            raise DamagedFile("the stack does not end where it began")
        return data[:length]

    @property
    def size_bits(self) -> int:
        """Bits on the stack."""
        return self._coder.num_valid_bits()

    def copy(self) -> "Stack":
        """A stack of the same bits."""
        stack = Stack.__new__(Stack)
        stack._coder = self._coder.clone()
        return stack

    def restore(self, other: "Stack") -> None:
        """Undoes everything since `other = self.copy()`."""
        self._coder = other._coder.clone()

    def push(self, symbols: np.ndarray, model: ConstrictionModel) -> None:
        """symbols: (N,) int32 under one constriction model."""
        self.push_runs([(symbols, model)])

    def pop(self, count: int, model: ConstrictionModel) -> np.ndarray:
        """The mirror of push: (count,) int32.  Errors: StackEmpty."""
        return self.pop_runs([(int(count), model)])

    def push_runs(self, runs: Sequence[tuple[np.ndarray, ConstrictionModel]]) -> None:
        """runs: [(symbols (N,) int32, model)], in the order of decoding; many short ones."""
        encode = self._coder.encode_reverse
        for symbols, model in reversed(runs):
            encode(symbols, model)

    def pop_runs(self, runs: Sequence[tuple[int, ConstrictionModel]]) -> np.ndarray:
        """The mirror of push_runs: all symbols in one int32 array.  runs: [(N, model)].

        Errors: StackEmpty, found at the end: a stack once empty stays so.
        """
        decode = self._coder.decode
        symbols = [decode(model, count) for count, model in runs]
        self._check()
        return np.concatenate(symbols)

    def push_each(self, symbols: np.ndarray, frequencies: np.ndarray) -> None:
        """symbols: (N,) integers, each under its own row of frequencies (N, K).

        Frequencies are integers >= 1, of sum 2^24 in each row.
        """
        if len(symbols):
            self._coder.encode_reverse(
                np.ascontiguousarray(symbols, np.int32),
                _EACH,
                (frequencies - 1).astype(np.float32, order="C"),
            )

    def pop_each(self, frequencies: np.ndarray) -> np.ndarray:
        """The mirror of push_each: (N,) int32.  Errors: StackEmpty."""
        if not len(frequencies):
            return np.empty(0, np.int32)
        symbols = self._coder.decode(_EACH, (frequencies - 1).astype(np.float32, order="C"))
        self._check()
        return symbols

    def push_uniform(self, values: np.ndarray, size: int) -> None:
        """values: (N,) integers in 0..size-1, each for log2(size) bits; size in 2..2^24."""
        if len(values):
            self.push(
                np.ascontiguousarray(values, np.int32), constriction.stream.model.Uniform(size)
            )

    def pop_uniform(self, count: int, size: int) -> np.ndarray:
        """The mirror of push_uniform: (count,) int32.  Errors: StackEmpty."""
        if not count:
            return np.empty(0, np.int32)
        return self.pop(count, constriction.stream.model.Uniform(size))

    def _check(self) -> None:
        words, state = self._coder.pos()
        if words == 0 and state < _STATE_FLOOR:
            raise StackEmpty("the stack ran dry")
