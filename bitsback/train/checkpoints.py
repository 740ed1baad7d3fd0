"""Reading checkpoints: the averaged weights of one network, or of several experts as one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train.denoiser import Denoiser
from bitsback.train.experts import Experts
from bitsback.train.packed_weights import SUFFIX, first_line, levels_of, read_packed
from bitsback.train.restart import minutes_of, other_experts

MODEL_SUFFIX = ".safetensors"


def read_checkpoint(path: str | Path) -> tuple[Denoiser, dict[str, Any]]:
    """(averaged network, facts) of a checkpoint that `train` wrote.

    facts: "minutes", "steps" and, for an expert, "only", its range of levels.
    Errors: TrainingError.
    """
    try:
        return _network(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch reports a foreign file in a dozen ways
        raise TrainingError(f"{path}: not a checkpoint ({first_line(error)})") from None


def read_weights(path: str | Path) -> list[tuple[Denoiser, dict[str, Any]]]:
    """As read_checkpoint, for each expert in packed weights.  Errors: TrainingError."""
    try:
        return [_network(state) for state in read_packed(path)]
    except (RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(f"{path}: not packed weights ({first_line(error)})") from None


def _network(state: dict[str, Any]) -> tuple[Denoiser, dict[str, Any]]:
    network = Denoiser(NetworkConfig.from_dict(state["config"]))
    network.load_state_dict(state["average"])
    facts = {"minutes": round(state["minutes"], 1), "steps": state["steps"]}
    if "only" in state:
        facts["only"] = range(*state["only"])
    return network.requires_grad_(False).eval(), facts


def read_checkpoints(
    paths: Sequence[str | Path], families: list[int] | None = None, at_once: bool = False
) -> tuple[Denoiser | Experts, dict[str, Any]]:
    """(network, facts) of one checkpoint of all levels, or of several experts' as Experts.

    families: a number for each expert, None: all different.  Packed weights supply the experts that
    have none of the levels of the paths before them, a model file those that no other path has.
    facts: minutes and steps, added up; at_once: the experts were trained side by side on a device,
    whose minutes are the longest of theirs, each with those of its start, and of the models'.
    Errors: TrainingError, WrongModel.
    """
    models = [path for path in paths if Path(path).suffix == MODEL_SUFFIX]
    packed = [path for path in paths if Path(path).suffix == SUFFIX]
    read = [read_checkpoint(path) for path in paths if path not in [*models, *packed]]
    count = len(default_levels())
    for path in packed:
        taken = {k for _, facts in read for k in facts.get("only", range(count))}
        read += [
            one for one in read_weights(path) if not taken & set(one[1].get("only", range(count)))
        ]
    if len(paths) == len(read) == 1 and "only" not in read[0][1]:
        return read[0]
    noise = sigmas(default_levels())
    parts = [(network, facts.get("only", range(len(noise)))) for network, facts in read]
    for path in models:
        parts += other_experts(path, [k for _, steps in parts for k in steps])
    if models or packed:
        parts.sort(key=lambda part: part[1].start)
    experts = Experts(
        [network for network, _ in parts], [steps for _, steps in parts], noise, families
    )
    total = {key: round(sum(facts[key] for _, facts in read), 1) for key in ("minutes", "steps")}
    if at_once:
        minutes = [facts["minutes"] for _, facts in read] + [minutes_of(path) for path in models]
        total["minutes"] = max(minutes)
    return experts.requires_grad_(False).eval(), total


def packed_states(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """What packed_weights.pack takes of the experts of read_checkpoints, in order of their levels.

    Errors: TrainingError, WrongModel.
    """
    states: list[dict[str, Any]] = []
    models = [path for path in paths if Path(path).suffix == MODEL_SUFFIX]
    count = len(default_levels())
    for path in sorted(paths, key=lambda path: Path(path).suffix == SUFFIX):
        if Path(path).suffix == SUFFIX:
            taken = {k for state in states for k in levels_of(state, count)}
            found = read_packed(path)
            states += [state for state in found if not taken & set(levels_of(state, count))]
        elif path not in models:
            network, facts = read_checkpoint(path)
            only = facts.get("only")
            states.append(
                {"average": network.state_dict(), "config": network.config.as_dict()}
                | {key: facts[key] for key in ("steps", "minutes")}
                | ({"only": [only.start, only.stop]} if only else {})
            )
    for path in models:
        taken = {k for state in states for k in levels_of(state, count)}
        states += [
            {"average": network.state_dict(), "config": network.config.as_dict()}
            | {"steps": 0, "minutes": 0.0, "only": [steps.start, steps.stop]}
            for network, steps in other_experts(path, sorted(taken))
        ]
    return sorted(states, key=lambda state: levels_of(state, count).start)
