"""What the header says of the stack of the images under the prior (FORMAT.md, stack's numbers)."""

from typing import Any

from bitsback.codecs.bitstream.header import Header, LaneRule
from bitsback.codecs.bitstream.numbers import Reader, number, signed
from bitsback.codecs.bitstream.table import MAX_BYTES
from bitsback.errors import DamagedFile

ID_BYTES = 8
MAX_SIDE = 2**24
MAX_SEGMENTS = 2**20
MAX_SCALE = 112
MAX_LANE_SAMPLES = 2**24
MAX_LANES = 4096


def write_stack_numbers(header: Header) -> bytes:
    """Model id, credit, images in the fallback parts, flips, start, lanes, segments and top."""
    out = bytes.fromhex(header.model)[:ID_BYTES] + number(header.credit_bytes)
    if header.archive:
        out += number(header.fallback_count)
    for value in (header.flips, *header.start, *header.lanes, len(header.segments)):
        out += number(value)
    for kind, size in header.segments:
        out += number(3 * size + kind)
    return out + b"".join(map(signed, header.top))


def read_stack_numbers(
    reader: Reader, count: int, archive: bool, cut: bool = False
) -> dict[str, Any]:
    """The mirror of write_stack_numbers, as fields of a Header.

    cut: the file's end may be missing, so that the credit has more bytes than what is left.
    Errors: DamagedFile.
    """
    fields: dict[str, Any] = {
        "model": reader.take(ID_BYTES).hex(),
        "credit_bytes": reader.number(MAX_BYTES if cut else reader.end),
    }
    fields["fallback_count"] = reader.number(count - 1) if archive else 0
    fields["flips"] = reader.number(3)
    corner = reader.number(count), reader.number(MAX_SIDE), reader.number(MAX_SIDE)
    fields["start"] = corner
    rule = LaneRule(reader.number(MAX_LANE_SAMPLES), reader.number(MAX_LANES))
    fields["lanes"] = rule
    length = reader.number(min(reader.end, MAX_SEGMENTS))
    codes = [reader.number(2**26) for _ in range(length)]
    if not codes:
        raise DamagedFile("a stack without segments")
    fields["segments"] = tuple((code % 3, code // 3) for code in codes)
    limits = (2**15, MAX_SCALE) * 3
    fields["top"] = tuple(reader.signed(limit) for limit in limits)
    if min(fields["top"][1::2]) < 0 or min(rule) < 1:
        raise DamagedFile("a number in the header is out of range")
    return fields
