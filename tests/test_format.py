"""codecs/FORMAT.md against the program: headers as the second decoder reads them."""

from pathlib import Path

import numpy as np
import pytest

from bitsback.codecs.bitstream import container
from tests import numpy_decoder
from tests.second_decoder.header import read_header
from tests.second_decoder.sections import BLOCK_CHECKS, NOT_KEPT, not_kept

GOLDEN = sorted((Path(__file__).parent / "golden" / "v1.0").rglob("*.bbk"))


def compare(data):
    """The program's (Header, payload) of a file without groups: as the second decoder's."""
    found, rest = read_header(data)
    header, payload = container.read(data)
    assert payload == rest and header.archive == found.archive
    for one, entry in zip(found.entries, header.entries, strict=True):
        assert (one.name, one.width, one.height, one.form) == (
            *(entry.name, entry.width, entry.height, entry.form),
        )
        if header.archive:
            assert (one.permissions, one.mtime) == (entry.permissions, entry.mtime)
    assert found.checks == [entry.check for entry in header.entries if header.archive]
    assert (found.mask, found.digest) == (header.metadata, header.digest)
    assert tuple(not_kept(found.sections)) == header.lost
    told = {BLOCK_CHECKS, NOT_KEPT}
    assert {tag: data for tag, data in found.sections.items() if tag not in told} == header.sections
    stack = found.stack
    assert bool(stack) == bool(header.model)
    if stack:
        assert (stack.model.hex(), stack.credit) == (header.model, header.credit_bytes)
        assert (stack.fallback_images, stack.flips) == (header.fallback_count, header.flips)
        assert (stack.start, stack.lanes) == (header.start, header.lanes)
        assert (stack.segments, stack.top) == (list(header.segments), list(header.top))
    return header, payload


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_files_are_as_the_document_says(path):
    """Every number of the header and where the payload begins; of each group of an archive."""
    data = path.read_bytes()
    found = numpy_decoder.groups(data) if path.parent.name == "archives" else [(1, data)]
    for count, group in found:
        assert len(compare(group)[0].entries) == count


def test_archives_are_as_the_document_says(tiny_model):
    """An archive with a stack and metadata: index, checks, plain images, and the rest."""
    from benchmarks import fuzz_cases

    files = fuzz_cases.good_files(tiny_model, np.random.default_rng(5))
    header, _ = compare(files["prior archive"][0])
    assert header.archive and header.model and header.metadata and len(header.entries) == 4
    assert not compare(files["fallback archive"][0])[0].model
