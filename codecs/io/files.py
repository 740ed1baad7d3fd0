"""Paths in, paths out: names, what is made of what, and inputs removed.  "-" is standard input or output."""

import io
import os
import stat
from pathlib import Path

from bitsback import outputs
from bitsback.codecs import archive, decoder, encoder
from bitsback.codecs.bitstream import container
from bitsback.codecs.formats.image_files import (
    default_suffix,
    image_bytes,
    image_format,
    read_image,
    refuse_mode,
)
from bitsback.codecs.io.facts import describe as describe  # what paths are asked too
from bitsback.codecs.io.inputs import (
    SUFFIX,
    opened,
    read_packed,
    read_packed_with,
    refuse_removal,
    remove_read,
    standard_input,
)
from bitsback.codecs.io.restored import default_bytes
from bitsback.errors import BitsbackError, MetadataLoss, UnsupportedImage, VerifyFailed
from bitsback.outputs import STDIO


def _place(source, folder, root, name):
    """folder/name, in the same sub-folder as `source` below `root`; or beside the source."""
    source = Path(source)
    if not folder:
        return source.parent / name
    return Path(folder, source.parent.relative_to(root) if root else "", name)


def compressed_path(source, output=None, folder=None, root=None) -> Path:
    """Where `compress` writes: `output`, else `folder`/stem.bbk, else beside the source; "-" goes to "-"."""
    if output or str(source) == "-":
        return Path(output or "-")
    return _place(source, folder, root, Path(source).stem + SUFFIX)


def compressed_paths(items, folder=None) -> list[Path]:
    """Where `compress` writes each (source, root): compressed_path, if that is one's alone.

    Of names that differ in their suffix only (a.png, a.webp) one takes a.bbk, the .png if there is
    one, since .png is what comes back; each other one keeps its suffix: a.webp.bbk.
    """
    paths, suffixes = [compressed_path(source, None, folder, root) for source, root in items], {}
    for (source, _), path in zip(items, paths):
        suffixes.setdefault(path, set()).add(source.suffix)
    short = {
        path: min(rivals, key=lambda suffix: (suffix.lower() != ".png", suffix))
        for path, rivals in suffixes.items()
    }
    return [
        path if source.suffix == short[path] else path.with_name(source.name + SUFFIX)
        for (source, _), path in zip(items, paths)
    ]


def restored_path(source, output=None, folder=None, root=None, suffix: str = ".png") -> Path:
    """Where `decompress` writes: `output`, else stem and suffix; "-" goes to "-"."""
    if output or str(source) == "-":
        return Path(output or "-")
    source = Path(source)
    return _place(
        source, folder, root, (source.stem if source.suffix == SUFFIX else source.name) + suffix
    )


def restored_paths(
    header: container.Header, source, output=None, folder=None, root=None
) -> list[Path]:
    """Where `decompress` writes what a file with this header holds: restored_path(...), or an archive's tree below `folder`.

    Errors: UnsupportedImage for an archive into one file; DamagedFile for names that would leave the folder.
    """
    source = Path(source)
    if not header.archive:
        return [restored_path(source, output, folder, root, default_suffix(header.entries[0].mode))]
    if output or source == STDIO:
        raise UnsupportedImage(f"{source}: an archive; give --dir, not -o")
    return archive.targets(
        header.entries, _place(source, folder, root, "") if folder else source.parent
    )


def _refuse(target, sources, force, remove, plain=False):
    """What can be refused before any work is, removal included."""
    outputs.refuse(target, sources, force, plain)
    if remove and not outputs.is_file(target):
        raise UnsupportedImage(
            f"{target}: is no file to compare with; inputs are removed only after that"
        )
    for source in sources if remove else ():
        refuse_removal(source)


def _deliver(data, target, force, status=None):
    """Bytes to a path or to standard output; permissions and times of an input that is a file."""
    outputs.write(
        data, target, force=force, like=status if status and stat.S_ISREG(status.st_mode) else None
    )


def _compare(data, target):
    """Errors: VerifyFailed where `target` does not hold `data`."""
    if Path(target).read_bytes() != data:
        raise VerifyFailed(f"{target}: is not what was written; the input is kept")


def _refuse_loss(image, source, allowed):
    """Errors: MetadataLoss for an input to be removed that has what its output would not keep."""
    if image.lost and not allowed:
        raise MetadataLoss(
            f"{source}: {', '.join(image.lost)} would be lost with it; nothing is done "
            f"(--allow-metadata-loss removes it all the same, --strip without any metadata)"
        )


def compress_file(
    source,
    target,
    *,
    force=False,
    strip=False,
    allow_lossy=False,
    allow_loss=False,
    verify=True,
    remove=False,
    announce=lambda images: None,
    **options,
) -> tuple[container.Header, int]:
    """Writes `target`.  Returns the Header and the file's size in bytes.

    strip: leave metadata out; allow_lossy: take JPEG and the like; verify: write what decompress would,
    decode and compare before the rename; remove: delete the source after that, refused before the
    work if metadata would be lost, unless allow_loss; announce: told the [ImageData] before the work;
    options as image.encode_image's.  What was lost is in the Header.  Errors: BitsbackError, OSError.
    """
    source, target = Path(source), Path(target)
    if remove and not (verify and source != STDIO and target != STDIO):
        raise ValueError("an input is removed only if its output was verified and is a file")
    _refuse(target, [] if source == STDIO else [source], force, remove)
    image, status = _read(source, allow_lossy, strip)
    if remove:
        _refuse_loss(image, source, allow_loss)
    if verify:
        default_bytes(image, source)  # what could not be restored is refused before the work
    announce([image])
    data = encoder.encode_image(image, verify=verify, **options)
    _deliver(data, target, force, status)
    if remove:
        _compare(data, target)
        remove_read([(source, status)])
    return container.read_header(data), len(data)


