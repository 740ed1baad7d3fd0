"""Paths in, paths out: names, what is made of what, and inputs removed.  "-" is standard input or output."""
import io
import os
import stat
from pathlib import Path

from .. import outputs
from ..errors import BitsbackError, UnsupportedImage, VerifyFailed
from ..outputs import STDIO
from . import archive, container, metadata, picture, places
from .images import default_suffix, image_format, read_still, refuse_mode, still_bytes
from .inputs import opened, read_packed, read_packed_with, refuse_removal, remove_read, standard_input

SUFFIX = ".bbk"


def below(sources, recursive: bool, suffixes: set[str]) -> list[tuple[Path, Path | None]]:
    """[(path, root)]: each source with root None or, if recursive, the files below a folder whose suffix is one of `suffixes`.

    Errors: UnsupportedImage for a folder without any.
    """
    found = []
    for source in map(Path, sources):
        if not (recursive and source.is_dir()):
            found.append((source, None))
            continue
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
        if not paths:
            raise UnsupportedImage(f"{source}: no files to work on below it")
        found += [(path, source) for path in paths]
    return found


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


def restored_path(source, output=None, folder=None, root=None, suffix: str = ".png") -> Path:
    """Where `decompress` writes: `output`, else stem and suffix; "-" goes to "-"."""
    if output or str(source) == "-":
        return Path(output or "-")
    source = Path(source)
    return _place(source, folder, root, (source.stem if source.suffix == SUFFIX else source.name) + suffix)


def restored_paths(header: container.Header, source, output=None, folder=None, root=None) -> list[Path]:
    """Where `decompress` writes what a file with this header holds: restored_path(...), or an archive's tree below `folder`.

    Errors: UnsupportedImage for an archive into one file; DamagedFile for names that would leave the folder.
    """
    source = Path(source)
    if not header.archive:
        return [restored_path(source, output, folder, root, default_suffix(header.entries[0].mode))]
    if output or source == STDIO:
        raise UnsupportedImage(f"{source}: an archive; give --dir, not -o")
    return archive.targets(header.entries, _place(source, folder, root, "") if folder else source.parent)


def _refuse(target, sources, force, remove, plain=False):
    """What can be refused before any work is, removal included."""
    outputs.refuse(target, sources, force, plain)
    if remove and not outputs.is_file(target):
        raise UnsupportedImage(f"{target}: is no file to compare with; inputs are removed only after that")
    for source in sources if remove else ():
        refuse_removal(source)


def _deliver(data, target, force, status=None):
    """Bytes to a path or to standard output; permissions and times of an input that is a file."""
    outputs.write(data, target, force=force, like=status if status and stat.S_ISREG(status.st_mode) else None)


def _compare(data, target):
    """Errors: VerifyFailed where `target` does not hold `data`."""
    if Path(target).read_bytes() != data:
        raise VerifyFailed(f"{target}: is not what was written; the input is kept")


def compress_file(source, target, *, force=False, strip=False, allow_lossy=False, verify=True, remove=False, announce=lambda stills: None,
                  **options) -> tuple[container.Header, int]:
    """Writes `target`.  Returns the Header and the file's size in bytes.

    strip: leave metadata out; allow_lossy: take JPEG and the like; verify: decode and compare before the rename; remove: delete the
    source after that; announce: told the [Still] before the work; options as picture.encode_still's.  Errors: BitsbackError, OSError.
    """
    source, target = Path(source), Path(target)
    if remove and not (verify and source != STDIO and target != STDIO):
        raise ValueError("an input is removed only if its output was verified and is a file")
    _refuse(target, [] if source == STDIO else [source], force, remove)
    still, status = _read(source, allow_lossy, strip)
    announce([still])
    data = picture.encode_still(still, verify=verify, **options)
    _deliver(data, target, force, status)
    if remove:
        _compare(data, target)
        remove_read([(source, status)])
    return container.read_header(data), len(data)


def _read(source, allow_lossy, strip):
    """(Still, the status of its file when it was opened, None of standard input)."""
    if source == STDIO:
        still, status = read_still(io.BytesIO(standard_input()), "standard input", allow_lossy=allow_lossy), None
    else:
        with opened(source) as (stream, status):
            still = read_still(stream, source, allow_lossy=allow_lossy)
    return still.stripped() if strip else still, status


def compressed_before(source, target, *, strip=False, allow_lossy=False, model=None, device="cpu",
                      **_) -> tuple[container.Header, int] | None:
    """What `compress_file` would return, if `target` holds the picture in `source` already, else None.

    Options as compress_file's.  Errors: BitsbackError, OSError.
    """
    still, _ = _read(Path(source), allow_lossy, strip)
    try:
        data = read_packed(target)
        header = container.read_header(data)
        picture.check(data, [still], model=model, device=device)
    except (BitsbackError, OSError):
        return None                             # no file of ours, or of another picture
    return None if header.archive else (header, len(data))


