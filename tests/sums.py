"""What must follow a convolution, in Python's integers, for sum_arrays and sum_loops."""

import numpy as np
import torch

LIMITS = ((-4096, 4096), (-139, 69), (-256, 256))


def round_half_even(value, shift):
    """By Python's exact fractions."""
    from fractions import Fraction

    return round(Fraction(value) / Fraction(2) ** shift)


def _narrowed(values, divisor):
    bits = divisor.bit_length() - 1
    return [min(max(round_half_even(int(value), bits), 0), 255) for value in values]


def _last(array):
    """(B, H, W, C) -> a tensor (B, C, H, W), channels last, of its own memory."""
    return torch.from_numpy(array.copy()).permute(0, 3, 1, 2)


def check(functions):
    """All functions of a module: ties of both parities and signs, far values, odd sizes."""
    rng = np.random.default_rng(3)
    for shape in ((1, 1, 1, 3), (1, 5, 7, 9), (2, 3, 5, 36), (3, 1, 1, 48)):
        n = int(np.prod(shape))
        halves = rng.integers(-600, 9000, n)  # of out, in halves
        halves[::7] = rng.choice([2**24 - 1, 1 - 2**24, 511, 509, 1, -1, 3], len(halves[::7]))
        wide = rng.integers(-900, 9000, n)
        wide[::5] = rng.choice([8, 24, 40, -8, 4088, 4072, 2**22, -(2**22)], len(wide[::5]))
        rounded = [round_half_even(int(value), 1) for value in halves]
        sums = [a + int(b) for a, b in zip(rounded, wide)]
        out = (halves / 2).astype(np.float32).reshape(shape)
        before = wide.astype(np.float32).reshape(shape)

        def flat(tensor):
            return tensor.permute(0, 2, 3, 1).reshape(-1).tolist()

        narrow = _last(np.full(shape, 7, np.uint8))
        made = _last(np.zeros(shape, np.float32))
        functions.round_and_narrow(_last(out), 16, made, narrow)
        assert flat(made) == rounded and flat(narrow) == _narrowed(rounded, 16)
        made = _last(before)
        functions.add_and_narrow(_last(out), 16, made, narrow)
        assert flat(made) == sums and flat(narrow) == _narrowed(sums, 16)
        for divisor in (1, 16):
            kept = _last(before)
            functions.narrow_sum(_last(out), divisor, kept, narrow)
            assert flat(narrow) == _narrowed(sums, divisor) and flat(kept) == wide.tolist()
        byte = (wide & 255).astype(np.uint8)
        functions.narrow_sum(_last(out), 1, _last(byte.reshape(shape)), narrow)
        assert flat(narrow) == _narrowed([a + int(b) for a, b in zip(rounded, byte)], 1)
        if shape[3] % 3 == 0:
            limited = _last(np.zeros(shape, np.int32))
            functions.limit(_last(out), LIMITS, limited)
            ends = [LIMITS[3 * (i % shape[3]) // shape[3]] for i in range(n)]
            assert flat(limited) == [min(max(v, a), b) for v, (a, b) in zip(rounded, ends)]
