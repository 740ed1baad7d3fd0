"""Where the samples of a TGA, and a QOI, end: what follows is not kept."""

QOI_END = bytes(7) + b"\1"


def end_of_tga(data: bytes) -> int:
    """The position after a TGA's samples."""
    kind, entries, entry = data[2], int.from_bytes(data[5:7], "little"), data[7]
    width, height = (int.from_bytes(data[at : at + 2], "little") for at in (12, 14))
    at = 18 + data[0] + entries * ((entry + 7) // 8) * (data[1] == 1)
    if kind < 8:
        return at + (width * data[16] + 7) // 8 * height
    pixel, left = (data[16] + 7) // 8, width * height
    while left > 0 and at < len(data):
        count = (data[at] & 127) + 1
        at += 1 + pixel * (1 if data[at] & 128 else count)
        left -= count
    return at


def end_of_qoi(data: bytes) -> int:
    """The position after a QOI's samples and its end marker."""
    left = int.from_bytes(data[4:8], "big") * int.from_bytes(data[8:12], "big")
    at = 14
    while left > 0 and at < len(data):
        code = data[at]
        left -= 1
        if code in (0xFE, 0xFF):  # RGB, RGBA
            at += 4 if code == 0xFE else 5
        elif code >> 6 == 3:  # a run of up to 62
            at, left = at + 1, left - (code & 63)
        else:  # an index, a difference, or one of brightness with a second byte
            at += 2 if code >> 6 == 2 else 1
    return at + len(QOI_END) * data.startswith(QOI_END, at)
