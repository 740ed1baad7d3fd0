"""Ensembles: several evaluations of a step, by other models or of mirrored inputs, and their mean.

Networks that were trained apart, and one network on mirrored inputs, err differently; their mean
errs less, without any training (the geometric self-ensemble of EDSR, arXiv 1707.02921, section
3.3).  All outputs are averaged as integers, the trunk's and then each pass's.  Beyond its edges an
input continues as its reflection, where networks see zeros otherwise.  ARITHMETIC.md, section 17.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bitsback.diffusion.passes import Pass
from bitsback.integer.convolution import Reference
from bitsback.integer.fixed_point import rounded_shift
from bitsback.integer.flips import (
    ALL_FLIPS,
    PASSES,
    canvas_side,
    flipped_blocks,
    flipped_pixels,
    restored_blocks,
    restored_pixels,
)
from bitsback.integer.network import IntegerExperts, IntegerNetwork, StepTables

MOST_MODELS, MOST_MEMBERS, MOST_WEIGHT_BITS = 8, 16, 6


class Member(NamedTuple):
    """One evaluation of a step: the number of its model, the flips of its input, its weight."""

    model: int
    flips: int
    weight: int


Plan = tuple[tuple[Member, ...], ...]  # the members of each step


def read_plan(description: Mapping[str, Any]) -> tuple[tuple[str, ...], Plan]:
    """(ids of the models, plan) of the description in an ensemble's file.

    Its "ensemble" is {"models": [64 hex digits, ...], "steps": [[[model, flips, weight], ...] a
    step]}.  Errors: KeyError, TypeError, ValueError where it is none.
    """
    told = description["ensemble"]
    if not isinstance(told["models"], list):
        raise TypeError("models are a list")
    ids = tuple(told["models"])
    plan = tuple(tuple(Member(*member) for member in step) for step in told["steps"])
    if not 0 < len(ids) <= MOST_MODELS or not all(re.fullmatch("[0-9a-f]{64}", one) for one in ids):
        raise ValueError(f"models are 1 to {MOST_MODELS} ids")
    if len(set(ids)) != len(ids):
        raise ValueError("a model twice")
    if len(plan) != len(description["levels"]):
        raise ValueError("not as many steps as levels")
    for members in plan:
        _check_members(members, len(ids))
    return ids, plan


def _check_members(members: Sequence[Member], models: int) -> None:
    if not all(type(number) is int for member in members for number in member):
        raise TypeError("members are whole numbers")
    total = sum(member.weight for member in members)
    if not 0 < len(members) <= MOST_MEMBERS or min(member.weight for member in members) < 1:
        raise ValueError("a step without members, or with too many")
    if total & total - 1 or total >> MOST_WEIGHT_BITS > 1:
        raise ValueError("weights that add up to no power of two, or to a large one")
    places = [(member.model, member.flips) for member in members]
    if any(not 0 <= model < models or flips not in ALL_FLIPS for model, flips in places):
        raise ValueError("a member that is none")
    if len(set(places)) != len(places):
        raise ValueError("a member twice")


def check_passes(passes: Sequence[Sequence[int]], plan: Plan) -> None:
    """passes: of each model's steps.  Errors: ValueError where a step's members do not fit."""
    for step, members in enumerate(plan):
        counts = {passes[member.model][step] for member in members}
        if len(counts) > 1:
            raise ValueError(f"step {step}: members with other numbers of coding passes")
        if counts != {PASSES} and any(member.flips for member in members):
            raise ValueError(f"step {step}: mirrored, but not of {PASSES} coding passes")


def same_tables(first: Any, other: Any) -> bool:
    """Whether two coder.model.Models have the same levels, constants of steps, and tables."""
    pairs = [
        (getattr(a, name), getattr(b, name))
        for a, b in zip(first.steps, other.steps)
        for name in ("scale", "gain", "shift", "inverse")
    ]
    pairs += [
        (getattr(first, name).frequencies, getattr(other, name).frequencies)
        for name in ("gaussians", "forward")
    ]
    scalars = [
        [(s.input_scale, s.from_y, s.from_f, s.base) for s in one.steps] for one in (first, other)
    ]
    return (
        first.levels == other.levels
        and first.whole == other.whole
        and scalars[0] == scalars[1]
        and all(np.array_equal(a, b) for a, b in pairs)
    )


class _Run(NamedTuple):
    """Members that one network evaluates at once: a batch of their inputs."""

    network: IntegerExperts
    members: tuple[Member, ...]


class IntegerEnsemble:
    """What the coder evaluates of an ensemble: an IntegerExperts whose outputs are means.

    models: the IntegerExperts of each model, on one device.  Mirrored inputs of a network are a
    batch on a GPU, which a small image does not fill; on a CPU, one after the other, they take less
    memory.
    """

    def __init__(self, models: Sequence[IntegerExperts], plan: Plan):
        self.models, self.plan = models, plan
        self.steps = models[0].steps
        together = self.device.type != "cpu"
        self._runs = [self._runs_of(members, together) for members in plan]
        self._bits = [sum(m.weight for m in members).bit_length() - 1 for members in plan]

    def _runs_of(self, members: Sequence[Member], together: bool) -> list[_Run]:
        groups: dict[tuple[int, int], list[Member]] = {}
        for i, member in enumerate(members):
            groups.setdefault((member.model, 0 if together else i), []).append(member)
        return [_Run(self.models[key[0]], tuple(group)) for key, group in groups.items()]

    @property
    def networks(self) -> Sequence[tuple[range, IntegerNetwork]]:
        """The first model's, to which bias updates belong."""
        return self.models[0].networks

    @property
    def backend(self) -> Reference:
        return self.models[0].backend

    @property
    def device(self) -> torch.device:
        return self.models[0].device

    def of(self, index: int) -> IntegerNetwork:
        """The network of a step's first member."""
        return self._runs[index][0].network.of(index)

    def order(self, index: int) -> tuple[Pass, ...]:
        return self.of(index).order(index)

    def tables(self, index: int) -> StepTables:
        return self.models[0].tables(index)

    def blocks(self, index: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of 2x2 blocks of `head`'s arrays."""
        return self.of(index).blocks(index, height, width)

    def trunk(self, index: int, y: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """As IntegerNetwork.trunk: the mean of the members' outputs, and their states."""
        batch, (height, width), states, mean = len(y), y.shape[2:], [], _Mean(self._bits[index])
        for network, members in self._runs[index]:
            inputs = [flipped_pixels(y, member.flips) for member in members]
            out, state = network.trunk(index, inputs[0] if len(inputs) == 1 else torch.cat(inputs))
            states.append(state)
            for member, part in zip(members, out.split(batch)):
                mean.add(restored_pixels(part, member.flips, height, width), member.weight)
            del out
        return mean.value(), states

    def head(
        self, index: int, pass_number: int, state: Any, innovations: torch.Tensor
    ) -> torch.Tensor:
        """As IntegerNetwork.head: the mean of the members' outputs; state: of `trunk`."""
        mean, place = _Mean(self._bits[index]), self.order(index)[pass_number][0][:2]
        batch, height, width, room = (*innovations.shape[:3], innovations.stride(2))
        sides = [canvas_side(2 * side) // 2 for side in (height, width)]
        for (network, members), own in zip(self._runs[index], state):
            inputs = innovations.new_zeros((len(members) * batch, *sides, room))[..., :12]
            for member, part in zip(members, inputs.split(batch)):
                flipped_blocks(innovations, member.flips, part)
            out = network.head(index, pass_number, own, inputs)
            for member, part in zip(members, out.split(batch)):
                part = restored_blocks(part, member.flips, place, height, width)
                mean.add(part, member.weight)
        return mean.value()


class _Mean:
    """A weighted mean of int32 tensors, half-way cases upwards; bits: of the weights' sum."""

    def __init__(self, bits: int):
        self._bits = bits
        self._sum: torch.Tensor | None = None

    def add(self, part: torch.Tensor, weight: int) -> None:
        if self._sum is None:
            self._sum = part * weight
        else:
            self._sum.add_(part, alpha=weight)

    def value(self) -> torch.Tensor:
        assert self._sum is not None  # a step has members
        return rounded_shift(self._sum, self._bits) if self._bits else self._sum
