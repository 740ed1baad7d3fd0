"""A larger network that begins as a trained smaller one (Net2Net, arXiv 1511.05641, adapted).

New channels are appended with fresh incoming weights and zero outgoing ones, new blocks end in
zeros: the grown network computes what the small one computes, and every new weight has a gradient
after one step.  With twice as many coding passes both halves of a pass start from the weights of
the whole pass; with half as many each pass takes the weights of its first half.  With fewer blocks
a stage keeps its first ones, which costs a trained network much until it is trained on.  So hours
of training carry over to a larger network, or to a faster one.
"""

from collections.abc import Collection
from dataclasses import asdict

import torch
from torch import Tensor

from bitsback.diffusion.passes import coding_passes
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train.denoiser import Denoiser

# Sizes that may be larger; the others must agree
GROWS = ("c1", "n1", "c2", "n2", "c3", "n3", "head", "passes")
# Numbers of residual blocks, which may also be smaller, and the stages that have as many
BLOCKS = {"n1": ("down1", "up1"), "n2": ("down2", "up2"), "n3": ("middle",)}
Weights = dict[str, Tensor]  # a state dict


def split_passes(weights: Weights, count: int) -> Weights:
    """The weights of a head of `count` passes, 2 or 4, for twice as many: both halves of a pass
    start as the whole pass.

    The second half of the first pass has a head as well, which starts with the biases of the next
    pass and zero outputs.  With 2 passes the head read only innovations of the first: what it has
    for the others becomes zero.
    """
    weights, ends = dict(weights), ("weight", "bias")
    outs = {end: [weights.pop(f"head_out.{i}.{end}") for i in range(count - 1)] for end in ends}
    for end in ends:
        halves = [torch.zeros_like(outs[end][0])] + [out for out in outs[end] for _ in range(2)]
        weights |= {f"head_out.{i}.{end}": out for i, out in enumerate(halves)}
        levels = weights[f"head_level.2.{end}"].chunk(count - 1)
        weights[f"head_level.2.{end}"] = torch.cat(
            [levels[0]] + [part for part in levels for _ in range(2)]
        )
    if count == 2:
        read = {2 * row + column for row, column, _ in coding_passes(2)[0]}
        known = weights["head_known.weight"].clone()
        known[:, [i for i in range(known.shape[1]) if i % 4 not in read]] = 0
        weights["head_known.weight"] = known
    return weights


def join_passes(weights: Weights, count: int) -> Weights:
    """The weights of a head of `count` passes, 8 or 4, for half as many.

    Of every two passes to be joined the first one's weights are kept, which used only innovations
    that the joined pass has too.  8 to 4 cost the shipped networks 0.006 bits/dim before any
    training; with 2 passes left one head serves two pixels of each 2x2 block.
    """
    weights, heads = dict(weights), range(1, count - 1, 2)
    for end in ("weight", "bias"):
        outs = [weights.pop(f"head_out.{i}.{end}") for i in range(count - 1)]
        weights |= {f"head_out.{j}.{end}": outs[i] for j, i in enumerate(heads)}
        levels = weights[f"head_level.2.{end}"].chunk(count - 1)
        weights[f"head_level.2.{end}"] = torch.cat([levels[i] for i in heads])
    return weights


def drop_blocks(weights: Weights, stages: Collection[str], count: int) -> Weights:
    """The weights without those of residual blocks after the first `count` of each stage."""

    def kept(name: str) -> bool:
        stage, *rest = name.split(".")
        return stage not in stages or int(rest[0]) < count

    return {name: value for name, value in weights.items() if kept(name)}


def split_head_level(weights: Weights, passes: int) -> Weights:
    """The weights with head_level.2, one bias a pass and head channel, viewed as (passes - 1, head,
    ...), so that growth is along channels."""
    return {
        name: value.view(passes - 1, -1, *value.shape[1:])
        if name.startswith("head_level.2")
        else value
        for name, value in weights.items()
    }


def grow_weights(
    old_config: NetworkConfig, weights: Weights, new_config: NetworkConfig, generator_seed: int = 0
) -> Weights:
    """State dict of a Denoiser(new_config) that computes what (old_config, weights) compute.

    weights: state dict of the small network, float tensors; passes and blocks may also be fewer.
    Errors: TrainingError where another size shrinks or one that cannot grow differs.
    """
    old, new = asdict(old_config), asdict(new_config)
    for name in new:
        if name == "passes":
            allowed = new[name] <= 2 * old[name]
        elif name in BLOCKS:
            allowed = True
        else:
            allowed = new[name] == old[name] or new[name] > old[name] and name in GROWS
        if not allowed:
            raise TrainingError(
                f"a network with {name} = {old[name]} cannot grow into one with "
                f"{name} = {new[name]}"
            )
    if old["passes"] < new["passes"]:
        weights = split_passes(weights, old["passes"])
    for count in (8, 4):
        if new["passes"] < count <= old["passes"]:
            weights = join_passes(weights, count)
    for name, stages in BLOCKS.items():
        weights = drop_blocks(weights, stages, new[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        fresh = {k: v.clone() for k, v in Denoiser(new_config).state_dict().items()}
    grown, weights = (split_head_level(some, new["passes"]) for some in (fresh, weights))
    for name, small in weights.items():
        large = grown[name]
        if large.ndim == 4:
            large[:, small.shape[1] :] = 0  # no layer reads a new channel yet
        large[tuple(slice(0, n) for n in small.shape)] = small.to(large.device)
    return fresh  # `grown` holds views of its tensors
