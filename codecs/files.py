"""Paths in, paths out: names, refusal to overwrite, and never half a file under a final name."""
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ..errors import NoSuchFolder, OutputExists, UnsupportedImage
from . import archive, container, picture, places
from .images import image_format, read_image, write_image

SUFFIX = ".bbk"


def compressed_path(source, output=None, folder=None):
    """Where `compress` writes: `output`, else `folder`/stem.bbk, else beside the source."""
    source = Path(source)
    return Path(output) if output else (Path(folder) if folder else source.parent) / (source.stem + SUFFIX)


def restored_path(source, output=None, folder=None):
    """Where `decompress` writes: `output`, else stem.png."""
    source = Path(source)
    stem = source.stem if source.suffix == SUFFIX else source.name
    return Path(output) if output else (Path(folder) if folder else source.parent) / (stem + ".png")


def refuse_existing(path, source, force):
    """Errors: OutputExists, NoSuchFolder, before any work is done; input and output must differ even with force.

    source: None where several inputs go into one output.
    """
    path = Path(path)
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
def replacing(path):
    """A binary stream to a temporary file beside `path`, renamed to it only if all went well."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)              # mkstemp gives 0600
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def compress_file(source, target, *, force=False, **options):
    """Writes `target`; options as picture.encode's.  Returns the Header and the file's size in bytes."""
    refuse_existing(target, source, force)
    data = picture.encode(read_image(source, source), **options)
    with replacing(target) as stream:
        stream.write(data)
    return container.read_header(data), len(data)


def compress_archive(sources, target, *, force=False, **options):
    """Writes one archive of the pictures in `sources`.  Returns the Header and the file's size in bytes."""
    refuse_existing(target, None, force)
    data, _ = archive.encode_archive(sources, **options)
    with replacing(target) as stream:
        stream.write(data)
    return container.read_header(data), len(data)


def decompress_file(source, output=None, folder=None, *, force=False, **options):
    """Restores one picture to restored_path(...), or an archive's tree below `folder` (default: beside it).

    Options as picture.decode's.  Returns the paths written.
    """
    data = Path(source).read_bytes()
    if container.read_header(data).archive:
        if output:
            raise UnsupportedImage(f"{source}: an archive; give --dir, not -o")
        return archive.extract(data, folder or Path(source).parent, force, replacing, image_format, **options)
    target = restored_path(source, output, folder)
    file_format = image_format(target)
    refuse_existing(target, source, force)
    pixels = picture.decode(data, **options)
    with replacing(target) as stream:
        try:
            write_image(pixels, stream, file_format)
        except (OSError, ValueError) as error:
            raise UnsupportedImage(f"{target}: cannot hold this picture ({error})") from None
    return [target]


def describe(source):
    """What `info` says of a file, as a dict; rates are in bits a dimension (a sample of a pixel).

    bits_per_dim = net + overhead; net is the prior's cost a dimension it coded; the overhead's
    parts: header (with index and checksums), start (the plain parts against the net rate), rest.
    """
    data = Path(source).read_bytes()
    header, payload = container.read(data)
    info = {"file": str(source), "format_version": container.VERSION, "width": header.width, "height": header.height,
            "mode": "RGB", "method": "prior" if header.model else "plain", "file_bytes": len(data),
            "bits_per_dim": 8 * len(data) / header.dims}
    if header.archive:
        info |= {"pictures": len(header.entries), "names": [e.name for e in header.entries]}
        del info["width"], info["height"]
    if header.model:
        sizes = [(e.height, e.width) for e in header.entries]
        located = places.locate(sizes, header.start, header.segments)
        coded = 3 * sum(place.pixels for place in located)
        net, start_dims = header.net_bits / coded, header.dims - coded
        parts = {"header_bytes": len(data) - len(payload), "start_bytes": header.credit_bytes,
                 "words_bytes": len(payload) - header.credit_bytes}
        info |= {"model": header.model, "segments": len(located), "start_dims": start_dims, **parts,
                 "net_bits_per_dim": net, "overhead_bits_per_dim": info["bits_per_dim"] - net,
                 "header_bits_per_dim": 8 * parts["header_bytes"] / header.dims,
                 "start_bits_per_dim": (8 * header.credit_bytes - net * start_dims) / header.dims,
                 "rest_bits_per_dim": (8 * parts["words_bytes"] - header.net_bits) / header.dims}
    return info
