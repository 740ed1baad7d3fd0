"""The proof, made at export, that no sum of a model's integers leaves float32's exact range."""

import numpy as np
import pytest
import torch

from bitsback.errors import TrainingError
from bitsback.integer.config import EXACT
from bitsback.integer.convolution import Layer
from bitsback.integer.overflow import largest_sum, prove_exact
from tests.layers import make_layer


def inner(count, bias=0):
    """A layer that sums `count` inputs with weights of 64: count * 16320 at most."""
    return make_layer(np.full((1, count, 1, 1), 64, np.int8), bias, 12)


def test_range_of_float32():
    """Integers are exact up to EXACT, and not beyond."""
    assert np.float32(EXACT - 1) + np.float32(1) == EXACT
    assert np.float32(EXACT) + np.float32(1) == EXACT


def test_largest_sum_is_reached():
    """By the inputs of the signs of the weights, in each output."""
    rng = np.random.default_rng(0)
    layer = make_layer(rng.integers(-64, 65, (5, 3, 2, 2)).astype(np.int8), [7, -9, 0, 3, -1])
    weight, bias = layer.weight.numpy().astype(int), layer.bias.numpy().astype(int)
    inputs = 96 * np.sign(weight) * np.where(bias < 0, -1, 1).reshape(5, 1, 1, 1)
    reached = np.abs((weight * inputs).sum((1, 2, 3)) + bias[0])
    assert np.array_equal(largest_sum(layer, 96).numpy(), reached)


def test_proof_draws_the_line():
    room = EXACT - 1 - 1028 * 64 * 255
    assert prove_exact({"down1.0.a": inner(1028, room)}) == EXACT - 1
    for layer in (inner(1028, room + 1), inner(1028, -room - 1), inner(1029)):
        with pytest.raises(TrainingError, match="down1.0.a"):
            prove_exact({"down1.0.a": layer})


def test_proof_looks_at_every_row_of_biases():
    layer = inner(1028)
    rows = torch.tensor([[0], [EXACT - 1 - 1028 * 64 * 255 + 1], [0]], dtype=torch.int32)
    with pytest.raises(TrainingError):
        prove_exact({"middle.0.a": Layer(layer.weight, rows, layer.shift)})


@pytest.mark.parametrize("name, reach", [("first", 1023), ("head_known", 96), ("last", 255)])
def test_proof_knows_what_enters(name, reach):
    weight = (EXACT - 1) // (12 * reach)
    prove_exact({name: make_layer(np.full((1, 12, 1, 1), weight, np.int32), shift=12)})
    with pytest.raises(TrainingError, match=name):
        prove_exact({name: make_layer(np.full((1, 12, 1, 1), weight + 1, np.int32), shift=12)})


def test_proof_counts_wide_sums():
    """Each convolution is within the range, their sum is not."""
    half = make_layer(np.full((1, 4, 1, 1), 64, np.int8), bias=2**23 - 64 * 4 * 255)
    with pytest.raises(TrainingError, match="wide sums"):
        prove_exact({"down1.0.b": half, "down1.1.b": half})


def test_proof_counts_the_first_layer_in_the_wide_sum():
    half = make_layer(np.full((1, 4, 1, 1), 64, np.int8), bias=2**23 - 64 * 4 * 255)
    first = make_layer(np.full((1, 12, 1, 1), 600, np.int32), bias=2**23 - 600 * 12 * 1023)
    with pytest.raises(TrainingError, match="wide sums"):
        prove_exact({"first": first, "down1.0.b": half})


def test_proof_holds_for_a_model(tiny_model):
    assert 0 < prove_exact(tiny_model.layers) < EXACT
