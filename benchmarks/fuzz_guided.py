"""Coverage-guided hostile files against the decoder, by atheris (libFuzzer).

    pip install atheris && python -m benchmarks.fuzz_guided [--minutes 5] [--seed 1]

Each mutation gets a right CRC, and every digest of pixels counts as right, so that the fuzzer sees
what is behind the checksums: any image may come out, but nothing else than an image or an error of
this package.  An image is written as `decompress` writes it, too.  What raises something else is
printed once for each place in the code, and its input is written to --keep.  Only
bitsback.codecs is instrumented: numba could not compile the loops of the other packages.
"""

import argparse
import sys
import tempfile
import time
import traceback
import zlib
from contextlib import nullcontext, suppress
from pathlib import Path
from unittest.mock import patch

try:
    import atheris
except ImportError:  # not of the extra [test]: it has no wheels for newer versions of Python
    atheris = None

instrumented = atheris.instrument_imports(include=["bitsback.codecs"]) if atheris else nullcontext()
with instrumented:
    import numpy as np
    import torch

    from benchmarks.fuzz import random_model, warm
    from benchmarks.fuzz_cases import Case
    from benchmarks.fuzz_checks import Findings
    from benchmarks.fuzz_long import small_files
    from benchmarks.report import summary
    from bitsback.codecs import decoder
    from bitsback.codecs.io.restored import default_bytes
    from bitsback.codecs.salvage import salvage
    from bitsback.coder.model import Model
    from bitsback.errors import BitsbackError, UnsupportedImage

LONGEST = 2**14  # bytes of an input
KEPT = 5  # bytes of magic and version


class Right(bytes):
    """A digest that equals every other."""

    def __ne__(self, other: object) -> bool:
        return False


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """libFuzzer's mutation of all but magic, version and checksum, which is right then."""
    body = data[:KEPT] + atheris.Mutate(data[KEPT:-4], most - KEPT - 4)
    return body + zlib.crc32(body).to_bytes(4, "little")


class Target:
    """What is called with every input; counts them and keeps what must not happen."""

    def __init__(self, model: Model, keep: Path) -> None:
        self.model, self.keep, self.findings = model, keep, Findings()
        self.places: set[str] = set()
        self.inputs, self.images, self.begin = 0, 0, time.perf_counter()

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        try:
            with suppress(BitsbackError):
                list(salvage(data, model=self.model))
            with suppress(BitsbackError):
                images = decoder.decode_images(data, model=self.model)[1]
                self.images += len(images)
                for image in images:
                    with suppress(UnsupportedImage):
                        default_bytes(image, "x")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # constriction's panics are not Exceptions
            place = str(traceback.extract_tb(error.__traceback__)[-1])
            if place not in self.places:
                self.places.add(place)
                self.findings.fault(Case("guided", place, data), f"{type(error).__name__}: {error}")
                print(self.findings.faults[-1], flush=True)
                self.findings.keep(self.keep)
        if self.inputs % 10000 == 0:
            rate = self.inputs / (time.perf_counter() - self.begin)
            print(
                f"{self.inputs} inputs, {rate:.0f} a second, {self.images} images decoded, "
                f"{len(self.places)} faults",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("tests/fuzz"))
    args = parser.parse_args()
    if atheris is None:
        raise SystemExit("atheris is not installed: pip install atheris")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(folder, quick=True)
        files = small_files(model, np.random.default_rng(args.seed))
        warm(model, files)
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for i, (data, _) in enumerate(files.values()):
            if len(data) <= LONGEST:
                (corpus / str(i)).write_bytes(data)
        options = [
            f"-max_total_time={60 * args.minutes:.0f}",
            f"-seed={args.seed}",
            f"-max_len={LONGEST}",
            "-timeout=60",
            "-rss_limit_mb=4096",
            str(corpus),
        ]
        target = Target(model, args.keep)
        with (
            patch.object(decoder, "file_digest", lambda *_: Right()),
            patch.object(decoder, "image_check", lambda *_: Right()),
        ):
            atheris.Setup([sys.argv[0], *options], target, custom_mutator=mutated)
            atheris.Fuzz()


if __name__ == "__main__":
    main()
