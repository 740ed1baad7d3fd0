"""What benchmarks.speed measures of one codec on the CPU, in a process of its own."""

import functools
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

OTHER_NAMES = ("WebP", "JPEG XL e7", "JPEG XL e9")
Result = TypeVar("Result")


def timed_best(work: Callable[[], Result], runs: int = 2) -> tuple[float, Result]:
    """(seconds of the fastest run, its result)."""
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begin)
    return best, result


class Clock:
    """Adds up the time spent inside functions that it wraps, and the values they code."""

    def __init__(self) -> None:
        self.seconds, self.values = 0.0, 0

    def around(self, function: Callable[..., Any], coded: int | None = None) -> Callable[..., Any]:
        """The function, timed.  coded: the number of its argument that is an array of values."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if coded is not None:
                self.values += len(arguments[coded])
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed

    @property
    def rate(self) -> float:
        """Values a second, in millions."""
        return self.values / max(self.seconds, 1e-9) / 1e6


class Counter:
    """Adds up the multiply-adds of backends' convolutions."""

    METHODS = "convolve", "convolve_sum", "convolve_narrow", "convolve_limited"

    def __init__(self) -> None:
        self.multiply_adds, self._inside = 0, False

    def watch(self, backend: Any) -> None:
        """Counts what the backend convolves from now on; a method may call another one."""
        for name in self.METHODS:
            setattr(backend, name, self._around(backend, getattr(backend, name)))

    def _around(self, backend: Any, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(name: str, *arguments: Any, **options: Any) -> Any:
            outside, self._inside = not self._inside, True
            try:
                out = method(name, *arguments, **options)
            finally:
                self._inside = not outside
            if outside:
                values = out[0] if isinstance(out, tuple) else out
                self.multiply_adds += values.numel() * backend.layers[name].weight[0].numel()
            return out

        return counted


def peak(seconds: float = 1.0) -> float:
    """Multiply-adds a second of the fastest backend's 64-channel 3x3 convolution, best of many.

    Its size fits the caches.
    """
    import torch

    from bitsback.integer.convolution import Layer
    from bitsback.integer.selftest import choose

    weight = torch.randint(-64, 65, (64, 64, 3, 3), dtype=torch.int8)
    backend = choose(
        {
            "l": Layer(
                weight,
                torch.zeros(1, 64, dtype=torch.int32),
                torch.full((64,), 9, dtype=torch.int8),
            )
        }
    )
    x = torch.randint(0, 256, (1, 64, 96, 128), dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, timed_best(lambda: backend.convolve("l", x, 0, clamp=True), 1)[0])
    return x.numel() * weight[0].numel() / best


def one(path: Path, name: str, threads: int) -> dict[str, Any]:
    """The figures of one codec on the CPU: seconds, bytes, peak MiB; of a model also shares."""
    import numpy as np
    from PIL import Image

    from bitsback.memory import keep_pages

    keep_pages()
    pixels = np.array(Image.open(path).convert("RGB"))
    facts: dict[str, Any] = {"megapixels": pixels.size / 3e6, "start_s": None}
    if name in OTHER_NAMES:
        from benchmarks.other_codecs import OTHER_CODECS

        write, read = OTHER_CODECS[name]
        facts["encode_s"], written = timed_best(lambda: write(pixels))
        data = bytes(written)
        facts["decode_s"], back = timed_best(lambda: read(data))
    else:
        begin = time.perf_counter()
        import torch

        from bitsback.ans.colour_counts import ColourCounts
        from bitsback.ans.lanes import Lanes
        from bitsback.codecs import decoder, prior_codec
        from bitsback.codecs.bitstream import container
        from bitsback.coder.model import Model

        torch.set_num_threads(threads)
        model = Model.open(name)
        model.chain()
        facts["start_s"] = time.perf_counter() - begin
        header = container.Header(
            (container.Entry(pixels.shape[1], pixels.shape[0]),), container.pixel_digest([pixels])
        )
        facts["encode_s"], result = timed_best(
            lambda: prior_codec.encode_stack([pixels], header, model)
        )
        data = container.write(*result)
        decode = functools.partial(decoder.decode, data, model=model)
        facts["decode_s"], back = timed_best(decode)
    if name not in OTHER_NAMES:
        network, popped, pushed, counted = Clock(), Clock(), Clock(), Clock()
        counter, top = Counter(), peak()
        chain = model.chain()
        for _, part in (pair for one in chain.network.models for pair in one.networks):
            counter.watch(part.backend)
        for step in chain.reverse:
            step.network.trunk, step.network.head = (
                network.around(step.network.trunk),
                network.around(step.network.head),
            )
            break  # all steps share one network
        Lanes.push_gaussian = pushed.around(Lanes.push_gaussian, 2)
        Lanes.pop_gaussian = popped.around(Lanes.pop_gaussian, 2)
        ColourCounts.pop = counted.around(ColourCounts.pop)
        total, _ = timed_best(decode, 1)
        coding = popped.seconds + pushed.seconds + counted.seconds
        facts["network"], facts["coding"] = network.seconds / total, coding / total
        facts["popped"], facts["pushed"] = popped.rate, pushed.rate
        facts["of_peak"], facts["peak_gops"] = (
            network.seconds * top / counter.multiply_adds,
            2 * top / 1e9,
        )
    if not np.array_equal(back, pixels):
        raise SystemExit(f"{name}: other pixels came back")
    facts["bytes"], facts["peak_mib"] = (
        len(data),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    return facts
