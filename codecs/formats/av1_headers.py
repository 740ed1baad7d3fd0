"""The headers of an AV1 stream of one image, up to the quantisers (AV1 specification, sections
5.5 and 5.9).

Only two headers are read.  Syntax that a lossless image does not need is not parsed; the result
then names it as the reason why nothing is known.
"""

from dataclasses import dataclass

from bitsback.codecs.bitstream.bits import Bits
from bitsback.errors import UnsupportedImage

SEQUENCE, FRAME_HEADER, FRAME = 1, 3, 6  # kinds of OBU
CHOSEN = 2  # a value that each frame chooses itself


@dataclass
class Stream:
    """reason: why the stream is lossy or, if `lossy` is False, why that is not known; None if it is
    lossless.  primaries, transfer, matrix: codes of ITU-T H.273, 2 is unknown; matrix 0 is
    identity.
    """

    reason: str | None = "its AV1 stream has no frame"
    lossy: bool = False
    gray: bool = False
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: int = 0
    subsampled: bool = False


class _NotParsed(Exception):
    """The headers use syntax that is not parsed here."""


def _units(data):
    """[(type, bytes)] of the OBUs of a stream.  Errors: IndexError."""
    at, found = 0, []
    while at < len(data):
        head, size, shift = data[at], 0, 0
        at += 2 if head & 4 else 1
        if not head & 2:
            size = len(data) - at
        else:
            while True:
                byte, at = data[at], at + 1
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128 or shift > 56:
                    break
        found.append((head >> 3 & 15, data[at : at + size]))
        at += size
    return found


def _sequence(bits, stream):
    """sequence_header_obu: a dict of the values on which frame headers depend."""
    profile, _, reduced = bits.take(3), bits.take(1), bits.take(1)
    if reduced:
        bits.take(5)
    else:
        if bits.take(1):
            raise _NotParsed("it has timing information")
        delays = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if delays and bits.take(1):
                bits.take(4)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    head = {
        "reduced": reduced,
        "wide": wide,
        "high": high,
        "width": bits.take(wide) + 1,
        "height": bits.take(high) + 1,
        "id_bits": 0,
        "tools": CHOSEN,
        "motion": CHOSEN,
        "order_bits": 0,
    }
    if not reduced and bits.take(1):
        more = bits.take(4) + 2
        head["id_bits"] = more + bits.take(3) + 1
    head["large"] = bits.take(1)
    bits.take(2)
    if not reduced:
        bits.take(4)
        order = bits.take(1)
        if order:
            bits.take(2)
        head["tools"] = CHOSEN if bits.take(1) else bits.take(1)
        if head["tools"]:
            head["motion"] = CHOSEN if bits.take(1) else bits.take(1)
        head["order_bits"] = bits.take(3) + 1 if order else 0
    head["superres"] = bits.take(1)
    bits.take(2)
    head["separate"] = _colours(bits, profile, stream)
    if bits.take(1):
        raise _NotParsed("it may have film grain")
    return head


def _colours(bits, profile, stream):
    """color_config; returns separate_uv_delta_q."""
    deep = bits.take(1)
    twelve = bits.take(1) if profile == 2 and deep else 0
    stream.gray = bool(bits.take(1)) if profile != 1 else False
    if bits.take(1):
        stream.primaries, stream.transfer, stream.matrix = (bits.take(8) for _ in range(3))
    if stream.gray:
        stream.full_range = bits.take(1)
        return 0
    if (stream.primaries, stream.transfer, stream.matrix) == (1, 13, 0):
        stream.full_range = 1
    else:
        stream.full_range = bits.take(1)
        across, down = {0: (1, 1), 1: (0, 0)}.get(profile, (1, 0))
        if twelve:
            across = bits.take(1)
            down = bits.take(1) if across else 0
        stream.subsampled = bool(across or down)
        if across and down:
            bits.take(2)
    return bits.take(1)


def _log2(block, target):
    """tile_log2: the smallest k with block << k >= target."""
    return max(0, (-(-target // block) - 1).bit_length())


def _more(bits, least, most):
    """A number in unary code: `least` plus one for each 1 bit, at most `most`."""
    while least < most and bits.take(1):
        least += 1
    return least


def _tiles(bits, head):
    """tile_info with uniform spacing."""
    shift = 5 if head["large"] else 4
    across, down = (
        -(-2 * ((side + 7) >> 3) // (1 << shift)) for side in (head["width"], head["height"])
    )
    if not bits.take(1):
        raise _NotParsed("its tiles have different sizes")
    least = _log2(4096 >> shift + 2, across)
    both = max(least, _log2((4096 * 2304) >> 2 * (shift + 2), across * down))
    columns = _more(bits, least, _log2(1, min(across, 64)))
    rows = _more(bits, max(both - columns, 0), _log2(1, min(down, 64)))
    if columns or rows:
        bits.take(columns + rows + 2)


def _frame(bits, head):
    """uncompressed_header up to the quantisers; returns whether all are 0."""
    reduced = head["reduced"]
    if not reduced and (bits.take(1) or bits.take(2) or not bits.take(1)):
        raise _NotParsed("its first frame is not a key frame that is shown")
    fixed = bits.take(1)
    tools = bits.take(1) if head["tools"] == CHOSEN else head["tools"]
    if tools and head["motion"] == CHOSEN:
        bits.take(1)
    bits.take(head["id_bits"])
    other_size = 0 if reduced else bits.take(1)
    bits.take(head["order_bits"])
    if other_size:
        head |= {"width": bits.take(head["wide"]) + 1, "height": bits.take(head["high"]) + 1}
    if head["superres"] and bits.take(1):
        return False  # scaled
    if bits.take(1):
        bits.take(32)  # render size
    if tools:
        bits.take(1)
    if not (reduced or fixed):
        bits.take(1)
    _tiles(bits, head)
    quantisers = [bits.take(8), _delta(bits)]
    if not head["gray"]:
        apart = bits.take(1) if head["separate"] else 0
        quantisers += [_delta(bits) for _ in range(4 if apart else 2)]
    if bits.take(1):
        bits.take(12 if head["separate"] else 8)  # quantiser matrices, unused at quantiser 0
    if bits.take(1):
        raise _NotParsed("its segments have different quantisers")
    return not any(quantisers)


def _delta(bits):
    """read_delta_q, as raw bits."""
    return bits.take(7) if bits.take(1) else 0


def read(data: bytes) -> Stream:
    """Parses the AV1 stream of an item of an AVIF.  Damaged data give a Stream with a reason."""
    stream, head, frames = Stream(), None, 0
    try:
        for kind, body in _units(data):
            bits = Bits(body, high_first=True)
            if kind == SEQUENCE:
                head = _sequence(bits, stream)
            elif kind in (FRAME_HEADER, FRAME):
                frames += 1
                if head is None or frames > 1:
                    raise _NotParsed("it has several frames or layers")
                exact = _frame(bits, head | {"gray": stream.gray})
                stream.lossy, stream.reason = (
                    not exact,
                    None if exact else "its samples were quantised",
                )
    except _NotParsed as error:
        stream.lossy, stream.reason = False, str(error)
    except (IndexError, UnsupportedImage):
        stream.lossy, stream.reason = False, "its AV1 stream ends early"
    return stream
