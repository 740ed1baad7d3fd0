"""benchmarks.device_estimate and host_work: sums that agree with what is known otherwise."""

import ast
from pathlib import Path

import numpy as np
import pytest

from bitsback.coder.model import Model

pytest.importorskip("triton")
from benchmarks import device_estimate, host_work  # noqa: E402
from benchmarks.device_estimate import AS_MEASURED, ASSUMED, MEASURED, Counted, seconds, steps  # noqa: E402
from bitsback.ans.lanes import Lanes  # noqa: E402
from bitsback.codecs.bitstream.header import LaneRule  # noqa: E402
from bitsback.codecs.prior_codec import start_side  # noqa: E402
from bitsback.codecs.segment_layout import Segment  # noqa: E402
from tests.conftest import INTERPRETED  # noqa: E402
from tests.test_device_operations import MOST_POPPED, MOST_PUSHED  # noqa: E402

DEFAULT = Counted(2.09e6, 21851, 1272, 9, 1004, 1083)


@pytest.mark.skipif(not INTERPRETED, reason="kernels are compiled")
def test_what_is_counted():
    """Multiply-adds are those of benchmarks/README.md; a larger segment than the tests' has the
    operations of 72 more chunks of colour counts, 3 each."""
    found = device_estimate.counted(Model.open("default"))
    assert round(found.multiply_adds / 1e6, 2) == 2.09 and found.levels == 9
    assert 0 < found.pushed <= MOST_PUSHED + 216 and 0 < found.popped <= MOST_POPPED + 216
    assert found.pushed > 500 and found.bytes > 3 * 9


def test_steps_of_one_lane_are_values(tiny_model):
    """With one lane each value is a step: K + 1 pushed and K popped of each sample; with as many
    lanes as the largest array has values, a step an array or a chunk."""
    segment, samples = Segment(0, 1, 0, 0, 200, 120), 3 * 200 * 120
    assert steps(segment, 1, 9) == (9 * samples, 10 * samples)
    assert steps(segment, samples, 9) == (9, 8 * 12 + 12 * 12 + 1)


def test_layout_covers_the_image():
    for size in ((512, 768), (70, 900), (4000, 6000)):
        covered = sum(segment.pixels for segment in device_estimate.layout(*size))
        assert covered + start_side(*size) ** 2 == size[0] * size[1]


def test_seconds_add_up():
    """Of its parts; low is slower than expected, more lanes are faster, and what was measured of
    whole images lies at most half above the sum that is checked against it."""
    times = []
    for by in ASSUMED.values():
        total, parts = seconds((1024, 1024), DEFAULT, by, "H200", 1, None)
        assert np.isclose(total, sum(parts.values())) and min(parts.values()) >= 0
        times.append(total)
    assert times == sorted(times, reverse=True)
    few, many = (
        seconds((512, 768), DEFAULT, ASSUMED["expected"], "H200", 0, LaneRule(n, 4096))[0]
        for n in (12288, 1024)
    )
    assert many < few
    for size, measured, operations in MEASURED:
        counts = DEFAULT._replace(pushed=operations[0], popped=operations[1])
        for way in (0, 1):
            total = seconds(size, counts, AS_MEASURED, "H200", way, None)[0]
            assert 0.65 < total / measured[way] < 1.1, (size, way, total)


def test_host_work_is_all_the_work(monkeypatch):
    """The steps and what is left add up to the threads' time; the pixels come back, and what is
    replaced for it is put back."""
    monkeypatch.setattr(host_work, "RUNS", 1)
    rng = np.random.default_rng(0)
    pixels = np.cumsum(rng.integers(-9, 10, (120, 136, 3)), 0).astype(np.uint8)
    kept = [owner.__dict__[name] for _, owner, name in host_work.STEPS]
    encoding, decoding = host_work.measure(pixels, 2.0)
    assert [owner.__dict__[name] for _, owner, name in host_work.STEPS] == kept
    assert encoding["estimate of JPEG XL", False] > 0 and encoding["start block", False] > 0
    assert decoding["context of segments", True] > 0 and ("start block", True) in decoding
    for found in (encoding, decoding):
        named = {name for name, _ in found}
        assert "all else" in named and all(spent >= 0 for spent in found.values())
        lines = host_work.rows(found)
        here = [float(line[1]) for line in lines[:-2]]
        assert here and abs(sum(here) - float(lines[-2][1])) < 1e-3 * len(here)
        assert not any(line[0] == host_work.LEFT_OUT for line in lines)


def test_no_device_pops_what_it_pushed():
    device, lanes = host_work.NoDevice(2.0), Lanes(bytes(range(256)) * 40)
    lanes.widen(3)
    words = lanes.words[: lanes.count].copy()
    device._there = lambda *_: None
    chain = type("NoChain", (), {"_contexts": lambda *_: None})()
    x = np.arange(-96, 96, dtype=np.int32).reshape(1, 3, 8, 8)
    sizes = []
    device.push(chain, lanes, x, None, None, lambda lanes: sizes.append(lanes.count), None, None)
    assert lanes.count - len(words) == int(2.0 * 192 / 32) and sizes[0] < len(words)
    assert np.array_equal(device.pop(chain, lanes, x.shape, None, None), x)
    assert np.array_equal(lanes.words[: lanes.count], words)


def test_importing_a_benchmark_changes_no_environment():
    """Triton reads it when it is imported: on a machine with a GPU all later kernels would be
    interpreted, as once happened.  Programs set it where they are the program."""
    for path in Path(device_estimate.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            guarded = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)
            assert guarded or "os.environ[" not in ast.unparse(node), path
            assert guarded or "environ.setdefault" not in ast.unparse(node), path
