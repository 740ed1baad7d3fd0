"""What an effort of 1..9 stands for: which shipped model, and how long it is tuned to each image."""

from typing import NamedTuple


class Effort(NamedTuple):
    """model: a shipped name; tuning: steps, as codecs.encode_image takes them.  Tuning costs nothing when a file is decoded."""

    model: str
    tuning: int


EFFORTS = {
    1: Effort("fast", 0),
    2: Effort("fast", 15),
    3: Effort("fast", 30),
    4: Effort("fast", 60),
    5: Effort("default", 0),
    6: Effort("default", 50),
    7: Effort("default", 100),
    8: Effort("default", 200),
    9: Effort("default", 400),
}
DEFAULT_EFFORT = 5  # tuning takes more than twice as long as coding, for about 1 % of a file (benchmarks/results/efforts.md)
DEFAULT_STEPS = EFFORTS[DEFAULT_EFFORT].tuning


def chosen_model(effort, name=None):
    """The model `name` if one was named, else the effort's; None where that is not shipped."""
    from bitsback.integer.model_file import (
        shipped_models,
    )  # torch comes with it: not before it is needed

    return name or (EFFORTS[effort].model if EFFORTS[effort].model in shipped_models() else None)
