"""Float weights in few bytes: what is kept of a training, and travels to and from a GPU.

A weight of an inner convolution is stored in thirds of the step of its integer (scale_exponent), so
that a model exported from it has the same integers as one from the float weights, and training goes
on from more than integers.  Other parameters are float32.  A third of a step leaves about 7.5 bits
a weight after LZMA, less than half of bfloat16's.  The file, `.weights`, is LZMA of safetensors;
its metadata are {"experts": [{"network", "steps", "counts"}]}, as in a model file.
"""

import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.integer.convolution import WEIGHT
from bitsback.outputs import write
from bitsback.train.denoiser import Denoiser
from bitsback.train.quantised import QConv, scale_exponent

SUFFIX = ".weights"
THIRDS = 3
KEY = "bitsback"


def first_line(error: Exception) -> str:
    """The first line of an error's message; torch adds pages of advice, in one line of which it
    recommends to load what it would not: of another program's file nothing is told."""
    if isinstance(error, UnpicklingError):
        return "not written by bitsback"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _inner(config: NetworkConfig) -> set[str]:
    """Names of the weights of a network's inner convolutions."""
    with torch.device("meta"):
        network = Denoiser(config)
    return {
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, QConv) and not module.reach
    }


def _thirds(weight: Tensor) -> dict[str, Tensor]:
    """{"whole", "third", "exponent"}, int8: weight * 2^exponent is about whole + third / 3."""
    exponent = scale_exponent(weight, 0)
    scaled = weight * torch.exp2(exponent).view(-1, 1, 1, 1)
    thirds = torch.round(scaled * THIRDS).clamp(-WEIGHT * THIRDS, WEIGHT * THIRDS)
    # a peak just above half of WEIGHT must stay above, or the channel's exponent would change
    half = WEIGHT // 2
    above = (scaled.abs() > half) & (thirds.abs() == half * THIRDS)
    thirds = torch.where(above, thirds + scaled.sign(), thirds)
    whole = torch.round(thirds / THIRDS)
    return {
        "whole": whole.to(torch.int8),
        "third": (thirds - THIRDS * whole).to(torch.int8),
        "exponent": exponent.to(torch.int8),
    }


def _real(parts: Mapping[str, Tensor]) -> Tensor:
    """The mirror of _thirds."""
    value = parts["whole"].float() + parts["third"].float() / THIRDS
    return value * torch.exp2(-parts["exponent"].float()).view(-1, 1, 1, 1)


def pack(states: Sequence[Mapping[str, Any]], preset: int = 6) -> bytes:
    """A file of experts.

    states: of each expert "average" (state dict), "config" (NetworkConfig.as_dict), "steps",
    "minutes" and, unless it has all levels, "only" ([first, last + 1]), as in a checkpoint; preset:
    LZMA's, 0 to 9.
    """
    tensors: dict[str, Tensor] = {}
    experts = []
    for i, state in enumerate(states):
        inner = _inner(NetworkConfig.from_dict(state["config"]))
        for name, value in state["average"].items():
            value = value.detach().cpu().float().contiguous()
            parts = _thirds(value) if name in inner else {"": value}
            for part, tensor in parts.items():
                tensors[f"{i}:{name}:{part}"] = tensor.contiguous()
        experts.append({key: state[key] for key in state if key != "average"})
    metadata = {KEY: json.dumps({"experts": experts}, sort_keys=True)}
    return lzma.compress(save(tensors, metadata), preset=preset)


def unpack(packed: bytes) -> list[dict[str, Any]]:
    """The mirror of pack.  Errors: TrainingError."""
    try:
        flat = lzma.decompress(packed)
        header = json.loads(flat[8 : 8 + int.from_bytes(flat[:8], "little")])
        states = json.loads(header["__metadata__"][KEY])["experts"]
        split: dict[tuple[int, str], dict[str, Tensor]] = {}
        for key, tensor in load(flat).items():
            number, name, part = key.split(":")
            split.setdefault((int(number), name), {})[part] = tensor
        for state in states:
            state["average"] = {}
        for (i, name), parts in split.items():
            states[i]["average"][name] = parts[""] if "" in parts else _real(parts)
        return states
    except (lzma.LZMAError, KeyError, ValueError, IndexError) as error:
        raise TrainingError(f"not packed weights ({error})") from None


def write_packed(
    path: str | Path, states: Sequence[Mapping[str, Any]], preset: int = 6, force: bool = True
) -> None:
    """Writes pack(states) to a file, whole.  Errors: OutputExists, OutputFailed."""
    write(pack(states, preset), path, force=force)


def read_packed(path: str | Path) -> list[dict[str, Any]]:
    """The states in a file.  Errors: TrainingError."""
    try:
        return unpack(Path(path).read_bytes())
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None


def levels_of(state: Mapping[str, Any], count: int) -> range:
    """The levels that a state was trained for, of `count`."""
    return range(*state["only"]) if "only" in state else range(count)


def of_levels(states: Sequence[dict[str, Any]], levels: range, count: int) -> dict[str, Any]:
    """The state of the expert with these levels.  Errors: TrainingError where there is none."""
    for state in states:
        own = levels_of(state, count)
        if levels[0] in own and levels[-1] in own:
            return state
    raise TrainingError(f"no expert has the levels {levels[0]} to {levels[-1]}")
