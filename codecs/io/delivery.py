"""Delivering outputs: refused early, written, read back and compared; then inputs are removed."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from bitsback import outputs
from bitsback.codecs.image import ImageData
from bitsback.errors import InputChanged, MetadataLoss, UnsupportedImage, VerifyFailed
from bitsback.inputs import Status, digest_of, identity, links_followed
from bitsback.whole import OWNER_READS, WINDOWS, Stamp


def refuse(
    target: Path, sources: Sequence[Path], force: bool, remove: bool, regular: bool = False
) -> None:
    """Raises before any work the errors of writing `target` and, if `remove`, of removing sources.

    regular: as of outputs.refuse.  Errors: OutputExists, NoSuchFolder, OutputFailed,
    UnsupportedImage, OSError.
    """
    outputs.refuse(target, sources, force, regular)
    if remove and not outputs.is_file(target):
        raise UnsupportedImage(
            f"{target}: cannot be read back; inputs are removed only after that comparison"
        )
    for source in sources if remove else ():
        refuse_removal(source)


def refuse_removal(source: Path) -> None:
    """Errors: UnsupportedImage for an input to be removed that is not a regular file; OSError."""
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise UnsupportedImage(
            f"{source}: is not a regular file, which --rm could remove; leave --rm out"
        )


def refuse_loss(image: ImageData, source: Path, allowed: bool) -> None:
    """Errors: MetadataLoss for an input to be removed with metadata that its output lacks."""
    if image.lost and not allowed:
        raise MetadataLoss(
            f"{source}: {', '.join(image.lost)} would be lost with it, so nothing is done "
            f"(--allow-metadata-loss removes it all the same, --strip drops all metadata)"
        )


def deliver(data: bytes, target: Path, force: bool, status: Status | None = None) -> None:
    """Writes an output with the permissions and times of the input, if that is a regular file."""
    outputs.write(data, target, force=force, like=stamp_of(status))


def stamp_of(status: Status | None) -> Stamp | None:
    """The status of an input whose permissions and times its output gets: of a regular file."""
    if not (status and stat.S_ISREG(status.st_mode)):
        return None
    return Stamp(status.st_mode, status.st_atime_ns, status.st_mtime_ns)


def same_stamp(target: Path, like: Stamp) -> bool:
    """Whether a file has these permissions and this time, to the 2 seconds of a FAT file system."""
    status = os.stat(target)
    kept = 0o200 if WINDOWS else 0o777  # of Windows one bit, whether the owner may write
    permissions = (status.st_mode ^ (like.st_mode | OWNER_READS)) & kept == 0
    return permissions and abs(status.st_mtime_ns - like.st_mtime_ns) <= 2 * 10**9


@contextmanager
def locked(packed: Path, exclusive: bool) -> Iterator[None]:
    """Locks a .bbk file while inputs are removed: itself (exclusive), or the images that it holds.

    Of two runs with --rm, one that compresses and one that decompresses, each may take the other's
    input for its own output; both would be removed.  Where files cannot be locked, as on some
    network file systems, there is no lock.  Errors: InputChanged where another run has the file, or
    it is not there any more; OSError.
    """
    if not os.path.isfile(packed):
        raise _gone(packed)
    if not fcntl and exclusive:
        yield
        return
    try:
        stream = open(packed, "rb")
    except FileNotFoundError:
        raise _gone(packed) from None
    with stream:
        if not fcntl:  # Windows, where a file that is open cannot be removed
            yield
            return
        try:
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(stream.fileno(), kind | fcntl.LOCK_NB)
        except BlockingIOError:
            told = f"{packed}: another run with --rm works on it; the input is kept"
            raise InputChanged(told) from None
        except OSError:
            pass
        try:
            still = os.path.samestat(os.fstat(stream.fileno()), os.stat(packed))
        except FileNotFoundError:
            still = False
        if not still:
            raise _gone(packed)
        yield


@contextmanager
def replacing(packed: Path, remove: bool) -> Iterator[None]:
    """Locks the .bbk file that is to be replaced in a run with --rm: another run may be about to
    remove it, and would remove the new one.  Not on Windows, where it could not be replaced then.
    Errors: as of locked."""
    lock = remove and fcntl and os.path.isfile(packed)
    with locked(packed, exclusive=False) if lock else nullcontext():
        yield


def _gone(packed):
    return InputChanged(f"{packed}: was removed or replaced meanwhile; the input is kept")


def refuse_gone(targets: Iterable[Path]) -> None:
    """Errors: VerifyFailed where one of the outputs is not there any more."""
    for target in targets:
        if not os.path.isfile(target):
            raise VerifyFailed(f"{target}: was removed meanwhile; the input is kept")


def compare(data: bytes, target: Path) -> None:
    """Errors: VerifyFailed if `target` does not contain `data`."""
    if Path(target).read_bytes() != data:
        raise VerifyFailed(f"{target}: differs from what was written; the input is kept")


def _is_as_read(source, status):
    if identity(os.stat(source)) != identity(status):
        return False
    if not status.digest:
        return True
    with open(source, "rb") as stream:
        return digest_of(stream) == status.digest


def remove_read(read: Iterable[tuple[Path, Status]]) -> None:
    """Removes inputs, [(path, Status when it was opened)], except those that changed since: by the
    digest too, where the Status has one.

    Links go first, since they lead to others.  Errors: InputChanged, also for one that cannot be
    removed; the first of several, after all inputs were tried.
    """
    failed = None
    for source, status in sorted(read, key=lambda one: -links_followed(one[0])):
        try:
            if not _is_as_read(source, status):
                raise InputChanged(
                    f"{source}: was changed or replaced meanwhile; the output contains what "
                    "was read, the input is kept"
                )
            os.unlink(source)
        except OSError as error:
            told = f"{source}: {error.strerror}; the output contains it, the input is not removed"
            failed = failed or InputChanged(told)
        except InputChanged as error:
            failed = failed or error
    if failed:
        raise failed
