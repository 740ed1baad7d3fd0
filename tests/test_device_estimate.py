"""benchmarks.device_estimate and host_work: sums that agree with what is known otherwise."""

import numpy as np
import pytest

from bitsback.coder.model import Model

pytest.importorskip("triton")
from benchmarks import device_estimate, host_work  # noqa: E402
from benchmarks.device_estimate import AS_MEASURED, ASSUMED, Counted, seconds, steps  # noqa: E402
from bitsback.ans.lanes import Lanes  # noqa: E402
from bitsback.codecs.bitstream.header import LaneRule  # noqa: E402
from bitsback.codecs.segment_layout import Segment  # noqa: E402
from tests.test_device_operations import MOST_POPPED, MOST_PUSHED  # noqa: E402

DEFAULT = Counted(2.09e6, 21851, 1272, 9, 1004, 1083)


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
        assert covered + 64 * 64 == size[0] * size[1]


def test_seconds_add_up():
    """Of its parts; low is slower than expected, more lanes are faster, and the only measurement of
    a whole image lies within a quarter of the sum that is checked against it."""
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
    measured = seconds((1536, 1536), DEFAULT, AS_MEASURED, "H200", 1, LaneRule(12288, 4096))[0]
    assert 0.75 < measured / 1.93 < 1.25


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
