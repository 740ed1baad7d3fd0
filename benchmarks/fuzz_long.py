"""The long run of benchmarks/fuzz.py: many inputs, in processes that are watched.

A process draws its inputs from the seed and the number of a chunk, so that a finding can be made
again.  Before each check it puts the input where its parent sees it: one that takes too long, or
ends the process, is a finding, and another process goes on after it.
"""

import mmap
import multiprocessing
import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.fuzz_cases import (
    Case,
    Files,
    by_jxl,
    deep_image,
    gray_and_alpha,
    image_of,
    smooth_pixels,
    under_prior,
)
from benchmarks.fuzz_checks import Findings, by_command, by_library
from benchmarks.fuzz_damage import numbers, random_bytes
from benchmarks.fuzz_inside import changed_index, changed_metadata
from benchmarks.fuzz_metadata import odd_metadata
from benchmarks.fuzz_mutations import mutations, unknown_parts
from bitsback.codecs import Encoder, checksums, decoder, encode_image, mode_decision
from bitsback.codecs.bitstream import block_checks, container
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.image import MODES, ImageData
from bitsback.coder.model import Model

CHUNK = 1000  # inputs
THROUGH_COMMANDS = 1000  # every so many inputs, one by the commands too
MEMORY = 4 * 2**30  # bytes of address space that a process may have more than at its start
HEAD = struct.Struct("<dqq")  # when the check began, 0 between checks; number in the chunk; length
ROOM = 2**22  # bytes of an input that are kept

# Files whose parts have checksums, so that some of a damaged one can be salvaged.
DAMAGED = "fallback blocks", "prior blocks", "fallback parts", "prior parts", "fallback groups"

Cases = Callable[[int], Iterator[Case]]  # number of a chunk -> its inputs


def small_files(model: Model, rng: np.random.Generator) -> Files:
    """Fewer and smaller good files, which decode fast, for many inputs: all of the fallback codec,
    an archive in two groups, one with checksums of blocks, and small ones under the prior.
    """
    modes = [image_of(mode, 5, 7, rng) for mode in MODES]
    files = {f"fallback {one.mode}": (encode_image(one), [one]) for one in modes}
    noise = ImageData("RGB", rng.integers(0, 256, (150, 150, 3), np.uint8))
    data = container.write(*container.read(encode_image(noise)))  # by a writer of checksums
    files["fallback blocks"] = data, [noise]
    some = [image_of(mode, 6, 5, rng) for mode in ("P", "RGB", "L", "RGBA;16")]
    entries = tuple(
        Entry(s.width, s.height, f"{i}.png", check=checksums.image_check(s.samples), mode=s.mode)
        for i, s in enumerate(some)
    )
    with patch.object(mode_decision, "prior_possible", lambda *_: False):
        archives = [Encoder().encode_many(some[i:j], entries[i:j]) for i, j in ((0, 2), (2, 4))]
        files["fallback archive"] = Encoder().encode_many(some, entries), some
    files["fallback JPEG XL"] = by_jxl(ImageData("LA;16", gray_and_alpha(rng)))
    grouped = container.write_groups([(2, data) for data in archives])
    bare = ImageData("RGB", smooth_pixels(16, 16, 3, rng))
    updates = rng.integers(-3, 4, model.update_codec.size, dtype=np.int32)
    flat = smooth_pixels(48, 48, 3, rng)
    flat[:24] = 255
    for name, image, moved in (
        ("prior RGB", bare, None),
        ("prior tuned", bare, updates),
        ("prior flat", ImageData("RGB", flat), None),
        ("prior RGBA", image_of("RGBA", 16, 16, rng), None),
        ("prior 16 bits", deep_image(16, 16, rng), None),
        ("prior gray", image_of("L", 16, 24, rng), None),
    ):
        files[name] = under_prior([image], model, updates=moved), [image]
        assert container.read_header(files[name][0]).model, f"{name} is not under the prior"
    large = ImageData("RGB", smooth_pixels(32, 32, 3, rng))
    with patch.object(block_checks, "BLOCK", block_checks.SMALLEST):
        files["prior blocks"] = under_prior([large], model), [large]
        noisy = [ImageData("RGB", rng.integers(0, 256, (40, 41, 3), np.uint8)) for _ in range(3)]
        names = tuple(Entry(41, 40, f"{i}.png") for i in range(3))
        with patch.object(mode_decision, "prior_possible", lambda *_: False):
            files["fallback parts"] = Encoder().encode_many(noisy, names), noisy
        some = [large, ImageData("RGB", smooth_pixels(24, 32, 3, rng))]
        data = under_prior(some, model, archive=True)
        files["prior parts"] = data, decoder.decode_images(data, model=model)[1]
    for name in DAMAGED[:-1]:
        assert container.read_damaged(files[name][0])
    pair = [bare, image_of("P", 6, 5, rng)]
    data = under_prior(pair, model, archive=True)
    files["prior archive"] = data, decoder.decode_images(data, model=model)[1]
    return files | {"fallback groups": (grouped, decoder.decode_images(grouped)[1])}