def compress_archive(sources, target, *, force=False, verify=True, remove=False, **options) -> tuple[container.Header, int]:
    """Writes one archive of the pictures in `sources`; options as archive.encode_archive's.  Returns the Header and the file's size in bytes."""
    if remove and not verify:
        raise ValueError("inputs are removed only if their output was verified")
    read: list[tuple[Path, os.stat_result]] = []
    _refuse(target, [path for path, _ in archive.collect(sources)], force, remove)
    data, _ = archive.encode_archive(sources, verify=verify, note=lambda *what: read.append(what), **options)
    _deliver(data, target, force)
    if remove:
        _compare(data, target)
        remove_read(read)
    return container.read_header(data), len(data)


def decompress_file(source, output=None, folder=None, *, root=None, force=False, remove=False, note=lambda path, names: None,
                    announce=lambda header: None, claim=lambda paths: None, **options) -> list[Path]:
    """Restores one picture to restored_path(...), or an archive's tree below `folder` (default: beside it).  Returns the paths written.

    remove: delete the source after what was written was read again and compared, unless a format could not hold all metadata; note:
    told (path, names) of such metadata; announce: told the Header before the work; claim: told the paths before the work, to refuse
    them by an error; options as picture.decode_still's.
    """
    (data, status), source, left_out = read_packed_with(source), Path(source), []
    header, sources = container.read_header(data), [] if source == STDIO else [source]
    targets = restored_paths(header, source, output, folder, root)

    def noted(path, names):
        left_out.extend(names)
        note(path, names)

    if header.archive:
        claim(targets)
        for target in targets:
            if os.path.lexists(target):
                _refuse(target, sources, force, remove, plain=True)
        if remove:
            refuse_removal(source)

        def deliver(written, target, stamp):
            outputs.write(written, target, force=force, like=stamp, plain=True)
            if remove:
                _compare(written, target)

        announce(header)
        archive.extract(data, targets, deliver, noted, **options)
    else:
        mode, target = header.entries[0].mode, targets[0]
        stream = target == STDIO or not target.suffix and not outputs.is_file(target)
        file_format = image_format(Path("-" + default_suffix(mode)) if stream else target)
        refuse_mode(mode, file_format, target)
        claim(targets)
        _refuse(target, sources, force, remove)
        announce(header)
        still = picture.decode_still(data, **options)
        written, names = still_bytes(still, file_format, target)
        _deliver(written, target, force, status)
        if names:
            noted(target, names)
        if remove and not left_out:
            _compare(written, target)
    if remove and not left_out:
        remove_read([(source, status)])
    return targets


def check_file(source, **options) -> container.Header:
    """Decodes a file and checks its digests without writing.  Options as picture.decode_still's; returns the Header."""
    return picture.decode_stills(read_packed(source), **options)[0]


def describe(source, data: bytes | None = None) -> dict:
    """What `info` says of a file, as a dict; rates are in bits a dimension (a sample of a pixel).

    data: its bytes, where they are read already.
    bits_per_dim = net + overhead; net is the prior's cost a dimension it coded; the overhead's
    parts: header (with index and checksums), start (the plain parts against the net rate), rest.
    """
    data = read_packed(source) if data is None else data
    header, payload = container.read(data)
    info = {"file": str(source), "format_version": container.VERSION, "width": header.width, "height": header.height,
            "mode": header.entries[0].mode, "source": header.entries[0].source or "other", "method": "prior" if header.model else "plain",
            "metadata": metadata.names(header.metadata), "file_bytes": len(data), "bits_per_dim": 8 * len(data) / header.dims}
    if header.archive:
        info |= {"pictures": len(header.entries), "under_prior": len(header.entries) - header.plain if header.model else 0,
                 "modes": sorted({e.mode for e in header.entries}), "names": [e.name for e in header.entries]}
        for key in ("width", "height", "mode", "source"):
            del info[key]
    if header.model:
        located = places.locate(header.sizes, header.start, header.segments)
        coded = sum(place.pixels * header.sizes[place.image][2] for place in located)
        net, start_dims = header.net_bits / coded, header.dims - coded
        parts = {"header_bytes": len(data) - len(payload), "start_bytes": header.credit_bytes,
                 "words_bytes": len(payload) - header.credit_bytes}
        if header.tuned_bits:
            parts["tuned_bytes"] = (header.tuned_bits + 7) // 8
        if header.flat_bytes:
            parts["flat_bytes"] = header.flat_bytes
        if header.mean_bytes:
            parts["mean_bytes"] = header.mean_bytes
        if header.sharpness:
            parts["sharpness"] = header.sharpness
        info |= {"model": header.model, "segments": len(located), "start_dims": start_dims, **parts,
                 "net_bits_per_dim": net, "overhead_bits_per_dim": info["bits_per_dim"] - net,
                 "header_bits_per_dim": 8 * parts["header_bytes"] / header.dims,
                 "start_bits_per_dim": (8 * header.credit_bytes - net * start_dims) / header.dims,
                 "tuned_bits_per_dim": header.tuned_bits / header.dims,
                 "flat_bits_per_dim": 8 * header.flat_bytes / header.dims,
                 "mean_bits_per_dim": 8 * header.mean_bytes / header.dims,
                 "rest_bits_per_dim": (8 * (parts["words_bytes"] - header.flat_bytes - header.mean_bytes) - header.net_bits - header.tuned_bits) / header.dims}
    return info
