"""What the checksums of a file tell of damage, and where its groups lie; nothing is decoded.

Bytes that are no image's may have been put after a file or between groups, or taken out: what is
whole is looked for where its place is not the one that the file tells.
"""

import zlib
from bisect import bisect_left
from typing import NamedTuple

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Group
from bitsback.codecs.bitstream.table import HEAD, is_grouped
from bitsback.errors import BitsbackError, DamagedFile, NotOurFile

SEARCHED = 2**12  # bytes at the end of a file, any of which may be the first after it
NEAREST = 4  # beginnings of groups, nearest to where one should be, at which it is looked for


class Found(NamedTuple):
    """What is wrong with a file.

    groups: where they lie; errors: of those by number that cannot be read; places: of the table,
    of groups that lie elsewhere, and of bytes that are no group's.
    """

    groups: tuple[Group, ...]
    errors: dict[int, BitsbackError]
    places: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.errors or self.places)


def looked_at(data: bytes) -> Found:
    """What is wrong with the bytes of a file.  Errors: NotOurFile."""
    groups, places = _groups_of(data)
    errors: dict[int, BitsbackError] = {}
    for number, group in enumerate(groups):
        try:
            container.read_group(group.of(data), group)
        except (DamagedFile, NotOurFile) as error:  # a group's NotOurFile: of a later version
            if isinstance(error, NotOurFile) and len(groups) == 1:
                raise
            errors[number] = error
    moved = _moved(data, groups, errors)
    if moved:
        places = [
            *places,
            f"{len(moved)} of {len(groups)} groups lie elsewhere than the table tells",
        ]
    last = len(groups) - 1
    if (
        last in errors
        and not groups[last].images
        and (end := _end_of(part := groups[last].of(data)))
    ):
        moved[last] = groups[last]._replace(size=end)
        places = [*places, f"bytes after its end: {len(part) - end}"]
    groups = tuple(moved.get(number, group) for number, group in enumerate(groups))
    errors = {number: error for number, error in errors.items() if number not in moved}
    return Found(groups, errors, places)


def _groups_of(data):
    """(groups by the table, or where that is damaged by their magics, what is wrong with it)."""
    try:
        return container.read_groups(data), []
    except DamagedFile as error:
        if not is_grouped(data):
            return (Group(0, len(data), 0, 0),), []
        told = str(error)
    try:
        groups = container.read_groups(data, 0)  # whatever follows them
    except DamagedFile:
        return found_groups(data), [
            f"{told}; groups are looked for without it, some may be missing"
        ]
    left = len(data) - groups[-1].begin - groups[-1].size
    return groups, [f"bytes that are no group's: {left}"]


def found_groups(data: bytes) -> tuple[Group, ...]:
    """The groups of a file in groups by their magics: each reaches to the next."""
    begins = _heads(data)
    ends = [*begins[1:], len(data)]
    return tuple(Group(begin, end - begin, 0, 0) for begin, end in zip(begins, ends))


def _heads(data):
    """Where groups may begin: at the file's magic and version, of which compressed bytes have none
    but by chance."""
    return [at for at in _magics(data) if not is_grouped(data[at : at + HEAD])]


def _magics(data):
    """Where the file's magic and version stand again."""
    head, places = data[: HEAD - 1], []
    at = data.find(head, HEAD)
    while at >= 0:
        places.append(at)
        at = data.find(head, at + HEAD)
    return places


def _moved(data, groups, errors):
    """{number: Group} of those with an error that are whole at another place than the table's."""
    lost = [n for n in errors if groups[n].images and not _begins(data, groups[n].begin)]
    whole = {group.begin for number, group in enumerate(groups) if number not in errors}
    heads = [at for at in _heads(data) if at not in whole] if lost else []
    found, left = {}, NEAREST * len(data)  # bytes to look at: a table may tell of any number
    for number in lost:
        group = groups[number]
        for begin in _nearest(heads, group.begin):
            left -= group.size
            if begin + group.size > len(data) or left < 0:
                continue
            there = group._replace(begin=begin)
            try:
                container.read_group(there.of(data), there)
            except (DamagedFile, NotOurFile):
                continue
            found[number] = there
            heads.remove(begin)
            break
    return found


def _nearest(places, place):
    """The NEAREST of sorted places."""
    at = bisect_left(places, place)
    some = places[max(0, at - NEAREST) : at + NEAREST]
    return sorted(some, key=lambda one: abs(one - place))[:NEAREST]


def _begins(data, place):
    return data[place : place + HEAD - 1] == data[: HEAD - 1]


def _end_of(data):
    """Where a file ends that other bytes follow, by its CRC-32; None: nowhere.

    It is looked for where at most SEARCHED bytes follow, where zeros do, and where a file does.
    """
    filled = len(data.rstrip(b"\0"))
    ends = {
        *range(len(data) - SEARCHED, len(data)),
        *range(filled, filled + 5),
        *_magics(data)[:SEARCHED],
    }
    crc = at = 0
    for end in sorted(ends):
        if not HEAD + 4 <= end < len(data):
            continue
        crc, at = zlib.crc32(data[at : end - 4], crc), end - 4
        if crc == int.from_bytes(data[at:end], "little"):
            try:
                container.read(data[:end])
                return end
            except (DamagedFile, NotOurFile):  # of one in 2^32
                pass
    return None
