"""What follows a convolution, by torch operations: narrowing, and each function."""

import numpy as np
import pytest
import torch

from bitsback.integer import convolution, sum_arrays
from bitsback.integer.config import EXACT
from tests import numpy_decoder as yardstick
from tests.sums import check, round_half_even


def test_every_function():
    check(sum_arrays)


@pytest.mark.parametrize("narrow", [convolution.in_four_passes, sum_arrays.in_one_pass])
def test_activation_rounds_and_clamps(narrow):
    if narrow is sum_arrays.in_one_pass and not sum_arrays.one_pass_agrees():
        pytest.skip("torch's quantiser is not exact on this machine, or gone, and not used")
    wide = np.concatenate(
        [np.arange(-300, 5000), [EXACT - 1, 1 - EXACT, 255 * 16 + 8, 255 * 16 - 8]]
    )
    got = narrow(torch.from_numpy(wide.astype(np.float32)).view(1, 1, -1, 2), 16).flatten().tolist()
    assert (
        got
        == yardstick.act(wide).tolist()
        == [min(max(round_half_even(int(w), 4), 0), 255) for w in wide]
    )
    assert (
        narrow(torch.from_numpy(wide.astype(np.float32)).view(1, 1, -1, 2), 1).flatten().tolist()
        == wide.clip(0, 255).tolist()
    )


@pytest.mark.parametrize(
    "broken",
    [
        lambda wide, divisor: (wide / divisor + 0.5).floor().clamp(0, 255).to(torch.uint8),
        lambda wide, divisor: (wide / divisor).round().to(torch.int32).to(torch.uint8),
        lambda wide, divisor: torch.missing_operator(wide),
    ],
    ids=["half up", "wraps", "gone"],
)
def test_a_quantiser_that_is_not_exact_is_not_used(broken, monkeypatch):
    """An operator that rounds half up, wraps around or is missing: four passes are used instead."""
    monkeypatch.setattr(sum_arrays, "in_one_pass", broken)
    monkeypatch.setattr(sum_arrays, "one_pass_agrees", sum_arrays.one_pass_agrees.__wrapped__)
    assert not sum_arrays.one_pass_agrees()
    wide = torch.tensor([8.0, 24.0, 1e6]).view(1, 1, 1, 3)
    assert sum_arrays.narrowed(wide, 16).flatten().tolist() == [0, 2, 255]


def test_one_pass_keeps_the_layout_and_its_numbers():
    """Channels last is kept, strided inputs are read in place, outputs own their memory."""
    if not sum_arrays.one_pass_agrees():
        pytest.skip("torch's quantiser is not exact on this machine, or gone, and not used")
    wide = (torch.randn(2, 24, 9, 7, generator=torch.Generator().manual_seed(0)) * 2000).round()
    for some in (
        wide,
        wide.contiguous(memory_format=torch.channels_last),
        wide[1:],
        wide[:, 3:9],
        wide.contiguous(memory_format=torch.channels_last)[:, :, 2:, 1:],
    ):
        narrow = sum_arrays.in_one_pass(some, 16)
        trash = [sum_arrays.in_one_pass(torch.full_like(some, 9999.0), 16) for _ in range(5)]
        assert torch.equal(narrow, convolution.in_four_passes(some, 16)) and len(trash) == 5
    assert sum_arrays.in_one_pass(
        wide.contiguous(memory_format=torch.channels_last), 16
    ).is_contiguous(memory_format=torch.channels_last)