def _read(source, allow_lossy, strip):
    """(ImageData, the status of its file when it was opened, None of standard input)."""
    if source == STDIO:
        image, status = (
            read_image(io.BytesIO(standard_input()), "standard input", allow_lossy=allow_lossy),
            None,
        )
    else:
        with opened(source) as (stream, status):
            image = read_image(stream, source, allow_lossy=allow_lossy)
    return image.stripped() if strip else image, status


def compressed_before(
    source, target, *, strip=False, allow_lossy=False, model=None, device="cpu", **_
) -> tuple[container.Header, int] | None:
    """What `compress_file` would return, if `target` holds the image in `source` already, else None.

    Options as compress_file's.  Errors: BitsbackError, OSError.
    """
    image, _ = _read(Path(source), allow_lossy, strip)
    try:
        data = read_packed(target)
        header = container.read_header(data)
        decoder.check(data, [image], model=model, device=device)
    except (BitsbackError, OSError):
        return None  # no file of ours, or of another image
    return None if header.archive else (header, len(data))


def compress_archive(
    sources,
    target,
    *,
    force=False,
    verify=True,
    remove=False,
    allow_loss=False,
    note=lambda path, names: None,
    **options,
) -> tuple[container.Header, int]:
    """Writes one archive of the images in `sources`.  Returns the Header and the file's size.

    remove, allow_loss: as compress_file's; note(path, names): told what each image's file has that
    is not kept; options as archive.encode_archive's.
    """
    if remove and not verify:
        raise ValueError("inputs are removed only if their output was verified")
    read: list[tuple[Path, os.stat_result]] = []
    _refuse(target, [path for path, _ in archive.collect(sources)], force, remove)

    def noted(path, image, status):
        read.append((path, status))
        if remove:
            _refuse_loss(image, path, allow_loss)
        if image.lost:
            note(path, image.lost)

    data, _ = archive.encode_archive(sources, verify=verify, note=noted, **options)
    _deliver(data, target, force)
    if remove:
        _compare(data, target)
        remove_read(read)
    return container.read_header(data), len(data)


def decompress_file(
    source,
    output=None,
    folder=None,
    *,
    root=None,
    force=False,
    remove=False,
    note=lambda path, names: None,
    announce=lambda header: None,
    claim=lambda paths: None,
    **options,
) -> list[Path]:
    """Restores one image to restored_path(...), or an archive's tree below `folder` (default: beside it).  Returns the paths written.

    remove: delete the source after what was written was read again and compared, unless a format could not hold all metadata; note:
    told (path, names) of such metadata; announce: told the Header before the work; claim: told the paths before the work, to refuse
    them by an error; options as image.decode_image's.
    """
    (data, status), source, left_out = read_packed_with(source), Path(source), []
    header, sources = container.read_header(data), [] if source == STDIO else [source]
    targets = restored_paths(header, source, output, folder, root)

    def noted(path, names):
        left_out.extend(names)
        note(path, names)

    if header.archive:

        def refuse(target):
            if os.path.lexists(target):  # its folder may be still to be made
                _refuse(target, sources, force, remove, plain=True)

        claim(targets)
        for target in targets:
            refuse(target)
        if remove:
            refuse_removal(source)

        def deliver(written, target, stamp):
            outputs.write(written, target, force=force, like=stamp, plain=True)
            if remove:
                _compare(written, target)

        def replaced(target):
            claim([target])
            refuse(target)

        announce(header)
        below = _place(source, folder, root, "") if folder else source.parent
        targets = archive.extract(data, below, targets, replaced, deliver, noted, **options)
    else:
        mode, target = header.entries[0].mode, targets[0]
        stream = target == STDIO or not target.suffix and not outputs.is_file(target)
        asked = output is not None and not stream  # the format is the user's choice
        if asked:
            refuse_mode(mode, image_format(target), target)
        claim(targets)
        _refuse(target, sources, force, remove)
        announce(header)
        image = decoder.decode_image(data, **options)
        if asked:
            written, names = image_bytes(image, image_format(target), target)
        else:
            suffix, written, names = default_bytes(image, source)
            target = target if stream else restored_path(source, output, folder, root, suffix)
            if target != targets[0]:  # not the format that the mode promised
                targets = [target]
                claim(targets)
                _refuse(target, sources, force, remove)
        _deliver(written, target, force, status)
        if names:
            noted(target, names)
        if remove and not left_out:
            _compare(written, target)
    if remove and not left_out:
        remove_read([(source, status)])
    return targets


def check_file(source, **options) -> container.Header:
    """Decodes a file and checks its digests without writing.  Options as image.decode_image's; returns the Header."""
    return decoder.decode_images(read_packed(source), **options)[0]
