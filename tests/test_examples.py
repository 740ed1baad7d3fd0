"""Examples in docstrings and in the notebook run, and what notebooks show is a picture."""

import doctest
import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitsback.codecs.image import MODES, ImageData, shape_of

ROOT = Path(__file__).resolve().parents[1]
WITH_EXAMPLES = sorted(
    f"bitsback.{path.relative_to(ROOT / folder).with_suffix('').as_posix()}".replace("/", ".")
    for folder, below in (("bitsback", "bitsback"), (".", "codecs"))
    for path in (ROOT / below).rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


def test_some_docstrings_have_examples():
    assert {"bitsback.codecs.decoder", "bitsback.reading"} <= set(WITH_EXAMPLES)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """All code cells, one after the other, as Jupyter runs them."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    notebook = json.loads((ROOT / "benchmarks" / "example.ipynb").read_text("utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert notebook["nbformat"] == 4 and len(cells) > 3
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names = {}
    for cell in cells:
        exec(compile(cell, "example.ipynb", "exec"), names)
    assert names["found"].total == 8 * len(names["data"])


@pytest.mark.parametrize("mode", MODES)
def test_images_show_themselves(mode):
    """Of the image's size and colours, or nothing where a mode has none."""
    dtype, channels = MODES[mode]
    samples = np.arange(6 * channels).reshape(shape_of(mode, 2, 3)).astype(dtype)
    samples = samples & 1 if mode == "1" else samples
    look = {"palette": bytes(range(30))} if mode == "P" else {}
    shown = ImageData(mode, samples, look)._repr_png_()
    plain = mode.split(";")[0] in ("RGB", "RGBA", "L", "LA", "P", "1", "I") and mode != "I"
    assert (shown is not None) == plain
    if shown:
        image = Image.open(io.BytesIO(shown))
        assert image.size == (3, 2)
        if mode in ("RGB", "RGBA", "L"):
            assert np.array_equal(np.array(image), samples)
        if mode == "P":
            assert np.array(image)[0, 1].tolist() == [3, 4, 5]
