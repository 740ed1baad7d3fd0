"""Lanes on a device: torch operations and Triton kernels, as the reference does it."""

import numpy as np
import pytest
import torch

from bitsback.ans import device_lanes, lanes_numpy
from bitsback.ans.device_lanes import DeviceLanes, least
from bitsback.ans.gaussian_tables import Gaussians, forward_frequencies
from bitsback.ans.lanes import Lanes
from bitsback.errors import DamagedFile, StackEmpty

triton = pytest.importorskip("triton")
tl = triton.language
from bitsback.ans.lanes_push_triton import give, inverse  # noqa: E402

KINDS = ["torch", "triton"]


def message(lanes, words, seed=0):
    found = Lanes(np.random.default_rng(seed).bytes(4 * (words + lanes)), lanes_numpy)
    found.widen(lanes)
    return found


def array(n, seed, far):
    """(values, mean32, scale) of n values, a share `far` of them anywhere in 16 bits."""
    rng = np.random.default_rng(seed)
    mean32 = rng.integers(-3000, 3000, n).astype(np.int32)
    values = ((mean32 >> 5) + rng.integers(-3, 5, n)).astype(np.int32)
    anywhere = rng.random(n) < far
    values[anywhere] = rng.integers(-(2**15), 2**15, int(anywhere.sum()))
    return values, mean32, rng.integers(0, 113, n).astype(np.int32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "n, lanes, far",
    [(1, 1, 0), (7, 1, 0.5), (64, 64, 0.1), (200, 33, 0.3), (5, 70, 1), (300, 100, 0)]
    + [(2900, 100, 0.9)]  # programs of 32 lanes; more than words_triton.BLOCK words or none
    + [(2500, 1000, 0.1), (3000, 2047, 0.1), (9000, 4096, 0.02)],  # several lanes of a thread
)
def test_both_directions_equal_the_reference(gaussians, kind, n, lanes, far, device):
    """Push, then pop, of an array: states and words are those of lanes_numpy at each step."""
    values, mean32, scale = array(n, n + lanes, far)
    ours, reference = message(lanes, 50), message(lanes, 50)
    there = DeviceLanes(ours, device, 2 * n, kernels=kind == "triton")
    tensors = [torch.from_numpy(a).to(device) for a in (values, mean32, scale)]
    reference.push_gaussian(gaussians.table, values, mean32, scale)
    there.push_gaussian(gaussians.table, *tensors)
    assert there.to_lanes().to_bytes() == reference.to_bytes()
    again = DeviceLanes(ours, device, 2 * n, kernels=kind == "triton")
    assert np.array_equal(again.pop_gaussian(gaussians.table, *tensors[1:]).cpu().numpy(), values)
    assert again.to_lanes().to_bytes() == message(lanes, 50).to_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("escapes", [True, False])
@pytest.mark.parametrize("lanes", [128, 4096])
def test_the_first_and_the_last_slot_of_each_column(gaussians, kind, escapes, lanes, device):
    """States that the lanes have at first choose columns, and whether a word is needed."""
    rng = np.random.default_rng(lanes)
    mean32, scale = array(lanes, lanes, 0)[1:]
    edges = gaussians.table.edges.reshape(-1, 65)[scale * 32 + (mean32 & 31)]
    columns = np.arange(lanes) // 2 % 64
    ends = np.arange(lanes) % 2
    slots = edges[np.arange(lanes), columns + ends] - ends
    high = 1 << rng.integers(7, 39, lanes)
    ours, reference = message(lanes, 2 * lanes), message(lanes, 2 * lanes)
    for each in (ours, reference):
        each.state = (high << 24) + slots
    there = DeviceLanes(ours, device, 0, kernels=kind == "triton")
    mean, row = (torch.from_numpy(a).to(device) for a in (mean32, scale))
    found = there.pop_gaussian(gaussians.table, mean, row, escapes).cpu().numpy()
    assert np.array_equal(found, reference.pop_gaussian(gaussians.table, mean32, scale, escapes))
    assert there.to_lanes().to_bytes() == reference.to_bytes()
    if not escapes:
        assert np.array_equal(found - (mean32 >> 5) + 31, columns)


@pytest.mark.parametrize("waiting", [1, 700, 2**21])
def test_words_of_several_arrays_wait(gaussians, waiting, device, monkeypatch):
    """However many may wait; after each array the size in bits is that of the reference."""
    monkeypatch.setattr(device_lanes, "GIVEN", waiting)
    ours, reference = message(40, 50), message(40, 50)
    there, table = DeviceLanes(ours, device, 4000), gaussians.table
    for n in (90, 1, 200, 40, 7):
        arrays = array(n, n, 0.2)
        reference.push_gaussian(table, *arrays)
        there.push_gaussian(table, *(torch.from_numpy(a).to(device) for a in arrays))
        if n == 1:
            assert int(there.size_bits) == reference.size_bits
    assert there.to_lanes().to_bytes() == reference.to_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, lanes", [(40, 8), (3, 64)])
