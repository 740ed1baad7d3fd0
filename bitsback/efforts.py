"""The table of efforts (`-e`): the shipped model to encode with, and the tuning steps an image.

Numbers are aliases: 1 to 3 are fast, 4 to 6 default, 7 and 8 best, 9 max.
"""

from typing import NamedTuple


class Effort(NamedTuple):
    """model: name of a shipped model; tuning: steps, as codecs.encode_image takes them; jxl:
    libjxl's efforts, tried in the fallback codec.

    A larger model takes longer in both directions, tuning and libjxl's efforts to encode only.
    """

    model: str
    tuning: int
    jxl: tuple[int, ...] = (7,)


EFFORTS = {
    "fast": Effort("fast", 0),
    "default": Effort("default", 0),
    "best": Effort("best", 0),
    "max": Effort("best", 50, (7, 9)),  # several times best's time, for a fraction of a percent
}
NUMBERS = dict(zip("123456789", ["fast"] * 3 + ["default"] * 3 + ["best"] * 2 + ["max"]))
DEFAULT_EFFORT = "default"


def effort_name(effort: str | int) -> str:
    """The key of EFFORTS for a name in any case or a number 1 to 9.  Errors: ValueError."""
    text = str(effort)
    name = NUMBERS.get(text, text.lower())
    if name not in EFFORTS:
        *others, last = EFFORTS
        raise ValueError(
            f"{text!r} is not an effort: give {', '.join(others)} or {last}, or a number 1 to 9"
        )
    return name
