"""Chunks of a PNG that are kept as they are (FORMAT.md, chunks)."""

from tests.second_decoder.errors import check
from tests.second_decoder.reader import Reader

CODES = (
    b"",
    *b"iCCP sRGB gAMA cHRM cICP mDCV cLLI sBIT bKGD hIST pHYs sPLT tIME eXIf".split(),
    *b"tEXt zTXt iTXt PLTE tRNS IHDR oFFs pCAL sCAL sTER acTL fcTL".split(),
)
BITS = {  # of the header's mask
    b"iCCP": 3,
    b"eXIf": 4,
    b"gAMA": 7,
    b"cHRM": 8,
    b"sRGB": 9,
    b"tEXt": 10,
    b"zTXt": 10,
    b"iTXt": 10,
    b"cICP": 12,
    b"sBIT": 13,
    b"bKGD": 15,
    b"pHYs": 16,
    b"tIME": 17,
    b"mDCV": 18,
    b"cLLI": 19,
    b"hIST": 20,
    b"sPLT": 21,
    b"PLTE": 22,
}
OTHER = 14
LIKE_KINDS = {b"exif": 4, b"srgb": 9, b"text": 10, b"tiff": 23, b"iptc": 24}
NO_BIT = {b"tRNS", b"IHDR"}  # they say where the look is written, and how


def read_chunks(data):
    """((name, place, contents), ...)."""
    reader, found, last = Reader(data), [], 0
    for _ in range(reader.n(2**18)):
        code, place = reader.fixed(1), 0
        code, place = code & 31, code >> 5
        check(last <= place <= 2 and code < len(CODES), "place or code of a chunk")
        name, last = CODES[code] if code else reader.take(4), place
        if not code:
            letters = name.isalpha() and name[:1].islower() and name[3:].islower()
            check(letters or name in CODES[1:], "the name of a chunk")
        contents = reader.sized()
        if name == b"IHDR":
            check(not found and contents in (b"\2", b"\4"), "the chunk IHDR")
        found.append((name, place, contents))
    reader.end("the chunks")
    return tuple(found)


def kinds_of_chunks(chunks):
    bits = 0
    for name, _, contents in chunks:
        if name == b"iTXt" and contents.startswith(b"XML:com.adobe.xmp\0"):
            bits |= 1 << 5
        elif name == b"pHYs" and contents[8:9] == b"\1":
            bits |= 1 << 6  # by metres
        elif name not in NO_BIT:
            bits |= 1 << (BITS | LIKE_KINDS).get(name, OTHER)
    return bits or 1 << OTHER
