"""An ANS message of one state, for the bias updates of a file (arXiv 0902.0271); see lanes.py.

    push:  adds symbols under a distribution: the stack grows by their information content
    pop:   the mirror: removes as many bits and returns the symbols

Words are constriction's (32-bit words, 64-bit state, frequencies of sum 2^24), so the pinned
version of constriction is part of the format.  constriction returns the lowest symbol for ever when
it pops from an empty stack; here that is `StackEmpty`.  Arrays are in the order of *decoding*: a
push of an array is undone by one pop of the same length.
"""

import functools
from types import ModuleType
from typing import Any

import numpy as np

from bitsback.errors import DamagedFile, StackEmpty

_STATE_FLOOR = 2**32  # a state below it, with no words left: the stack is empty

ConstrictionModel = Any  # of constriction.stream.model


@functools.cache
def _constriction() -> ModuleType:
    """The library, which only bias updates need: a GPU's machine may lack it."""
    import constriction

    return constriction


class Stack:
    """A message that starts from `data`, the credit: any bytes, which come back last.

    With no bytes at all nothing can be popped, not even what was pushed.
    """

    def __init__(self, data: bytes = b""):
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = _constriction().stream.stack.AnsCoder(words, seal=True)

    @classmethod
    def from_words(cls, data: bytes) -> "Stack":
        """The stack whose `to_words` returned these bytes.  Errors: DamagedFile."""
        if len(data) % 4 or not len(data) or data[-4:] == bytes(4):
            raise DamagedFile("not the words of a stack")
        stack = cls.__new__(cls)
        stack._coder = _constriction().stream.stack.AnsCoder(
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

    def push(self, symbols: np.ndarray, model: ConstrictionModel) -> None:
        """symbols: (N,) int32 under one constriction model."""
        self._coder.encode_reverse(np.ascontiguousarray(symbols, np.int32), model)

    def pop(self, count: int, model: ConstrictionModel) -> np.ndarray:
        """The mirror of push: (count,) int32.  Errors: StackEmpty."""
        symbols = self._coder.decode(model, int(count))
        words, state = self._coder.pos()
        if words == 0 and state < _STATE_FLOOR:  # once empty it stays so
            raise StackEmpty("the stack ran dry")
        return symbols

    def push_row(self, columns: np.ndarray, frequencies: np.ndarray) -> None:
        """columns: (N,) integers, all under one row of frequencies (K,) >= 1, of sum 2^24."""
        self.push(columns, _row_model(frequencies))

    def pop_row(self, count: int, frequencies: np.ndarray) -> np.ndarray:
        """The mirror of push_row: (count,) int32.  Errors: StackEmpty."""
        return self.pop(count, _row_model(frequencies))

    def push_uniform(self, values: np.ndarray, size: int) -> None:
        """values: (N,) integers in 0..size-1, each for log2(size) bits; size in 2..2^24."""
        if len(values):
            self.push(
                np.ascontiguousarray(values, np.int32), _constriction().stream.model.Uniform(size)
            )

    def pop_uniform(self, count: int, size: int) -> np.ndarray:
        """The mirror of push_uniform: (count,) int32.  Errors: StackEmpty."""
        if not count:
            return np.empty(0, np.int32)
        return self.pop(count, _constriction().stream.model.Uniform(size))


def _row_model(frequencies: np.ndarray) -> ConstrictionModel:
    # frequencies - 1 with perfect=False makes exactly these frequencies
    return _constriction().stream.model.Categorical(
        (frequencies - 1).astype(np.float32), perfect=False
    )
