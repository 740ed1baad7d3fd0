"""Paths in, paths out: names, refusal to overwrite, and never half a file under a final name.  "-" is standard input or output."""
import io
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ..errors import MetadataLoss, NoSuchFolder, OutputExists, UnsupportedImage, VerifyFailed
from . import archive, container, picture
from .facts import describe as describe       # what paths are asked too
from .inputs import STDIO, SUFFIX, read_packed, standard_input
from .images import default_suffix, image_format, read_still, refuse_mode, still_bytes
from .restored import default_bytes


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
    short = {path: min(rivals, key=lambda suffix: (suffix.lower() != ".png", suffix))
             for path, rivals in suffixes.items()}
    return [path if source.suffix == short[path] else path.with_name(source.name + SUFFIX)
            for (source, _), path in zip(items, paths)]


def restored_path(source, output=None, folder=None, root=None, suffix: str = ".png") -> Path:
    """Where `decompress` writes: `output`, else stem and suffix; "-" goes to "-"."""
    if output or str(source) == "-":
        return Path(output or "-")
    source = Path(source)
    return _place(source, folder, root, (source.stem if source.suffix == SUFFIX else source.name) + suffix)


def refuse_existing(path, source, force: bool) -> None:
    """Errors: OutputExists, NoSuchFolder, before any work is done; input and output must differ even with force.

    source: None where several inputs go into one output.
    """
    path = Path(path)
    if path == STDIO:
        return
    if not path.parent.is_dir():
        raise NoSuchFolder(f"{path}: its folder does not exist")
    if path.exists():
        if source is not None and path.samefile(source):
            raise OutputExists(f"{path}: is the input itself")
        if path.is_dir():
            raise OutputExists(f"{path}: is a folder")
        if not force:
            raise OutputExists(f"{path}: exists already (-f overwrites)")


@contextmanager
def replacing(path, like=None):
    """A binary stream to a temporary file beside `path`, renamed to it only if all went well.

    like: a file whose permissions and modification time the new one gets.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if like:
            status = os.stat(like)
            os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.chmod(temporary, status.st_mode & 0o777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)          # mkstemp gives 0600
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _deliver(data, target, source=None):
    """Bytes to a path or to standard output."""
    if target == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    like = source if source is not None and Path(source) != STDIO and Path(source).is_file() else None
    with replacing(target, like) as stream:
        stream.write(data)


def _remove(sources, data, target):
    """Removes inputs, once `target` holds `data`.  Errors: VerifyFailed."""
    if Path(target).read_bytes() != data:
        raise VerifyFailed(f"{target}: is not what was written; the input is kept")
    for source in sources:
        Path(source).unlink()


def _refuse_loss(still, source, allowed):
    """Errors: MetadataLoss for an input to be removed that has what its output would not keep."""
    if still.lost and not allowed:
        raise MetadataLoss(
            f"{source}: {', '.join(still.lost)} would be lost with it; nothing is done "
            f"(--allow-metadata-loss removes it all the same, --strip without any metadata)")


def compress_file(source, target, *, force=False, strip=False, allow_lossy=False, allow_loss=False,
                  verify=True, remove=False, announce=lambda stills: None, **options) -> tuple[container.Header, int]:
    """Writes `target`.  Returns the Header and the file's size in bytes.

    strip: leave metadata out; allow_lossy: take JPEG and the like; verify: write what decompress would,
    decode and compare before the rename; remove: delete the source after that, refused before the
    work if metadata would be lost, unless allow_loss; announce: told the [Still] before the work;
    options as picture.encode_still's.  What was lost is in the Header.  Errors: BitsbackError, OSError.
    """
    source, target = Path(source), Path(target)
    if remove and not (verify and source != STDIO and target != STDIO):
        raise ValueError("an input is removed only if its output was verified and is a file")
    refuse_existing(target, None if source == STDIO else source, force)
    still = read_still(io.BytesIO(standard_input()) if source == STDIO else source, "standard input" if source == STDIO else source,
                       allow_lossy=allow_lossy)
    still = still.stripped() if strip else still
    if remove:
        _refuse_loss(still, source, allow_loss)
    if verify:
        default_bytes(still, source)    # what could not be restored is refused before the work
    announce([still])
    data = picture.encode_still(still, verify=verify, **options)
    _deliver(data, target, source)
    if remove:
        _remove([source], data, target)
    return container.read_header(data), len(data)


def compress_archive(sources, target, *, force=False, verify=True, remove=False, allow_loss=False,
                     note=lambda path, names: None, **options) -> tuple[container.Header, int]:
    """Writes one archive of the pictures in `sources`.  Returns the Header and the file's size.

    remove, allow_loss: as compress_file's; note(path, names): told what each picture's file has that
    is not kept; options as archive.encode_archive's.
    """
    if remove and not verify:
        raise ValueError("inputs are removed only if their output was verified")
    refuse_existing(target, None, force)
    paths = [path for path, _ in archive.collect(sources)]

    def noted(path, still):
        if remove:
            _refuse_loss(still, path, allow_loss)
        if still.lost:
            note(path, still.lost)

    data, _ = archive.encode_archive(sources, verify=verify, note=noted, **options)
    _deliver(data, Path(target))
    if remove:
        _remove(paths, data, target)
    return container.read_header(data), len(data)


def decompress_file(source, output=None, folder=None, *, root=None, force=False, remove=False, note=lambda path, names: None,
                    announce=lambda header: None, **options) -> list[Path]:
    """Restores one picture to restored_path(...), or an archive's tree below `folder` (default: beside it).  Returns the paths written.

    remove: delete the source after what was written was read again and compared, unless a format could not hold all metadata; note:
    told (path, names) of such metadata; announce: told the Header before the work; options as picture.decode_still's.
    """
    data, source, left_out = read_packed(source), Path(source), []
    header = container.read_header(data)

    def noted(path, names):
        left_out.extend(names)
        note(path, names)

    if header.archive:
        if output or source == STDIO:
            raise UnsupportedImage(f"{source}: an archive; give --dir, not -o")
        announce(header)
        folder = _place(source, folder, root, "") if folder else source.parent
        targets = archive.extract(data, folder, force, replacing, noted, **options)
        if remove and not left_out:
            source.unlink()
        return targets
    mode, ours = header.entries[0].mode, None if source == STDIO else source
    target = restored_path(source, output, folder, root, default_suffix(mode))
    chosen = output is not None and target != STDIO
    if chosen:
        refuse_mode(mode, image_format(target), target)
    refuse_existing(target, ours, force)
    announce(header)
    still = picture.decode_still(data, **options)
    if chosen:
        written, names = still_bytes(still, image_format(target), target)
    else:
        suffix, written, names = default_bytes(still, source)
        promised, target = target, restored_path(source, output, folder, root, suffix)
        if target != promised:
            refuse_existing(target, ours, force)
    _deliver(written, target, source)
    if names:
        noted(target, names)
    if remove and not left_out:
        _remove([source], written, target)
    return [target]


def check_file(source, **options) -> container.Header:
    """Decodes a file and checks its digests without writing.  Options as picture.decode_still's; returns the Header."""
    return picture.decode_stills(read_packed(source), **options)[0]
