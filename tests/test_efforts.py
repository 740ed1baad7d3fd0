"""efforts.py and `compress -e`: names and numbers, their models and tuning steps, one usage
error.
"""

import pytest
from PIL import Image

from bitsback.cli.options import EffortType
from bitsback.cli.resources import effort_model
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback import codec
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS, NUMBERS, Effort, effort_name
from bitsback.integer import installed
from tests.commands import call, error_lines


def test_the_table():
    """Four efforts; max is best with tuning, the only one that tunes, and JPEG XL of effort 9."""
    assert EFFORTS == {
        "fast": Effort("fast", 0),
        "default": Effort("default", 0),
        "best": Effort("best", 0),
        "max": Effort("best", 50, (7, 9)),
    }
    assert DEFAULT_EFFORT == "default" and EFFORTS[DEFAULT_EFFORT].tuning == 0


def test_every_effort_has_a_shipped_model():
    assert {effort.model for effort in EFFORTS.values()} <= set(installed.shipped_models())


def test_numbers_and_names():
    """1 to 9 map onto the four, in order; names in any case; nothing else."""
    numbers = [effort_name(str(number)) for number in range(1, 10)]
    assert numbers == ["fast"] * 3 + ["default"] * 3 + ["best"] * 2 + ["max"]
    assert list(NUMBERS.values()) == numbers == [effort_name(n) for n in range(1, 10)]
    for name in EFFORTS:
        assert effort_name(name) == effort_name(name.upper()) == effort_name(name.title()) == name


@pytest.mark.parametrize("text", ["0", "10", "-1", "5.0", "slow", "", "fast ", "best1"])
def test_a_usage_error_that_names_the_choices(tmp_path, photograph, text):
    """Exit status 2, one line of error with what was given and what can be, and no file."""
    with pytest.raises(ValueError):
        effort_name(text)
    Image.fromarray(photograph(9, 11)).save(tmp_path / "a.png")
    result = call("compress", tmp_path / "a.png", f"--effort={text}")
    assert result.exit_code == 2 and result.stderr.count("Error: ") == 1
    error = " ".join(result.stderr.split("Error: ")[1].split())
    assert repr(text) in error and "fast, default, best or max, or a number 1 to 9" in error
    assert not (tmp_path / "a.bbk").exists()


def test_help_has_the_mapping():
    """`compress --help` names the four and the numbers of each."""
    text = " ".join(call("compress", "--help").stdout.split())
    assert "1-3 fast, 4-6 default, 7-8 best, 9 max" in text and "[default: default]" in text


def test_shell_completion():
    """The names that begin with what was typed, in any case."""
    complete = EffortType().shell_complete
    assert [item.value for item in complete(None, None, "")] == list(EFFORTS)
    assert [item.value for item in complete(None, None, "B")] == ["best"]


@pytest.fixture
def shipped(tiny_model, other_model, monkeypatch):
    """As if "best" and "default" were shipped, not "fast".  Returns {name: path}."""
    paths = {"best": other_model.path, "default": tiny_model.path}
    monkeypatch.setattr(installed, "shipped_models", lambda: paths)
    return paths


def test_models(shipped):
    """--model has the last word; None, which opens the default, for a model that is not shipped."""
    assert [effort_model(name) for name in EFFORTS] == [None, "default", "best", "best"]
    assert [effort_model(name, "x") for name in EFFORTS] == ["x"] * 4


def test_evaluate(shipped, tmp_path, tiny_model, other_model, photograph):
    """The model of the effort; max, which tunes, and a second choice of the model are refused."""
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.png")
    arguments = ["evaluate", tmp_path / "a.png", "--measure", "net", "-q"]
    chosen = [["-e", "6"], ["-e", "Best"], ["--effort", "best"], []]
    for options, model in zip(chosen, [tiny_model, other_model, other_model, tiny_model]):
        result = call(*arguments, *options)
        assert result.exit_code == 0 and f"model {model.id[:16]}" in result.stdout
    for options, told in (
        (["-e", "9"], "does not tune"),
        (["-e", "best", "--model", "default"], "give one"),
        (["-e", "worst"], "not an effort"),
    ):
        result = call(*arguments, *options)
        assert result.exit_code == 2 and told in error_lines(result)[-1] and not result.stdout
    result = call(*arguments, "-e", "fast")  # figures of another model would be wrong
    assert result.exit_code == 1 and not result.stdout
    assert "fast" in result.stderr and len(error_lines(result)) == 1


def test_compress(shipped, tmp_path, tiny_model, other_model, photograph, monkeypatch):
    """Each effort uses its model for its steps, by name and by number, in every case."""
    steps_used = []
    monkeypatch.setattr(
        "bitsback.codecs.prior_codec.tune",
        lambda model, images, steps, **_: steps_used.append(steps),
    )
    Image.fromarray(photograph(64, 72)).save(tmp_path / "a.png")
    for arguments, model, steps in (
        ([], tiny_model, 0),
        (["-e", "1"], tiny_model, 0),
        (["-e", "Best"], other_model, 0),
        (["--effort", "9"], other_model, 50),
        (["-e", "MAX", "--model", "default"], tiny_model, 50),
    ):
        result = call("compress", "-vf", "--no-verify", tmp_path / "a.png", *arguments)
        assert result.exit_code == 0 and model.id[:16] in result.stderr
        assert container.read_header((tmp_path / "a.bbk").read_bytes()).width == 72
        assert steps_used.pop() == steps and not steps_used


def test_the_fallback_codecs_efforts(tmp_path, photograph, monkeypatch):
    """libjxl's 9 belongs to `max`, of one image and of an archive; so do its tuning steps."""
    used = []
    cache = codec.FallbackCache

    def recorded(efforts):
        used.append(efforts)
        return cache(efforts)

    monkeypatch.setattr("bitsback.codecs.encoder.FallbackCache", recorded)
    Image.fromarray(photograph(20, 24)).convert("CMYK").save(tmp_path / "a.tif")
    for effort, expected in (("max", (7, 9)), ("9", (7, 9)), ("best", (7,)), ("default", (7,))):
        for target in ([tmp_path / "a.tif"], ["--archive", tmp_path / "s.bbk", tmp_path / "a.tif"]):
            assert call("compress", "-qf", "-e", effort, *target).exit_code == 0
            assert used and set(used) == {expected}
            used.clear()