def chunk(files: Files, seed: int, number: int) -> Iterator[Case]:
    """CHUNK inputs of all kinds."""
    rng = np.random.default_rng([seed, number])
    quick = [name for name in files if name.startswith("fallback")]
    plain = [name for name in quick if name != "fallback groups"]
    with_metadata = [files[name][1][0] for name in plain if files[name][1][0].metadata]
    prior = [name for name in files if name.startswith("prior")]
    makers = [
        mutations(files, prior, rng, 120),
        mutations(files, list(DAMAGED), rng, 40, 0.0),
        unknown_parts(files, plain, rng, 40),
        unknown_parts(files, prior, rng, 15),
        random_bytes(rng, 10),
        odd_metadata(rng, 30),
        changed_metadata(with_metadata, rng, 120),
        changed_index(files, rng, 60),
        (case for name in plain for case in numbers(name, *files[name], rng, 3)),
        (case for name in prior for case in numbers(name, *files[name], rng, 2)),
        mutations(files, quick, rng, CHUNK),  # as many as are left
    ]
    found = (case for maker in makers for case in maker)
    return (case for case, _ in zip(found, range(CHUNK)))


class _Watched:
    """A process that works on a chunk from one of its inputs on, and what its parent sees of it."""

    def __init__(self, work: Callable, number: int, first: int) -> None:
        self.number = number
        self.shared = mmap.mmap(-1, HEAD.size + ROOM)
        self.connection, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        arguments = self.shared, theirs, number, first
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def current(self) -> tuple[float, int, bytes]:
        """(when the check of an input began or 0, its number in the chunk, the input)."""
        begun, place, length = HEAD.unpack_from(self.shared)
        return begun, place, self.shared[HEAD.size : HEAD.size + length]


def _worker(cases: Cases, model: Model, folder: Path) -> Callable:
    def work(shared: mmap.mmap, connection: Connection, number: int, first: int) -> None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
        findings, mine = Findings(), folder / str(os.getpid())
        mine.mkdir()
        with patch.object(Model, "open", lambda *_, **__: model):
            for place, case in enumerate(cases(number)):
                if place < first:
                    continue
                data = case.data[:ROOM]
                shared[HEAD.size : HEAD.size + len(data)] = data
                HEAD.pack_into(shared, 0, time.monotonic(), place, len(data))
                by_library(case, model, findings)
                if place % THROUGH_COMMANDS == number % THROUGH_COMMANDS:
                    by_command(case, model, findings, mine)
                HEAD.pack_into(shared, 0, 0.0, place, len(data))
        connection.send(findings)

    return work


def run_chunks(
    count: int,
    jobs: int,
    cases: Cases,
    model: Model,
    folder: Path,
    seconds: float,
    report: Callable[[int, Findings], Any] = lambda number, findings: None,
) -> Findings:
    """Findings of `count` chunks in `jobs` processes, forked from this one.

    seconds: after which an input is a finding, its process killed; what else the killed process
    found in that chunk is lost, except what its parent saw.  report: called with the number of
    chunks that are done.
    """
    work, findings = _worker(cases, model, folder), Findings()
    waiting, running, done = list(range(count))[::-1], dict[Any, _Watched](), 0

    def begin(number: int, first: int = 0) -> None:
        watched = _Watched(work, number, first)
        running[watched.connection] = watched

    while waiting or running:
        while waiting and len(running) < jobs:
            begin(waiting.pop())
        for connection in wait(list(running), 0.5):
            watched = running.pop(connection)
            try:
                findings.merge(watched.connection.recv())
                done += 1
                report(done, findings)
                watched.process.join()
            except EOFError:  # it died
                watched.process.join()
                if watched.process.exitcode >= 0:  # not by a signal: an error of these modules
                    findings.faults.append(f"chunk {watched.number}: see its traceback")
                    done += 1
                else:
                    _ended(watched, f"ended by {watched.process.exitcode}", findings)
                    begin(watched.number, watched.current()[1] + 1)
            watched.connection.close()
        for watched in list(running.values()):
            begun, place, _ = watched.current()
            if begun and time.monotonic() - begun > seconds and watched.process.pid:
                os.kill(watched.process.pid, signal.SIGKILL)
                watched.process.join()
                del running[watched.connection]
                _ended(watched, f"took more than {seconds:g} s", findings)
                begin(watched.number, place + 1)
    return findings


def _ended(watched, what, findings):
    """Adds the input that a process was at."""
    _, place, data = watched.current()
    case = Case("watched", f"chunk {watched.number}, input {place}", data)
    findings.outcomes[case.kind]["FAULT"] += 1
    findings.fault(case, what)
