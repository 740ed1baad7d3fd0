"""Efforts 1 to 9: which shipped model codes, and for how many steps it is tuned."""

import pytest

from bitsback.efforts import DEFAULT_EFFORT, DEFAULT_STEPS, EFFORTS, chosen_model
from bitsback.integer import model_file


def test_efforts_are_1_to_9_and_their_models_are_shipped():
    assert list(EFFORTS) == list(range(1, 10))
    assert {effort.model for effort in EFFORTS.values()} <= set(model_file.shipped_models())


def test_of_one_model_a_higher_effort_tunes_longer():
    """Models are used by one run of efforts each, the first of which does not tune."""
    runs = {}
    for effort in EFFORTS.values():
        runs.setdefault(effort.model, []).append(effort.tuning)
    assert [effort.model for effort in EFFORTS.values()] == [
        model for model, steps in runs.items() for _ in steps
    ]
    assert all(steps[0] == 0 and steps == sorted(set(steps)) for steps in runs.values())


def test_the_default_does_not_tune():
    assert EFFORTS[DEFAULT_EFFORT] == ("default", 0) and DEFAULT_STEPS == 0


@pytest.mark.parametrize("effort", EFFORTS)
def test_chosen_model(effort, monkeypatch):
    """The named model, or else the effort's, or else None where that is not shipped."""
    assert chosen_model(effort, "mine") == "mine"
    assert chosen_model(effort) == EFFORTS[effort].model
    monkeypatch.setattr(model_file, "shipped_models", dict)
    assert chosen_model(effort) is None and chosen_model(effort, "mine") == "mine"
