"""A whole .bbk file to its images (FORMAT.md)."""

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from tests.second_decoder.errors import Damaged, NotOurFile, check
from tests.second_decoder.fallback import decode_part
from tests.second_decoder.header import ARCHIVE, GROUPS, MAJOR, MINOR, check_whole, read_header
from tests.second_decoder.metadata import read_metadata
from tests.second_decoder.prior import decode_stack
from tests.second_decoder.reader import Reader
from tests.second_decoder.sections import not_kept
from tests.second_decoder.table import groups


@dataclass
class Image:
    """name: "" in a file of one image; samples: (H, W, C); kind: of the file that it came from."""

    name: str
    mode: str
    samples: np.ndarray
    look: dict
    metadata: dict
    kind: str
    permissions: int
    mtime: int
    not_kept: list


def decode_file(data, models):
    """data: of a .bbk file; models: of model files -> [Image].

    Raises an error of errors.py, and gives out no image before all are checked.
    """
    if data[5:6] != bytes([GROUPS]):
        return decode_group(data, models)
    found = []
    for count, group in groups(data):
        check(len(group) > 5 and group[5] & (ARCHIVE | GROUPS) == ARCHIVE, "a group's kind")
        images = decode_group(group, models)
        check(len(images) == count, "a group has another number of images than the table says")
        found += images
    return found


def decode_group(data, models):
    """A file without groups, or one of them."""
    minor = check_whole(data)
    try:
        return decode_whole(data, models)
    except Damaged as error:
        if minor <= MINOR:
            raise
        versions = f"the file is of format {MAJOR}.{minor}, this decoder reads {MAJOR}.{MINOR}"
        raise NotOurFile(f"{error}; {versions}") from None


def decode_whole(data, models):
    header, payload = read_header(data)
    if header.stack:
        section, samples = decode_stack(header, payload, models)
    else:
        section, samples = decode_payload(header, payload)
    told = [({}, {})] * len(samples)
    if header.mask:
        told = read_metadata(section, header.entries, header.mask)
    check_samples(header, samples, section)
    return [
        Image(
            *(entry.name, entry.mode, array, look, metadata),
            *(entry.kind, entry.permissions, entry.mtime, not_kept(header.sections)),
        )
        for entry, array, (look, metadata) in zip(header.entries, samples, told)
    ]


def decode_payload(header, payload):
    """(metadata section, samples of each image) of a file without a stack."""
    reader, samples = Reader(payload), []
    section = reader.sized() if header.mask else b""
    for i, entry in enumerate(header.entries):
        check(entry.number < 21, "equal colours of an image that is not under the prior")
        last = i == len(header.entries) - 1
        part = reader.rest() if last else reader.sized()
        samples.append(decode_part(part, entry.shape, entry.dtype))
    return section, samples


def check_samples(header, samples, section):
    """The checks of an archive's images, then the digest of all that is kept."""
    digest = hashlib.blake2b(digest_size=8)
    for i, (entry, array) in enumerate(zip(header.entries, samples, strict=True)):
        data = np.ascontiguousarray(array, entry.dtype).tobytes()
        digest.update(entry.width.to_bytes(4, "little") + entry.height.to_bytes(4, "little"))
        digest.update(data)
        check(entry.mode != "1" or array.max() <= 1, "a bilevel image of other values")
        if header.archive:
            check(zlib.crc32(data) & 65535 == header.checks[i], f"the check of {entry.name}")
    digest.update(section)
    modes = [entry.mode for entry in header.entries]
    if set(modes) != {"RGB"}:
        digest.update(" ".join(modes).encode())
    check(digest.digest()[: len(header.digest)] == header.digest, "the digest")
