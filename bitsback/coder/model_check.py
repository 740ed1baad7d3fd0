"""Whether a model file from elsewhere is a model that codes: its tables, its sums, and a trial.

Its id says only that the integers are those it was given.  Compiled loops look rows up without
looking whether there are any, so the sizes of tables are checked before the trial.
"""

import numpy as np
import torch

from bitsback.ans.gaussian_tables import FRACTIONS, SCALES, TOTAL
from bitsback.ans.lanes import random_lanes
from bitsback.ans.row_table import COLUMNS
from bitsback.coder.context import no_context
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.diffusion.steps import V_INDICES
from bitsback.diffusion.whole_pixels import FLOORS, SETS
from bitsback.errors import WrongModel
from bitsback.integer.convolution import WEIGHT, Layer
from bitsback.integer.overflow import prove_exact
from bitsback.memory import out_of_memory

MOST_DOUBLINGS = 12  # of a lattice's spacing: those of shipped models are 2^-1 to 2^8
STRIDES = (1, 2)
SIDE = 16  # pixels a side of the trial's image: every layer is used


def check_model(model: Model) -> None:
    """Codes a small image both ways, after checks of all that it rests on.

    Errors: WrongModel, which names the model's file.
    """
    try:
        for one in model.models:
            _check_tables(one)
        for expert in model.all_experts:
            for name, layer in expert.layers.items():
                _check_layer(name, layer)
            prove_exact(expert.layers)
        _trial(model)
    except Exception as error:  # whatever numbers cause in torch, numpy or compiled loops
        if out_of_memory(error):
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise WrongModel(f"{model.path}: not a model that works ({why})") from None


def _require(holds, what):
    if not holds:
        raise ValueError(what)


def _check_table(name, rows, counts):
    """rows: (n, COLUMNS) int32, frequencies; counts: the numbers of rows that are right."""
    _require(
        rows.dtype == np.int32 and rows.ndim == 2 and rows.shape[1] == COLUMNS, f"{name}: no table"
    )
    _require(len(rows) in counts, f"{name}: {len(rows)} rows")
    _require(
        rows.min() >= 0 and (rows.sum(1, dtype=np.int64) == TOTAL).all(), f"{name}: wrong sums"
    )


def _check_tables(model):
    levels, plain = len(model.levels), SCALES * FRACTIONS
    counts = [plain + SETS * FLOORS * FRACTIONS if model.whole else plain]
    _check_table("table of p", model.gaussians.frequencies, counts)
    _require(model.whole is None or model.whole.begin == SCALES, "table of p: too few rows")
    _check_table("table of q", model.forward.frequencies, [levels * FRACTIONS])
    _require(levels and len(model.steps) == levels, f"{len(model.steps)} steps, {levels} levels")
    for k, level in enumerate(model.levels):
        whole = type(level.exponent) is int and type(level.step) is int
        _require(whole and abs(level.exponent) <= MOST_DOUBLINGS, f"level {k}: no such spacing")
        _require(0 <= level.step < SCALES, f"level {k}: no such scale")
    for k, step in enumerate(model.steps):
        for name in ("scale", "gain", "shift", "inverse"):
            array = getattr(step, name)
            fits = array.shape == (V_INDICES,) and array.dtype == np.int32
            _require(fits, f"step {k}: no table of {name}")
        _require(step.scale.min() >= 0 and step.scale.max() < SCALES, f"step {k}: no such scale")


def _check_layer(name: str, layer: Layer) -> None:
    """Types as Layer gives them; inner weights within those that every backend computes."""
    types = layer.weight.dtype, layer.bias.dtype, layer.shift.dtype
    known = types[0] in (torch.int8, torch.int32)
    _require(known and types[1:] == (torch.int32, torch.int8), f"{name}: numbers of another type")
    shapes = layer.weight.ndim == 4 and layer.bias.ndim == 2 and layer.shift.ndim == 1
    _require(shapes and layer.weight.numel() and layer.bias.numel(), f"{name}: no convolution")
    outputs = {len(layer.weight), layer.bias.shape[1], len(layer.shift)}
    _require(len(outputs) == 1 and layer.stride in STRIDES, f"{name}: no convolution")
    if layer.inner:
        _require(layer.weight.long().abs().max() <= WEIGHT, f"{name}: weights beyond {WEIGHT}")


def _trial(model):
    """An image is pushed and popped; it and the lanes are as before."""
    chain, draw = model.chain(), np.random.default_rng(0)
    x = draw.integers(-128, 128, (1, 3, SIDE, SIDE), dtype=np.int32)
    top = Top.fitted([(x[0] + 128).astype(np.uint8).transpose(1, 2, 0)], model.levels)
    lanes = random_lanes(x.size, len(model.levels))
    before = lanes.to_bytes()
    chain.push(lanes, x, top, no_context(x))
    back = chain.pop(lanes, x.shape, top, no_context(x))
    _require(np.array_equal(back, x) and lanes.to_bytes() == before, "decodes to other pixels")
