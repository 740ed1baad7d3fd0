"""The sizes of a network, and the limits of the integers that enter it."""

from dataclasses import asdict, dataclass

from bitsback.diffusion.passes import PASS_COUNTS

INPUT_REACH = 1023  # largest integer at the input (11 bits), 1/128 each
INNOVATION_REACH = 96  # largest integer innovation, 1/16 standard deviation each
EXACT = 2**24  # float32 adds integers exactly below this


@dataclass(frozen=True)
class NetworkConfig:
    """Widths c and depths n of the stages; width of the head; number of coding passes."""

    c1: int = 64
    n1: int = 3
    c2: int = 96
    n2: int = 2
    c3: int = 128
    n3: int = 2
    embedding: int = 64
    head: int = 48
    passes: int = 4

    def __post_init__(self) -> None:
        if self.passes not in PASS_COUNTS:
            raise ValueError(f"{self.passes} passes: not one of {PASS_COUNTS}")

    def as_dict(self) -> dict[str, int]:
        """As stored in files, where the coding passes are called phases."""
        sizes = asdict(self)
        return {"phases" if key == "passes" else key: value for key, value in sizes.items()}

    @classmethod
    def from_dict(cls, sizes: dict[str, int]) -> "NetworkConfig":
        """The mirror of as_dict.  Errors: TypeError, ValueError."""
        return cls(**{"passes" if key == "phases" else key: value for key, value in sizes.items()})