def test_forward_rows_of_one_scale(kind, n, lanes, device):
    """Without escapes, one scale for all values: pops and pushes as the reference does."""
    table = Gaussians(forward_frequencies([40, 70])).table
    mean32, scale = array(n, 3, 0)[1], np.ones(1, np.int32)
    ours, reference = message(lanes, 80), message(lanes, 80)
    there = DeviceLanes(ours, device, 2 * n, kernels=kind == "triton")
    mean, one = (torch.from_numpy(a).to(device) for a in (mean32, scale))
    values = there.pop_gaussian(table, mean, one, escapes=False)
    expected = reference.pop_gaussian(table, mean32, scale, escapes=False)
    assert np.array_equal(values.cpu().numpy(), expected)
    assert there.to_lanes().to_bytes() == reference.to_bytes()
    again = DeviceLanes(ours, device, 2 * n, kernels=kind == "triton")
    again.push_gaussian(table, values, mean, one, escapes=False)
    assert again.to_lanes().to_bytes() == message(lanes, 80).to_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_stack_is_found_whatever_is_pushed_afterwards(gaussians, kind, device):
    """A pop without words is StackEmpty at the end, even where pushes follow."""
    values, mean32, scale = (torch.from_numpy(a).to(device) for a in array(200, 1, 0.2))
    there = DeviceLanes(message(4, 2), device, 1000, kernels=kind == "triton")
    there.pop_gaussian(gaussians.table, mean32, scale)
    for _ in range(2):
        there.push_gaussian(gaussians.table, values, mean32, scale)
    with pytest.raises(StackEmpty):
        there.to_lanes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_without_frequency_is_found(kind, device):
    """A push that no encoder's pop mirrors is an error on the device as in the reference."""
    table = Gaussians(forward_frequencies([40])).table
    values, mean32 = np.array([25], np.int32), np.zeros(1, np.int32)
    with pytest.raises(DamagedFile):
        message(1, 4).push_gaussian(table, values, mean32, mean32, escapes=False)
    there = DeviceLanes(message(1, 4), device, 10, kernels=kind == "triton")
    tensors = [torch.from_numpy(a).to(device) for a in (values, mean32, mean32)]
    there.push_gaussian(table, *tensors, escapes=False)
    with pytest.raises(StackEmpty):
        there.to_lanes()


@pytest.mark.parametrize("kind", KINDS)
def test_size_in_bits(kind, device):
    """States next to powers of two, the smallest and the largest among them."""
    lanes, sizes = message(130, 4), np.arange(31, 63)
    edges = [1 << sizes, (1 << sizes) + 1, (2 << sizes.astype(object)) - 1]
    lanes.state = np.concatenate([np.array(e, np.int64) for e in edges])
    there, bits = (
        DeviceLanes(lanes, device, 10, kernels=kind == "triton").size_bits,
        lanes.size_bits,
    )
    assert int(there) == bits
    assert least([bits + 1, there]) == least([10**9, bits]) == bits


def test_empty_arrays_change_nothing(gaussians, device):
    """An array of no values is no launch and no change."""
    none = torch.zeros(0, dtype=torch.int32, device=device)
    there = DeviceLanes(message(3, 4), device, 0)
    there.push_gaussian(gaussians.table, none, none, none)
    assert len(there.pop_gaussian(gaussians.table, none, none)) == 0
    assert there.to_lanes().to_bytes() == message(3, 4).to_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_whose_own_frequency_is_zero_leaves_the_lanes_dry(kind, device):
    there = DeviceLanes(message(3, 50), device, 20, kernels=kind == "triton")
    rows = [0, 0, 1, 0, 0], [0] * 5, [2**23] * 5, [2**23] * 5, [2**24] * 5
    values, first, *ends = torch.tensor(rows, dtype=torch.int32, device=device)
    there.push_each(values, first, torch.stack(ends))
    with pytest.raises(StackEmpty):
        there.to_lanes()


@triton.jit
def _give_with(state, frequencies, factors, pushed, words, N: tl.constexpr):
    lane = tl.arange(0, N)
    s, frequency = tl.load(state + lane), tl.load(frequencies + lane)
    near = inverse(frequency) * tl.load(factors + lane)
    s, word = give(s, lane >= 0, frequency * 0, frequency.to(tl.int64), near)
    tl.store(pushed + lane, s)
    tl.store(words + lane, word)


@pytest.mark.parametrize("error", [0.0, 2.0**-43, -(2.0**-43)])
def test_division_by_an_inverse_is_exact(error, device):
    """At the edges of all quotients, whatever the last bits of the inverse are on a GPU."""
    rng = np.random.default_rng(0)
    frequencies = np.array([1, 2, 3, 5, 2**23 - 1, 2**24 - 17, *rng.integers(1, 2**24, 26)])
    quotients = np.array([2**39 - 1, 2**32 + 1, 2**38, 2**39 - 2])
    low = np.concatenate([[q * frequencies, (q + 1) * frequencies - 1] for q in quotients])
    state = torch.from_numpy(low.ravel().astype(np.int64)).to(device)
    f = torch.from_numpy(np.tile(frequencies, len(low)).astype(np.int32)).to(device)
    factors = torch.full_like(state, 1 + error, dtype=torch.float64)
    pushed, words = torch.zeros_like(state), torch.zeros_like(state)
    _give_with[(1,)](state, f, factors, pushed, words, N=len(state))
    assert bool((words == -1).all())  # none of these states is too large for its frequency
    quotient, wide = state // f, f.long()
    assert torch.equal(pushed, (quotient << 24) + state - quotient * wide)
