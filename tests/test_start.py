"""What the fallback codec codes of the images under the prior."""

import numpy as np
import pytest

from bitsback.codecs import prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.fallback.start import fallback_parts, unpack_fallback_parts
from bitsback.errors import DamagedFile


def test_fallback_parts_come_back():
    """fallback_parts and unpack_fallback_parts over whole images and a block; a cut is refused."""
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((5, 7), (3, 3), (20, 9))]
    for start in ((0, 4, 7), (1, 0, 0), (2, 16, 8), (3, 0, 0)):
        data = fallback_parts(images, start)
        back = [np.zeros_like(p) for p in images]
        unpack_fallback_parts(data, back, start)
        for i, (a, b) in enumerate(zip(images, back)):
            rows, columns = a.shape[:2] if i < start[0] else start[1:] if i == start[0] else (0, 0)
            assert (
                np.array_equal(a[:rows, :columns], b[:rows, :columns])
                and not b[rows:].any()
                and not b[:, columns:].any()
            )
        with pytest.raises(DamagedFile):
            unpack_fallback_parts(data[: len(data) // 2], back, start)


@pytest.mark.parametrize(
    "height, width, side",
    [(48, 48, 8), (128, 200, 16), (264, 256, 32), (512, 768, 32), (900, 900, 56), (1024, 1024, 64)],
)
def test_the_side_of_the_start_block(height, width, side):
    """An eighth of a small image's side, 32 pixels, a sixteenth, 64 pixels: the smaller the block,
    the more of an image the prior codes, in more segments.
    """
    assert prior_codec.start_side(height, width) == side


def test_a_file_has_it(prior_file, photograph):
    assert container.read_header(prior_file(photograph(128, 200))).start == (0, 16, 16)
