"""Commands on paths: compress_file and its inverse decompress_file; check_file.

"-" is standard input or output.  Archives: archive_files.py; names of outputs: paths.py.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bitsback.codecs import decoder, encoder
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import among, as_one, header_of, salvaged_names
from bitsback.codecs.formats.image_files import image_bytes, image_format, read_image, refuse_mode
from bitsback.codecs.groups import Processes, decoded_groups
from bitsback.codecs.image import ImageData
from bitsback.codecs.io import delivery, interrupted
from bitsback.codecs.io.archive_files import Note, compress_archive, restore_archive
from bitsback.codecs.io.facts import describe
from bitsback.codecs.io.packed import (
    SUFFIX,
    Packed,
    opened_source,
    read_packed,
    read_packed_with,
)
from bitsback.codecs.io.paths import (
    AnyPath,
    archive_folder,
    compressed_path,
    compressed_paths,
    restored_path,
    restored_paths,
)
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import BitsbackError
from bitsback.inputs import digest_of
from bitsback.outputs import STDIO, is_stream

__all__ = [
    "SUFFIX",
    "check_file",
    "compress_archive",
    "compress_file",
    "compressed_before",
    "compressed_path",
    "compressed_paths",
    "decompress_file",
    "describe",
    "read_packed",
    "restored_path",
    "restored_paths",
]


def _read(source, allow_lossy, strip, digest=False):
    """(ImageData, Status of its file, None of standard input); digest: as of inputs.held."""
    name = "standard input" if source == STDIO else source
    with opened_source(source, digest) as (stream, status):
        image = read_image(stream, name, allow_lossy=allow_lossy)
    return image.stripped() if strip else image, status


def compress_file(
    source: AnyPath,
    target: AnyPath,
    *,
    force: bool = False,
    strip: bool = False,
    allow_lossy: bool = False,
    allow_loss: bool = False,
    verify: bool = True,
    remove: bool = False,
    announce: Callable[[list[ImageData]], None] = lambda images: None,
    **options: Any,
) -> tuple[container.Header, int]:
    """Codes the image in `source` and writes `target`.  Returns the Header and the file's size.

    strip: drop metadata; allow_lossy: accept JPEG and other lossy formats; verify: decode the
    result and compare it before it is written; remove: delete the source afterwards; this is
    refused beforehand if metadata would be lost, unless allow_loss; an output of a run that was
    interrupted, which holds the image already, is taken for its own; announce: called with the
    image before it is coded; options: of encoder.encode_image.  Header.lost names lost metadata.
    Errors: BitsbackError, OSError.
    """
    source, target = Path(source), Path(target)
    if remove and not (verify and source != STDIO and target != STDIO):
        raise ValueError("an input is removed only if its output was verified and is a file")
    begun = interrupted.may_continue(target, force, remove)
    delivery.refuse(target, [] if source == STDIO else [source], force or begun, remove)
    image, status = _read(source, allow_lossy, strip, remove)
    if remove:
        delivery.refuse_loss(image, source, allow_loss)
    if begun:
        with delivery.locked(target, exclusive=False):
            done = interrupted.take_image(target, image, delivery.stamp_of(status), **options)
            delivery.remove_read([(source, status)])
        return done
    if verify:
        default_bytes(image, source)  # refuses an image that could not be restored
    announce([image])
    data = encoder.encode_image(image, verify=verify, **options)
    with delivery.replacing(target, remove):
        delivery.deliver(data, target, force, status)
    if remove:
        with delivery.locked(target, exclusive=False):
            delivery.compare(data, target)
            delivery.remove_read([(source, status)])
    return container.read_header(data), len(data)


def compressed_before(
    source: AnyPath,
    target: AnyPath,
    *,
    strip: bool = False,
    allow_lossy: bool = False,
    model: Any = None,
    device: Any = "cpu",
    **_: Any,
) -> tuple[container.Header, int] | None:
    """What compress_file would return if `target` already holds the image in `source`, else None.

    Options: as of compress_file.  Errors: BitsbackError, OSError.
    """
    image, _status = _read(Path(source), allow_lossy, strip)
    return interrupted.image_held(Path(target), image, model=model, device=device)


def decompress_file(
    source: AnyPath,
    output: AnyPath | None = None,
    folder: AnyPath | None = None,
    *,
    root: AnyPath | None = None,
    force: bool = False,
    remove: bool = False,
    only: Sequence[str] = (),
    processes: Processes | None = None,
    note: Note = lambda path, names: None,
    announce: Callable[[container.Header], None] = lambda header: None,
    claim: Callable[[list[Path]], None] = lambda paths: None,
    packed: Packed | None = None,
    **options: Any,
) -> list[Path]:
    """Restores one image to restored_path, or an archive's images to restored_paths.

    remove: delete the source after the outputs were read back and compared, unless metadata did
    not fit a format; only: patterns of the names in an archive to restore; processes: for groups of
    an archive at once; note: called with (path, names) of such metadata; announce: called with the
    Header before the work; claim: called with the paths before the work, may raise an error to
    refuse them; packed: what was read of the source, if it was; options: of decoder.decode_image.
    Returns the paths written.  Errors: BitsbackError, OSError; DamagedFile where groups of an
    archive are damaged, NotOurFile where they need a later version of the program, after the images
    of the others were written.
    """
    if only and remove:
        raise ValueError("an archive is removed only if all of it is restored")
    source, left_out = Path(source), []
    damage: list[BitsbackError] = []
    data, status = packed or read_packed_with(source)
    header, sources = header_of(data, only), [] if source == STDIO else [source]
    targets = restored_paths(header, source, output, folder, root)

    def noted(path, names):
        left_out.extend(names)
        note(path, names)

    if header.archive:
        announce(header)
        targets, damage = restore_archive(
            data,
            sources,
            archive_folder(source, folder, root),
            dict(zip(header.entries, targets)),
            force=force,
            remove=remove,
            only=only,
            processes=processes,
            note=noted,
            claim=claim,
            **options,
        )
    else:

        def accept(target):
            claim([target])
            begun = interrupted.may_continue(target, force, remove)
            delivery.refuse(target, sources, force or begun, remove)

        mode, target = header.entries[0].mode, targets[0]
        stream = is_stream(target)
        asked = output is not None and not stream  # the user chose the format by a suffix
        if asked:
            file_format = image_format(target, mode)
            refuse_mode(mode, file_format, target)
        accept(target)
        announce(header)
        image = decoder.decode_image(data, **options)
        if asked:
            written, names = image_bytes(image, file_format, target)
        else:
            suffix, written, names = default_bytes(image, source)
            target = target if stream else restored_path(source, output, folder, root, suffix)
            if target != targets[0]:  # the format expected by the mode cannot restore the image
                accept(target)
        if interrupted.may_continue(target, force, remove):
            interrupted.take_bytes(target, written, delivery.stamp_of(status))
        else:
            delivery.deliver(written, target, force, status)
        if names:
            noted(target, names)
        if remove and not left_out:
            delivery.compare(written, target)
        targets = [target]
    if damage:
        raise as_one(damage, f"{source}: {len(targets)} images written, not all: ")
    if remove and not left_out and status is not None:
        with delivery.locked(source, exclusive=True):
            delivery.refuse_gone(targets)
            digest = digest_of(io.BytesIO(data))
            delivery.remove_read([(source, status._replace(digest=digest))])
    return targets


def check_file(
    source: AnyPath, *, processes: Processes | None = None, **options: Any
) -> container.Header:
    """Decodes a file and compares its checksums, without writing.  Returns its Header.

    processes: for groups of an archive at once; options: of decoder.decode_image.  Errors:
    BitsbackError, OSError; DamagedFile and NotOurFile name all groups that do not decode.
    """
    data = read_packed(source)
    groups, headers = container.read_groups(data), dict[int, container.Header]()
    damage: dict[int, BitsbackError] = {}
    numbered = dict(enumerate(groups))
    for number, found in decoded_groups(data, numbered, processes=processes, **options):
        if isinstance(found, BitsbackError):
            names = salvaged_names(groups[number].of(data), groups[number])
            told = container.in_group(number, len(groups), found) + among(names)
            damage[number] = type(found)(told)
        else:
            headers[number] = found[0]
    if damage:
        raise as_one([damage[number] for number in sorted(damage)])
    return container.joined_header([headers[number] for number in numbered])
