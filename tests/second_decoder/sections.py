"""Side information: the sections of a file, without what is coded in them (FORMAT.md)."""

from tests.second_decoder.errors import NotOurFile, check

BIAS_UPDATES, FLAT_MAP, BLOCK_MEANS, SHARPNESS, DEPTHS = 1, 2, 3, 4, 5
NOT_KEPT = 129


def read_sections(reader, stack):
    """{tag: bytes}; stack: whether the file has one."""
    found, last = {}, -1
    for _ in range(reader.n(256, 1)):
        tag = reader.fixed(1)
        check(tag > last, "tags of sections do not rise")
        found[tag], last = reader.sized(least=1), tag
    for tag in found:
        if tag < 128 and tag not in (BIAS_UPDATES, FLAT_MAP, BLOCK_MEANS, SHARPNESS, DEPTHS):
            raise NotOurFile(f"it has section {tag}, which this decoder does not know")
        check(stack or tag >= 128, "side information of a file without a stack")
    if SHARPNESS in found:
        check(len(found[SHARPNESS]) == 1 and 1 <= found[SHARPNESS][0] <= 6, "the sharpness")
    not_kept(found)
    return found


def not_kept(sections):
    """Names of what the source files had and is not kept."""
    data = sections.get(NOT_KEPT)
    if data is None:
        return []
    names = data.split(b"\n")
    check(len(data) <= 2**12 and data.isascii() and all(names), "the names of what is not kept")
    return [name.decode() for name in names]
