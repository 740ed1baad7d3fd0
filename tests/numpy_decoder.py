"""The arithmetic of tests/second_decoder, under one name for tests of single sections."""

from tests.second_decoder.bias_updates import Stack, pop_deltas, tune
from tests.second_decoder.colour_counts import Counts
from tests.second_decoder.context import context, draw, mean_map
from tests.second_decoder.errors import Damaged
from tests.second_decoder.integers import B, G, R, act
from tests.second_decoder.lanes import Lanes
from tests.second_decoder.network import Model
from tests.second_decoder.segments import decode, encode, lane_counts
from tests.second_decoder.step import distributions
from tests.second_decoder.table import groups

__all__ = [
    "act",
    "B",
    "context",
    "Counts",
    "Damaged",
    "decode",
    "distributions",
    "draw",
    "encode",
    "G",
    "groups",
    "lane_counts",
    "Lanes",
    "mean_map",
    "Model",
    "pop_deltas",
    "R",
    "Stack",
    "tune",
]
