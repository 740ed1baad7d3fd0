"""Sizes of a network, and how files hold them."""

from dataclasses import replace

import pytest

from bitsback.integer.config import NetworkConfig


def test_files_hold_all_sizes():
    """Under the names that files have had since they were first written."""
    sizes = NetworkConfig(1, 2, 3, 4, 5, 6, embedding=7, head=8, passes=2)
    assert sizes.as_dict() == {
        **{"c1": 1, "n1": 2, "c2": 3, "n2": 4, "c3": 5, "n3": 6, "embedding": 7, "head": 8},
        "phases": 2,
    }
    assert NetworkConfig.from_dict(sizes.as_dict()) == sizes


@pytest.mark.parametrize("passes", [0, 1, 3, 16])
def test_other_numbers_of_passes_are_refused(passes):
    with pytest.raises(ValueError, match=f"{passes} passes"):
        replace(NetworkConfig(), passes=passes)
    with pytest.raises(ValueError, match=f"{passes} passes"):
        NetworkConfig.from_dict({"phases": passes})


def test_unknown_sizes_are_refused():
    with pytest.raises(TypeError):
        NetworkConfig.from_dict({"c1": 8, "c4": 8})
