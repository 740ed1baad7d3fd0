"""Memory for a whole image besides its segments, in a process of its own.

benchmarks/memory.py measures whole runs.
"""

import json
import subprocess
import sys

import numpy as np
from PIL import Image

from bitsback.codecs import segment_layout

PEAKS = """
import json, sys
import torch
from benchmarks.memory import peak_bytes
from bitsback.coder.top import Top
from bitsback.codecs import checksums, image as images, mode_decision, prior_codec
from bitsback.codecs.formats.image_files import read_image
from bitsback.codecs.segment_layout import Covered
from bitsback.diffusion.levels import default_levels
from bitsback.memory import keep_pages
keep_pages()
peaks = []
def note(): peaks.append(peak_bytes())
note()
image = read_image(sys.argv[1], sys.argv[1])
note()
other = images.ImageData(image.mode, image.samples.copy())
assert mode_decision.prior_possible(image) and images.same(image, other)
Top.fitted([image.samples], default_levels())
checksums.image_check(image.samples)
note()
prior_codec.counts_before(3, [image.samples], Covered(0, 64, 64))
note()
print(json.dumps(peaks))
"""


def test_what_looks_at_a_whole_image_takes_little_memory(tmp_path, photograph):
    """18 megapixels: all steps together take at most 80 MiB beside two copies of the image.

    Counting its colours takes 64 MiB for the counts, less for strips, and numba.
    """
    pixels = np.tile(photograph(500, 500), (6, 12, 1))
    Image.fromarray(pixels).save(tmp_path / "large.png", compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path / "large.png")], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    before, read, after, counted = json.loads(done.stdout)
    assert read - before < 5 * pixels.size
    assert after - before < max(read - before, 2 * pixels.size) + 80 * 2**20
    assert counted - after < 250 * 2**20


def test_a_decoder_takes_larger_segments_than_an_encoder_makes(photograph):
    """Files of an encoder with another LIMIT are read, up to LARGEST."""
    sizes, rows = [(4096, 1024, 3)], segment_layout.DECODER_MAX_PIXELS // 1024
    assert segment_layout.ENCODER_MAX_PIXELS < segment_layout.DECODER_MAX_PIXELS
    assert (
        len(
            segment_layout.locate(
                sizes, (0, 0, 0), ((segment_layout.DOWN, rows), (segment_layout.DOWN, 4096 - rows))
            )
        )
        == 2
    )
    kind, size = segment_layout.next_segment(sizes, segment_layout.Covered(0), 1e12, 3.0)
    assert (
        segment_layout.segment_at(sizes, segment_layout.Covered(0), (kind, size))[0].pixels
        <= segment_layout.ENCODER_MAX_PIXELS
    )
