"""Which groups and images of a file are wanted and can be read, by its headers alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Group, Header
from bitsback.codecs.bitstream.index import MAX_INDEX
from bitsback.codecs.bitstream.numbers import Reader
from bitsback.codecs.bitstream.table import HEAD
from bitsback.errors import BitsbackError, DamagedFile, NotOurFile, UnsupportedImage

INDEX_HEAD = HEAD + 30  # bytes of a group up to its index: three numbers
MOST_TOLD = 20  # of what is damaged, in one error: a file may have a million groups


def chosen_groups(
    data: bytes, only: Sequence[str] = ()
) -> tuple[dict[int, Group], dict[int, Header], list[BitsbackError]]:
    """({number: Group} to decode, {number: Header} of these, what is wrong with the others).

    only: patterns (fnmatch) of names, none for all images; a group without any of these is left
    out.  A group of a later version that cannot be read is a NotOurFile among what is wrong.
    Errors: NotOurFile, DamagedFile where no group can be read; UnsupportedImage where no name
    matches.
    """
    groups, headers = container.read_groups(data), dict[int, Header]()
    unread: list[tuple[BitsbackError, list[str]]] = []
    for i, group in enumerate(groups):
        try:
            headers[i] = container.read_group(group.of(data), group)[0]
        except (DamagedFile, NotOurFile) as error:
            names = salvaged_names(group.of(data), group)
            told = container.in_group(i, len(groups), error) + among(names)
            unread.append((type(error)(told), names))
    if not headers:
        raise unread[0][0]
    damage = [
        error
        for error, names in unread
        if not names or any(is_chosen(name, only) for name in names)
    ]
    if only and not all(header.archive for header in headers.values()):
        raise UnsupportedImage("is one image, of which --only has none to choose")
    chosen = {
        i: header
        for i, header in headers.items()
        if not only or any(is_chosen(entry.name, only) for entry in header.entries)
    }
    if not chosen:
        raise UnsupportedImage(f"no image in it matches {' or '.join(only)}")
    return {i: groups[i] for i in chosen}, chosen, damage


def salvaged_names(data: bytes, group: Group) -> list[str]:
    """Names in a damaged group whose index is whole, as zlib checks; else none."""
    try:
        return [entry.name for entry in read_index_of(lambda at, n: data[:n], group)]
    except DamagedFile:
        return []


def read_index_of(read: Callable[[int, int], bytes], group: Group) -> tuple[Entry, ...]:
    """The images of a group of an archive, read without the rest of it, whose CRC is not checked.

    read: (place, count) -> bytes of the file.  Errors: DamagedFile.
    """
    reader = Reader(read(group.begin, min(group.size, INDEX_HEAD)), HEAD - 1)
    kind = reader.take(1)[0]
    if not kind & container.ARCHIVE:
        raise DamagedFile("not an archive")
    if kind & container.METADATA:
        reader.number(container.MAX_MASK)
    begin, length = reader.position, reader.number(MAX_INDEX)
    reader.number(container.MAX_IMAGES)
    data = read(group.begin, reader.position + length)
    entries = container.read_entries(Reader(data, begin), archive=True)
    if group.images and len(entries) != group.images:  # 0: no table tells
        raise DamagedFile("a group without the images that the table tells")
    return entries


def among(names: Sequence[str]) -> str:
    """Names for an error's end: the first and how many more."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f" ({names[0]}{more})" if names else ""


def in_one_line(damage: Sequence[str | BitsbackError]) -> str:
    """What is wrong with several groups or images for one error: the first few, and how many more.

    >>> in_one_line(["a"] * 1000000).endswith("; a; and 999980 more")
    True
    """
    more = [f"and {len(damage) - MOST_TOLD} more"] if len(damage) > MOST_TOLD else []
    return "; ".join([*map(str, damage[:MOST_TOLD]), *more])


def as_one(damage: Sequence[BitsbackError], told: str = "") -> BitsbackError:
    """One error for those of several groups and images: of the first kind that one of them has.

    told: what its message begins with.
    """
    kinds = DamagedFile, NotOurFile, type(damage[0])
    kind = next(kind for kind in kinds if any(isinstance(one, kind) for one in damage))
    return kind(told + in_one_line(damage))


def read_single(data: bytes, why: str) -> tuple[Header, bytes]:
    """container.read of a file of one image.

    why: told of an archive, in groups or not.  Errors: NotOurFile, DamagedFile; UnsupportedImage.
    """
    if len(container.read_groups(data)) == 1:
        header, payload = container.read(data)
        if not header.archive:
            return header, payload
    raise UnsupportedImage(f"an archive of images; {why}")


def header_of(data: bytes, only: Sequence[str] = ()) -> Header:
    """A Header of the images in a file that can be read and are chosen.  Errors: chosen_groups'."""
    header = container.joined_header(list(chosen_groups(data, only)[1].values()))
    entries = tuple(entry for entry in header.entries if is_chosen(entry.name, only))
    return replace(header, entries=entries)


def is_chosen(name: str, only: Sequence[str]) -> bool:
    """Whether one of the patterns, if there are any, is the name's: * and ? match any letters."""
    return not only or any(fnmatchcase(name, pattern) for pattern in only)
