"""Options of `train` that describe a network."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bitsback.integer.config import NetworkConfig

MOST_SIZE = 4096  # of a network's widths and numbers of blocks


def network_config(sizes: str, passes: str) -> "NetworkConfig":
    """--network and --passes.  Errors: click.UsageError."""
    from bitsback.integer.config import NetworkConfig

    try:
        width1, n1, width2, n2, width3, n3 = map(int, sizes.split(","))
        if not all(0 < size <= MOST_SIZE for size in (width1, n1, width2, n2, width3, n3)):
            raise ValueError
        return NetworkConfig(width1, n1, width2, n2, width3, n3, passes=int(passes))
    except ValueError:
        raise click.UsageError(
            f"--network takes six whole numbers of 1 to {MOST_SIZE}, such as 48,3,64,2,96,2"
        ) from None


def expert_levels(only: tuple[int, int] | None, at_levels: bool) -> range | None:
    """--only, as a range.  Errors: click.UsageError."""
    from bitsback.diffusion.levels import default_levels

    if not only:
        return None
    count = len(default_levels())
    if not (at_levels and 0 <= only[0] <= only[1] < count):
        raise click.UsageError(
            f"--only takes the first and the last of some of the levels 0 to {count - 1}, and "
            "needs --at-levels"
        )
    return range(only[0], only[1] + 1)
